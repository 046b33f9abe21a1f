"""The cifar10h suite: does an embedding's concentration know how far people agree, on images it has not seen?

After the CIFAR-10H experiment of MCInfoNCE (Kirchhof et al., ICML 2023). Everything is measured on the test fold of
the recipe, once; settings are chosen on its validation fold.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import BaseImageProcessor

from ..backbones import image_processor
from ..checkpoint_folder import RECIPE, split_state, tensors_sha256
from ..datasets_builder import open_dataset
from ..errors import EvaluationError
from ..image_sources import ImageSource, read_source_image
from ..modeling_probabilistic_embedding import ProbabilisticEmbeddingModel
from ..paths import cache_dir
from ..retrieval import CapSearch, Index, credible_sets
from ..retrieval.index import normalised
from ..training.backbone_cut import cut_backbone
from ..training.fit_embedding import embed_images
from ..training.recipe_soft_labels import SoftLabelRecipe, load_soft_label_recipe
from ..training.soft_label_positives import draw_partners
from ..training.train_soft_labels import VotedImages, train_soft_labels, voted_images
from ..zoo import load
from .bootstrap import bootstrap
from .neighbours import average_precision_at_r, found_other_class
from .proportions import proportion
from .ranking import spearman
from .results import Result, Run

TASK = "cifar10h-fold@1"
OWN = "uncertainty"
LEVELS = (0.5, 0.8, 0.9, 0.95, 0.99)
REJECTED = (0.1, 0.2, 0.3, 0.5)
#: Sides of the crops, as shares of the image's, are uniform from here to 1.
SMALLEST_CROP = 0.25
BATCH = 16


@dataclass(frozen=True)
class EmbeddedFold:
    """Images of one fold as a model sees them.

    Attributes:
        directions: (N, D) unit vectors.
        concentrations: (N,).
        shares: (N, C) of people's votes.
        labels: (N,) the official class.
    """

    directions: np.ndarray
    concentrations: np.ndarray
    shares: np.ndarray
    labels: np.ndarray

    @property
    def entropy(self) -> np.ndarray:
        """(N,) of the votes, in nats."""
        logs = np.log(np.where(self.shares > 0, self.shares, 1))
        return -(self.shares * logs).sum(axis=1)


def cifar10h(folder: Path, seeds: int, command: str) -> Iterator[list[Result]]:
    """Figures of a checkpoint, then of its recipe trained under further seeds.

    Raises:
        RecipeError: the checkpoint did not learn from soft labels.
        ImageSourceError: the recipe's data set is neither built nor buildable here.
    """
    recipe = load_soft_label_recipe(folder / RECIPE)
    yield list(_of_model(recipe, load(folder), command))
    for seed in range(recipe.warm_up.seed + 1, recipe.warm_up.seed + seeds):
        other = dataclasses.replace(recipe, warm_up=dataclasses.replace(recipe.warm_up, seed=seed))
        yield list(_of_model(other, train_soft_labels(other, cache_dir() / "features"), command))


def _of_model(recipe: SoftLabelRecipe, model: ProbabilisticEmbeddingModel, command: str) -> Iterator[Result]:
    warm_up, soft = recipe.warm_up, recipe.soft_labels
    cut = cut_backbone(model.backbone, warm_up.network.trained_stages)
    voted = voted_images(recipe, cut, cache_dir() / "features")
    output = embed_images(model, cut, voted.cache, voted.test)
    fold = embedded_fold(voted, voted.test, output.mean_direction, output.concentration)
    revision = tensors_sha256(split_state(model)[0])[:12]
    run = Run(model=warm_up.name, revision=revision, seed=warm_up.seed, command=command)
    yield from figures(fold, run)
    source = open_dataset(soft.images.removeprefix("dataset:"), soft.split)
    processor = image_processor(warm_up.backbone, warm_up.network.image_size)
    kappa, sides = concentrations_of_crops(model, processor, source, voted.test)
    yield run.result(TASK, "spearman with crop side", "concentration", bootstrap(spearman, kappa, sides))


def embedded_fold(
    voted: VotedImages, images: np.ndarray, directions: torch.Tensor, concentrations: torch.Tensor
) -> EmbeddedFold:
    """Some of the images beside what a model made of them."""
    return EmbeddedFold(
        directions.double().numpy(),
        concentrations.double().numpy(),
        voted.shares[images],
        voted.labels[images],
    )


def figures(fold: EmbeddedFold, run: Run) -> Iterator[Result]:
    """What needs no further pass over images.

    - ``spearman``: of the uncertainty 1 / kappa with the entropy of people's votes.
    - ``r@1`` and ``map@r`` by the official labels, and r@1 of what is left after the most uncertain were rejected.
    - ``coverage``: how often a partner, drawn by votes, lies in an image's credible region; ``sphere share``, the
      mean share of the sphere that these regions cover; ``set size``, the mean share of the other images in them,
      with its rank correlation to the entropy.
    """
    uncertainty = 1 / fold.concentrations
    yield run.result(TASK, "spearman", OWN, bootstrap(spearman, uncertainty, fold.entropy))
    right = ~found_other_class(fold.directions, fold.labels)
    yield run.result(TASK, "r@1", "", proportion(right))
    precision = average_precision_at_r(fold.directions, fold.labels)
    yield run.result(TASK, "map@r", "", bootstrap(lambda values: float(values.mean()), precision))
    surest = np.argsort(uncertainty, kind="stable")
    for rejected in REJECTED:
        kept = right[surest[: round(len(right) * (1 - rejected))]]
        yield run.result(TASK, f"r@1 without {rejected:.0%}", OWN, proportion(kept))
    yield from coverage(fold, run)


def coverage(fold: EmbeddedFold, run: Run) -> Iterator[Result]:
    """Credible sets of every image among the others, at every level."""
    partners = draw_partners(fold.shares, np.random.default_rng(run.seed))
    search = CapSearch(Index(normalised(fold.directions)))
    for level in LEVELS:
        held, spread, sizes = [], [], []
        for row, found in enumerate(credible_sets(search, fold.directions, fold.concentrations, level)):
            held.append(partners[row] in found.rows)
            spread.append(found.share)
            sizes.append((len(found) - (row in found.rows)) / (len(partners) - 1))
        where = f"at {level:.0%}"
        yield run.result(TASK, f"coverage {where}", "", proportion(np.array(held)))
        for name, values in (("sphere share", spread), ("set size", sizes)):
            yield run.result(
                TASK, f"{name} {where}", "", bootstrap(lambda v: float(v.mean()), np.array(values))
            )
        with contextlib.suppress(EvaluationError):  # sets that are nearly all of one size have no order
            order = bootstrap(spearman, np.array(sizes), fold.entropy)
            yield run.result(TASK, f"spearman of set size {where}", OWN, order)


@torch.inference_mode()
def concentrations_of_crops(
    model: ProbabilisticEmbeddingModel, processor: BaseImageProcessor, source: ImageSource, images: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Concentrations (N,) of centre crops of the images, and the share of the side that each crop keeps."""
    sides = np.random.default_rng(0).uniform(SMALLEST_CROP, 1, len(images))
    parts = []
    for start in range(0, len(images), BATCH):
        chosen = zip(images[start : start + BATCH].tolist(), sides[start : start + BATCH], strict=True)
        crops = [_centre_crop(read_source_image(source, number), side) for number, side in chosen]
        pixels = processor(crops, return_tensors="pt")["pixel_values"]
        parts.append(model(pixels.to(memory_format=torch.channels_last)).concentration)
    return torch.cat(parts).double().numpy(), sides


def _centre_crop(image: Image.Image, side: float) -> Image.Image:
    width, height = (max(1, round(length * side)) for length in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))
