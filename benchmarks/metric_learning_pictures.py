"""What the released nivMF embeddings learned, as one picture each: docs/nivmf-cub.png and docs/nivmf-cars.png.

    HUB_MODELS_DATA=... python benchmarks/metric_learning_pictures.py nivmf-cub nivmf-cars

Left: along how many axes the proxies of the most and the least anisotropic classes are concentrated. Middle: the
concentrations of images of unseen classes, right and wrong neighbours apart. Right: the error of the nearest
neighbour when the least certain queries are set aside. Prints the names of the most anisotropic classes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from hub_models.atomic import atomic_path
from hub_models.evaluation.neighbours import found_other_class
from hub_models.evaluation.retrieval_suite import OWN, EmbeddedImages, embed
from hub_models.modeling_probabilistic_embedding import ProbabilisticEmbeddingModel
from hub_models.paths import CHECKPOINTS, cache_dir
from hub_models.training.backbone_cut import cut_backbone
from hub_models.training.recipe_probabilistic_embedding import load_embedding_recipe
from hub_models.training.train_probabilistic_embedding import labelled_maps
from hub_models.training.views import Views
from hub_models.zoo import load

DOCS = Path(__file__).parent.parent / "docs"
BLUE, ORANGE, GREY = "#2a6f97", "#d1495b", "#9aa5b1"
SHOWN = 4


def anisotropy(model: ProbabilisticEmbeddingModel) -> np.ndarray:
    """(C,) spread of log k over the coordinates of each class's proxy: 0 is an ordinary vMF."""
    return np.asarray(model.proxy_concentrations.log().std(dim=1))


def error_versus_reject(uncertainty: np.ndarray, failed: np.ndarray) -> np.ndarray:
    """(N,) error among the queries that are left when the k least certain are set aside, k from 0 to N - 1."""
    errors = failed[np.argsort(uncertainty, kind="stable")].cumsum() / np.arange(1, len(failed) + 1)
    return errors[::-1]


def draw(model: ProbabilisticEmbeddingModel, images: EmbeddedImages) -> Figure:
    """The three panels."""
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    spectrum, histogram, rejection = figure.subplots(1, 3)
    names = [name.rpartition("/")[2].partition(".")[2] or name for name in model.config.class_names]
    order = np.argsort(-anisotropy(model))
    for rank, number in enumerate([*order[:SHOWN], order[-1]]):
        scale = np.sort(np.asarray(model.proxy_concentrations[number]))[::-1]
        least = rank == SHOWN
        label = names[number].replace("_", " ") + (" (least)" if least else "")
        spectrum.plot(scale, color=GREY if least else None, label=label)
    spectrum.set(xlabel="coordinate, sorted", ylabel="k of the class proxy")
    spectrum.legend(fontsize=7, frameon=False)
    failed = found_other_class(images.directions, images.labels)
    kappa = 1 / images.uncertainties[OWN]
    edges = np.linspace(*np.percentile(kappa, [0.2, 99.8]), 40)
    for wrong, colour, words in ((False, BLUE, "neighbour right"), (True, ORANGE, "neighbour wrong")):
        histogram.hist(kappa[failed == wrong], edges, color=colour, alpha=0.6, label=words, density=True)
    histogram.set(xlabel="concentration of images of unseen classes", yticks=[])
    histogram.legend(fontsize=7, frameon=False)
    rejected = np.arange(len(failed)) / len(failed)
    shown = rejected < 0.95
    for (name, uncertainty), colour in zip(images.uncertainties.items(), (BLUE, ORANGE, GREY), strict=False):
        words = "1 / concentration" if name == OWN else name.replace("_", " ")
        rejection.plot(
            rejected[shown], error_versus_reject(uncertainty, failed)[shown], color=colour, label=words
        )
    rejection.axhline(failed.mean(), color="black", linewidth=0.8, linestyle=":")
    rejection.set(xlabel="share of queries set aside", ylabel="error of the nearest neighbour")
    rejection.legend(fontsize=7, frameon=False)
    for axis in (spectrum, histogram, rejection):
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def main(names: list[str]) -> None:
    """Draw each model."""
    for name in names:
        recipe, model = load_embedding_recipe(CHECKPOINTS / name / "recipe.toml"), load(name)
        cut = cut_backbone(model.backbone, recipe.network.trained_stages)
        test = labelled_maps(recipe, cut, recipe.data.test_split, Views(), cache_dir() / "features")
        with atomic_path(DOCS / f"{name}.png") as temporary:
            figure = draw(model, embed(model, cut, test))
            figure.savefig(temporary, format="png", dpi=110, metadata={"Software": None})
        spread = anisotropy(model)
        for number in np.argsort(-spread)[:SHOWN]:
            print(f"{name}: {model.config.class_names[number]}, spread of log k {spread[number]:.3f}")


if __name__ == "__main__":
    main(sys.argv[1:] or ["nivmf-cub", "nivmf-cars"])
