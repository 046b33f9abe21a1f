"""Recipe in, small classifier out."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.nn import functional

from ..checkpoint_folder import RESULTS
from ..evaluation.bootstrap import bootstrap
from ..evaluation.results import Run, write_results
from ..progress import progress_bar
from .checkpoints import revision, rounded, save_model
from .classifier import SmallClassifier, judge
from .image_sets import load_images
from .labelled_images import LabelledImages
from .recipe import ClassifierRecipe, load_classifier_recipe

ACCURACY = ("test-images@1", "accuracy")


def train_classifier(path: Path, folder: Path, *, show_progress: bool = True) -> float:
    """Train a classifier, write its checkpoint folder, and return its accuracy on the test images.

    Args:
        path: of the recipe.
        folder: to write; may be the recipe's own.

    Raises:
        RecipeError: the recipe is not possible.
        ImageSourceError, MissingExtraError: its images cannot be had.
    """
    recipe = load_classifier_recipe(path)
    images = load_images(recipe.data.images, "train", recipe.data.count)
    torch.manual_seed(recipe.seed)
    channels = images.pixels.shape[1]
    network = SmallClassifier(channels, len(images.class_names), recipe.training.width)
    _fit(network, recipe, images, show_progress)
    network = rounded(network.eval())
    inputs = images.samples(slice(2))
    with torch.no_grad():
        golden = {"images": inputs, "logits": network(inputs)}
    config = {"channels": channels, "class_names": images.class_names, "width": recipe.training.width}
    steps = recipe.training.passes * (len(images) // recipe.training.batch_size)
    save_model(folder, path, config, network.state_dict(), golden, steps)
    test = load_images(recipe.data.images, "test")
    right = (judge(network, test.samples())[1] == test.labels).double().numpy()
    accuracy = bootstrap(lambda hits: float(hits.mean()), right)
    command = f"hub-models train hub_models/checkpoints/{recipe.name}/{path.name}"
    run = Run(recipe.name, revision(folder), recipe.seed, command)
    write_results(folder / RESULTS, [run.result(*ACCURACY, "", accuracy)])
    return accuracy.value


def _fit(
    network: SmallClassifier, recipe: ClassifierRecipe, images: LabelledImages, show_progress: bool
) -> None:
    training, data = recipe.training, recipe.data
    generator = torch.Generator().manual_seed(recipe.seed)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=training.weight_decay)
    steps = training.passes * (len(images) // training.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, training.learning_rate, total_steps=steps)
    network.train()
    with progress_bar(f"training {recipe.name}", steps, "steps", show_progress) as advance:
        for _ in range(training.passes):
            order = torch.randperm(len(images), generator=generator)
            for chosen in order.split(training.batch_size):
                if len(chosen) < training.batch_size:
                    continue
                batch = _varied(images.samples(chosen), training.shift, data.flip, generator)
                loss = functional.cross_entropy(network(batch), images.labels[chosen], label_smoothing=0.1)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                advance(1)


def _varied(images: torch.Tensor, shift: int, flip: bool, generator: torch.Generator) -> torch.Tensor:
    """Each image moved by up to ``shift`` pixels each way, its border repeated, and perhaps mirrored."""
    count, _, height, width = images.shape
    padded = functional.pad(images, (shift,) * 4, mode="replicate")
    down, right = torch.randint(2 * shift + 1, (2, count), generator=generator).tolist()
    moved = torch.stack(
        [padded[i, :, down[i] : down[i] + height, right[i] : right[i] + width] for i in range(count)]
    )
    if flip:
        mirrored = torch.rand(count, generator=generator) < 0.5
        moved = torch.where(mirrored.view(-1, 1, 1, 1), moved.flip(-1), moved)
    return moved
