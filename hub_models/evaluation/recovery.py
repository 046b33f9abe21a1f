"""Suite "recovery": does an encoder find the posteriors of the known process that it was trained on?

Fresh inputs, whose true mean directions and concentrations the process tells. Concentrations are compared as they
are: rank and linear correlation and mean absolute error (MAE). Mean directions are compared by the cosines of all
pairs, which no rotation of the sphere changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from ..training.recipe_vmf_encoder import VmfEncoderRecipe
from ..training.train_vmf_encoder import TrainedEncoder
from .bootstrap import Interval, bootstrap
from .encoder_seeds import each_seed, run_of
from .ranking import spearman
from .results import Result

TASK = "recovery@1"
INPUTS = 10_000
#: Above all random numbers that trainings start from.
_SEED = 2**31
_BLOCK = 500


def recovery(folder: Path, seeds: int, command: str) -> Iterator[list[Result]]:
    """Results of a released encoder, then of its recipe trained under other seeds: see `each_seed`."""
    yield from each_seed(recovery_results, folder, seeds, command)


def recovery_results(trained: TrainedEncoder, recipe: VmfEncoderRecipe, command: str) -> list[Result]:
    """Every figure of one encoder, on inputs that no training saw."""
    run = run_of(trained, recipe, command)
    figures = recovery_figures(trained, recipe.seed, INPUTS)
    return [run.result(TASK, metric, what, interval) for (metric, what), interval in figures.items()]


@torch.no_grad()
def recovery_figures(trained: TrainedEncoder, seed: int, inputs: int) -> dict[tuple[str, str], Interval]:
    """(metric, what was recovered) -> figure; correlations only where the true concentrations differ.

    Args:
        seed: of the inputs, which differ from those of every training.
        inputs: how many.
    """
    features = trained.generator.inputs(inputs, torch.Generator().manual_seed(_SEED + seed))
    mean, kappa = trained.generator(features)
    found = trained.model(features)
    true, estimated = kappa.double().numpy(), found.concentration.double().numpy()
    cosines = pairwise_cosine_error(mean.numpy(), found.mean_direction.numpy())
    figures = {("mae", "pairwise cosines"): cosines}
    if trained.generator.recipe.posterior != "injective":
        figures |= {
            ("spearman", "concentration"): bootstrap(spearman, true, estimated),
            ("pearson", "concentration"): bootstrap(pearson, true, estimated),
            ("mae", "concentration"): bootstrap(mean_absolute_error, true, estimated),
        }
    return figures


def pearson(left: np.ndarray, right: np.ndarray) -> float:
    """Linear correlation; NaN where one side is constant."""
    if left.std() == 0 or right.std() == 0:
        return float("nan")
    return float(np.corrcoef(left, right)[0, 1])


def mean_absolute_error(left: np.ndarray, right: np.ndarray) -> float:
    """Mean of |left - right|."""
    return float(np.abs(left - right).mean())


def pairwise_cosine_error(left: np.ndarray, right: np.ndarray) -> Interval:
    """MAE between the cosines of all pairs of one set of unit vectors and of another set, whatever their dimensions.

    Pairs share items, so the interval is that of a U-statistic (Hoeffding, 1948): its variance is 4 / N times that of
    an item's mean error.

    Args:
        left: (N, D), N at least 2.
        right: (N, E), row by row of the same items.
    """
    count = len(left)
    errors = np.empty(count)
    for start in range(0, count, _BLOCK):
        rows = slice(start, start + _BLOCK)
        errors[rows] = np.abs(left[rows] @ left.T - right[rows] @ right.T).sum(axis=1) / (count - 1)
    value, spread = float(errors.mean()), 1.96 * 2 * float(errors.std()) / count**0.5
    return Interval(value, max(0.0, value - spread), value + spread, count)
