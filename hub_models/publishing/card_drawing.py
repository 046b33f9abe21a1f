"""Draws the picture of a card from result files or from what the model itself generates."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..atomic import atomic_path
from ..checkpoint_folder import RECIPE, read_recipe, read_results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOCS = Path(__file__).parents[2] / "docs"
#: Checkpoint -> its picture in docs, where a benchmark draws it.
DRAWN_BY_BENCHMARKS = {
    "mcinfonce-2d": "mcinfonce_recovered.png",
    "nivmf-cars": "nivmf-cars.png",
    "nivmf-cub": "nivmf-cub.png",
}
BLUE, GREY = "#2a6f97", "#9aa5b1"
#: (task, read-out of this model) of the bars, their names, and the scores of the classifier beside them.
BARS = {
    ("errors-photos@1", "error"): "mistakes,\n500 CC BY photos",
    ("errors-ilsvrc@1", "error"): "mistakes,\n500 ILSVRC photos",
    ("retrieval-cub@1", "transfer"): "wrong neighbours,\nunseen birds",
    ("retrieval-cars@1", "transfer"): "wrong neighbours,\nunseen cars",
}
BESIDE = {"entropy": "entropy", "max_probability": "1 - max p", "energy": "energy"}


def draw(folder: Path, target: Path) -> bool:
    """Draw the picture of a checkpoint's card; False where its family has none that is made here."""
    recipe = read_recipe(folder / RECIPE)
    if recipe["name"] in DRAWN_BY_BENCHMARKS:
        shutil.copyfile(DOCS / DRAWN_BY_BENCHMARKS[recipe["name"]], target)
        return True
    if recipe["task"] not in DRAWINGS:
        return False
    save(DRAWINGS[recipe["task"]](folder), target)
    return True


def save(figure: Figure, target: Path) -> None:
    """Write a picture in one step."""
    with atomic_path(target) as temporary:
        figure.savefig(temporary, format="png", dpi=110, metadata={"Software": None})


def _figure(width: float, height: float) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _read_outs(folder: Path) -> Figure:
    """Bars of AUROC with intervals: this model's read-out beside scores of the classifier."""
    import numpy as np

    recipe = read_recipe(folder / RECIPE)
    found = {
        (line["task"], line["read_out"]): line
        for line in read_results(folder, recipe["name"], recipe["seed"])
        if line["metric"] in ("auroc", "r-auroc")
    }
    figure, axis = _figure(7.5, 3.4)
    names = ["this model", *BESIDE.values()]
    shades = [BLUE, "#6b7785", GREY, "#cfd6dd"]
    width = 0.8 / len(names)
    for place, (task, read_out) in enumerate(BARS):
        for offset, key in enumerate([read_out, *BESIDE]):
            line = found.get((task, key))
            if line is None:
                continue
            error = np.array([[line["value"] - line["low"]], [line["high"] - line["value"]]])
            label = names[offset] if place == 0 else None
            axis.bar(place + (offset - 1.5) * width, line["value"], width, color=shades[offset], label=label)
            axis.errorbar(place + (offset - 1.5) * width, line["value"], error, color="black", linewidth=1)
    axis.axhline(0.5, color="black", linewidth=0.8, linestyle=":")
    axis.set_ylim(0.35, 1)
    axis.set_ylabel("AUROC")
    axis.set_xticks(range(len(BARS)), BARS.values())
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(ncols=4, frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.14))
    return figure


def _root_causes(folder: Path) -> Figure:
    """The likeliest causes of the last failure of the line, with the intervals of the answer."""
    from ..zoo import load

    network = load(folder)
    observed = network.config.names[-1]
    causes = network.posterior(present=[observed]).ranked()[:8][::-1]
    figure, axis = _figure(7.5, 3.2)
    axis.barh([cause.name for cause in causes], [cause.probability for cause in causes], color=BLUE)
    for row, cause in enumerate(causes):
        axis.plot([cause.low, cause.high], [row, row], color="black", linewidth=1.5)
    axis.set_xlabel(f"probability, once “{observed}” was observed")
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def shield_picture(name: str = "digits-flow", radius: float = 12.0) -> Figure:
    """Ten classes from one noise: as the model draws them, and with these very images protected."""
    import torch
    from matplotlib.figure import Figure

    from ..generation.checkpoints import load_pipeline
    from ..generation.sampling import generate
    from ..spell import attach_spell

    pipe = load_pipeline(name)
    labels = list(range(10))
    plain = generate(pipe, labels, seed=0, steps=30)
    attach_spell(pipe, plain, radius)
    shielded = generate(pipe, labels, seed=0, steps=30)
    figure = Figure(figsize=(7.5, 1.9), layout="constrained")
    grid = figure.subplots(2, len(labels))
    for row, (images, words) in enumerate(((plain, "plain"), (shielded, "shielded"))):
        for axis, image in zip(grid[row], torch.as_tensor(images), strict=True):
            axis.imshow((image.clamp(-1, 1) + 1).permute(1, 2, 0).squeeze(-1) / 2, cmap="gray_r")
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        grid[row, 0].set_ylabel(words)
    return figure


def _shield(folder: Path) -> Figure:
    return shield_picture(read_recipe(folder / RECIPE)["name"])


DRAWINGS: dict[str, Callable[[Path], Figure]] = {
    "class-conditional-generation": _shield,
    "failure-network": _root_causes,
    "image-uncertainty": _read_outs,
}
