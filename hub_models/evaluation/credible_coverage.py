"""Suite "credible": do credible sets hold what they promise, where the true latents are known?

On the controlled process that an encoder was trained on. Every input is a query, and its own latent, which the
encoder never sees, is one row of a gallery among those of all other inputs. The level of a set is to be the share of
queries whose set holds their latent: under the true posteriors, as a check of the retrieval, and under those that the
encoder learned, turned onto the true ones by the rotation that fits the mean directions best.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..retrieval import CapSearch, Index, credible_sets
from ..retrieval.index import normalised
from ..training.recipe_vmf_encoder import VmfEncoderRecipe
from ..training.train_vmf_encoder import TrainedEncoder
from .bootstrap import bootstrap
from .encoder_seeds import each_seed, run_of
from .proportions import proportion
from .ranking import spearman
from .results import Result

TASK = "credible@1"
TRUE, LEARNED = "true posterior", "learned posterior"
LEVELS = (0.5, 0.8, 0.9, 0.95, 0.99)
INPUTS = 4000
#: Above all random numbers that trainings start from, and those of the recovery suite.
_SEED = 2**32


@dataclass(frozen=True)
class Sets:
    """Credible sets of N queries at one level.

    Attributes:
        held: (N,) whether each holds the query's own latent.
        size: (N,) share of the gallery in each.
    """

    held: np.ndarray
    size: np.ndarray


def credible(folder: Path, seeds: int, command: str) -> Iterator[list[Result]]:
    """Results of a released encoder, then of its recipe trained under other seeds: see `each_seed`."""
    yield from each_seed(coverage_results, folder, seeds, command)


@torch.no_grad()
def coverage_results(trained: TrainedEncoder, recipe: VmfEncoderRecipe, command: str) -> list[Result]:
    """Coverage and mean set size at every level, and the rank correlation of set size and true uncertainty.

    The learned posteriors are left out where they live on another sphere than the true ones.
    """
    run = run_of(trained, recipe, command)
    source = torch.Generator().manual_seed(_SEED + recipe.seed)
    inputs = trained.generator.inputs(INPUTS, source)
    latents = trained.generator.latents(inputs, source)
    mean, kappa = trained.generator(inputs)
    posteriors = {TRUE: (mean, kappa)}
    found = trained.model(inputs)
    if found.mean_direction.shape == mean.shape:
        turned = found.mean_direction.double() @ best_rotation(found.mean_direction, mean)
        posteriors[LEARNED] = (turned, found.concentration)
    uncertainty = 1 / kappa.double().numpy()
    results = []
    for what, posterior in posteriors.items():
        for level in LEVELS:
            sets, where = sets_at(level, *posterior, latents), f"at {level:.0%}"
            order = bootstrap(spearman, sets.size, uncertainty)
            results += [
                run.result(TASK, f"coverage {where}", what, proportion(sets.held)),
                run.result(TASK, f"set size {where}", what, bootstrap(_mean, sets.size)),
                run.result(TASK, f"spearman of set size {where}", what, order),
            ]
    return results


def sets_at(level: float, mean: Tensor, kappa: Tensor, latents: Tensor) -> Sets:
    """The credible sets of posteriors (N, D) and (N,) in a gallery of their latents (N, D), row by row."""
    search = CapSearch(Index(normalised(latents.numpy())))
    sets = list(credible_sets(search, mean.numpy(), kappa.numpy(), level))
    held = np.array([row in found.rows for row, found in enumerate(sets)])
    return Sets(held, np.array([len(found) for found in sets]) / len(sets))


def best_rotation(turned: Tensor, onto: Tensor) -> Tensor:
    """The orthogonal R (D, D) in float64 that makes turned R nearest to ``onto``, both (N, D) (Schönemann, 1966)."""
    left, _, right = torch.linalg.svd(turned.double().mT @ onto.double())
    return left @ right


def _mean(values: np.ndarray) -> float:
    return float(values.mean())
