"""Pictures of benchmarks/mcinfonce.py: true against estimated concentrations, and the recovered circle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes

from hub_models.evaluation.ranking import spearman
from hub_models.training.recipe_vmf_encoder import VmfEncoderRecipe
from hub_models.training.train_vmf_encoder import TrainedEncoder, train

#: Title of the 10-D case.
TEN_D = "MCInfoNCE, 10-D"
_INPUTS = 1500
_COLOUR, _TRUE = "#1f77b4", "#444444"


def draw_pictures(recipes: Mapping[str, VmfEncoderRecipe], folder: Path) -> None:
    """Write mcinfonce_methods.png, mcinfonce_recovered.png, and mcinfonce_ten_d.png if that case is among them.

    Args:
        recipes: title -> recipe, the released one first; their trainings are taken from the cache.
        folder: to write into.
    """
    trained = {title: train(recipe, show_progress=False) for title, recipe in recipes.items()}
    released, ten = next(iter(trained.values())), trained.pop(TEN_D, None)
    figure, axes = plt.subplots(
        1, len(trained), figsize=(3.5 * len(trained), 3.4), layout="constrained", squeeze=False
    )
    for axis, (title, one) in zip(axes[0], trained.items(), strict=True):
        _concentrations(axis, one, title)
    _save(figure, folder / "mcinfonce_methods.png")
    figure, axes = plt.subplots(1, 3, figsize=(10.5, 3.6), layout="constrained")
    _concentrations(axes[0], released, "Concentrations")
    _circle(axes[1], axes[2], released)
    _save(figure, folder / "mcinfonce_recovered.png")
    if ten is not None:
        figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.4), layout="constrained")
        _concentrations(axes[0], ten, TEN_D)
        _cosines(axes[1], ten)
        _save(figure, folder / "mcinfonce_ten_d.png")


@torch.no_grad()
def _posteriors(trained: TrainedEncoder) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """True mean and concentration, then the estimated ones, of fresh inputs."""
    inputs = trained.generator.inputs(_INPUTS, torch.Generator().manual_seed(2**31))
    mean, kappa = trained.generator(inputs)
    found = trained.model(inputs)
    return mean.numpy(), kappa.numpy(), found.mean_direction.numpy(), found.concentration.numpy()


def _concentrations(axis: Axes, trained: TrainedEncoder, title: str) -> None:
    _, true, _, estimated = _posteriors(trained)
    axis.scatter(true, estimated, s=4, color=_COLOUR, alpha=0.5, linewidths=0)
    ends = [true.min(), true.max()]
    axis.plot(ends, ends, color=_TRUE, linewidth=1, linestyle="--")
    axis.set(
        xlabel="true concentration",
        ylabel="estimated concentration",
        title=f"{title}: Spearman {spearman(true, estimated):.2f}",
    )


def _circle(true_axis: Axes, found_axis: Axes, trained: TrainedEncoder) -> None:
    """Means of both spaces, coloured by the angle in the true one; the radius tells the concentration, from the space's
    lowest to its highest."""
    true, kappa, found, estimated = _posteriors(trained)
    colour = np.arctan2(true[:, 1], true[:, 0])
    for axis, points, size, title in (
        (true_axis, true, kappa, "true posteriors"),
        (found_axis, found, estimated, "recovered posteriors"),
    ):
        radius = 0.6 + 0.4 * (size - size.min()) / (size.max() - size.min())
        axis.scatter(*(points * radius[:, None]).T, c=colour, cmap="twilight", s=4, linewidths=0)
        axis.add_patch(plt.Circle((0, 0), 1, fill=False, color=_TRUE, linewidth=0.5))
        axis.set(aspect="equal", xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), xticks=[], yticks=[], title=title)


def _cosines(axis: Axes, trained: TrainedEncoder) -> None:
    true, _, found, _ = _posteriors(trained)
    half = len(true) // 2
    pairs = [(points[:half] * points[half : 2 * half]).sum(axis=1) for points in (true, found)]
    axis.scatter(*pairs, s=4, color=_COLOUR, alpha=0.5, linewidths=0)
    axis.plot([-1, 1], [-1, 1], color=_TRUE, linewidth=1, linestyle="--")
    axis.set(xlabel="true cosine of a pair", ylabel="recovered cosine", title="Mean directions")


def _save(figure: plt.Figure, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)
