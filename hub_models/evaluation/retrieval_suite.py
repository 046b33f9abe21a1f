"""The retrieval suite: do images of classes never trained on find their kind, and does kappa know when not?

Recall at 1 and R-AUROC as in the URL benchmark (Kirchhof et al., NeurIPS 2023), mean average precision at R as in
A Metric Learning Reality Check (Musgrave et al., ECCV 2020).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..checkpoint_folder import RECIPE, split_state, tensors_sha256
from ..errors import EvaluationError
from ..modeling_probabilistic_embedding import ProbabilisticEmbeddingModel
from ..paths import cache_dir
from ..training.backbone_cut import BackboneCut, cut_backbone
from ..training.fit_embedding import embed_images
from ..training.recipe_probabilistic_embedding import ProbabilisticEmbeddingRecipe, load_embedding_recipe
from ..training.train_probabilistic_embedding import LabelledMaps, labelled_maps, train_embedding, with_seed
from ..training.views import Views
from ..zoo import load
from .bootstrap import Interval, bootstrap
from .neighbours import average_precision_at_r, found_other_class
from .ranking import auroc
from .results import Result, Run

TASK = "retrieval@1"
#: The model's own uncertainty, and what is usually used instead.
OWN = "uncertainty"


@dataclass(frozen=True)
class EmbeddedImages:
    """Images of unseen classes as a model sees them, those whose class has no other image left out.

    Attributes:
        directions: (N, D) unit vectors.
        labels: (N,) classes.
        uncertainties: name -> (N,), higher = less certain.
    """

    directions: np.ndarray
    labels: np.ndarray
    uncertainties: dict[str, np.ndarray]


def retrieval_suite(folder: Path, seeds: int, command: str) -> Iterator[list[Result]]:
    """Figures of a checkpoint, then of its recipe trained under further seeds.

    Raises:
        EvaluationError: the test images have no class with two images.
        ImageSourceError: the recipe's data set is neither built nor buildable here.
    """
    recipe = load_embedding_recipe(folder / RECIPE)
    root = cache_dir() / "features"
    model = load(folder)
    cut = cut_backbone(model.backbone, recipe.network.trained_stages)
    test = labelled_maps(recipe, cut, recipe.data.test_split, Views(), root)
    yield list(figures(recipe, model, cut, test, command))
    for seed in range(recipe.seed + 1, recipe.seed + seeds):
        other = with_seed(recipe, seed)
        trained = train_embedding(other, root)
        yield list(figures(other, trained.model, trained.cut, test, command))


def figures(
    recipe: ProbabilisticEmbeddingRecipe,
    model: ProbabilisticEmbeddingModel,
    cut: BackboneCut,
    test: LabelledMaps,
    command: str,
    task: str = TASK,
) -> Iterator[Result]:
    """Everything that is measured of one model: R@1, mAP@R, and the R-AUROC of each uncertainty."""
    revision = tensors_sha256(split_state(model)[0])[:12]
    run = Run(model=recipe.name, revision=revision, seed=recipe.seed, command=command)
    for metric, read_out, interval in retrieval_figures(embed(model, cut, test)):
        yield run.result(task, metric, read_out, interval)


def retrieval_figures(images: EmbeddedImages) -> Iterator[tuple[str, str, Interval]]:
    """(metric, uncertainty or "", figure with its interval), one after another.

    Raises:
        EvaluationError: no class has two images, or every nearest image is right, or wrong.
    """
    if not len(images.labels):
        raise EvaluationError("no class has two images, so nothing can be found; give more images a class")
    failed = found_other_class(images.directions, images.labels)
    precision = average_precision_at_r(images.directions, images.labels)
    yield "r@1", "", bootstrap(lambda f: float(1 - f.mean()), failed)
    yield "map@r", "", bootstrap(lambda p: float(p.mean()), precision)
    for name, uncertainty in images.uncertainties.items():
        yield "r-auroc", name, bootstrap(auroc, uncertainty, failed)


@torch.inference_mode()
def embed(model: ProbabilisticEmbeddingModel, cut: BackboneCut, test: LabelledMaps) -> EmbeddedImages:
    """Test images in their whole view, with the model's uncertainty and two that every proxy model has.

    ``max_cosine`` is minus the largest cosine to the proxy of a class trained on, ``entropy`` that of a softmax
    over these cosines at 20. The third usual one, minus the length of the embedding, orders images as
    ``uncertainty`` does wherever that is the inverse of the length.
    """
    sizes = np.bincount(test.labels)
    several = sizes[test.labels] > 1
    output = embed_images(model, cut, test.cache, test.images[several])
    directions = output.mean_direction
    uncertainties = {OWN: output.uncertainty}
    if model.config.class_names:
        uncertainties |= _usual(directions @ model.proxy_directions.mT)
    return EmbeddedImages(
        directions.numpy(), test.labels[several], {name: u.numpy() for name, u in uncertainties.items()}
    )


def _usual(cosine: Tensor) -> dict[str, Tensor]:
    entropy = torch.distributions.Categorical(logits=20 * cosine).entropy()
    return {"max_cosine": -cosine.max(dim=1).values, "entropy": entropy}
