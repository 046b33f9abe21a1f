"""How good and how varied generated samples are: precision, recall, density, coverage, Vendi score, Fréchet distance.

All take features, shape (N, D), of real and of generated images. Distances are exact differences in float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import torch

from ..errors import EvaluationError
from .bootstrap import Interval

NEIGHBOURS = 5
HALVES = 200


@dataclass(frozen=True)
class SampleQuality:
    """One set of generated samples beside one set of real ones.

    Attributes:
        precision: share of generated samples inside the real manifold, the union of the balls that reach from each
            real sample to its k-th neighbour (Kynkäänniemi et al., arXiv 1904.06991).
        recall: share of real samples inside the generated manifold.
        density: real balls that hold a generated sample, in units of k; may exceed 1 (Naeem et al., 2002.09797).
        coverage: share of real balls that hold a generated sample at all.
        vendi: effective number of different samples among the generated, 1 to N (Friedman and Dieng, 2210.02410).
        frechet: distance of the two Gaussians with the features' means and covariances (Heusel et al., 1706.08500).
    """

    precision: float
    recall: float
    density: float
    coverage: float
    vendi: float
    frechet: float


SHARES = ("precision", "recall", "coverage")
METRICS = tuple(field.name for field in fields(SampleQuality))


@dataclass(frozen=True)
class Distances:
    """Euclidean distances among real samples, among generated ones, and from real (rows) to generated."""

    real: np.ndarray
    generated: np.ndarray
    between: np.ndarray

    def subset(self, real: np.ndarray, generated: np.ndarray) -> Distances:
        """Of some of the samples, given by index."""
        return Distances(
            self.real[np.ix_(real, real)],
            self.generated[np.ix_(generated, generated)],
            self.between[np.ix_(real, generated)],
        )


def sample_quality(real: np.ndarray, generated: np.ndarray, k: int = NEIGHBOURS) -> SampleQuality:
    """Every metric at once.

    Args:
        real: features of real images that the generator did not see, shape (N, D).
        generated: features of generated images, shape (M, D); compare recall, coverage and the Vendi score only
            between sets of one size.
        k: a ball reaches to the k-th neighbour, the sample itself not counted.

    Raises:
        EvaluationError: too few samples, widths that differ, or a feature that is not finite.
    """
    real, generated = _checked(real, generated, k)
    return _quality(real, generated, distances(real, generated), k)


def quality_intervals(
    pairs: list[tuple[np.ndarray, np.ndarray]], groups: list[np.ndarray], k: int = NEIGHBOURS, seed: int = 0
) -> dict[str, Interval]:
    """Each metric's mean over several pairs of sets (the classes), with a 95 % interval.

    A bootstrap would draw samples twice, and a copy has a neighbour at distance 0: recall, coverage and the Vendi
    score fall for no reason. So the interval is a delete-half jackknife (Shao and Wu, 1989): half of the real samples
    and half of the generated groups are left out at random; the spread of the metric over such halves is that of the
    whole set, and it is centred on the whole set's value, as halves are biased.

    Args:
        pairs: features of real and generated samples, for each class.
        groups: for each class the group of each generated sample; samples of one batch that repel each other are not
            independent, so a batch is kept or left out as one.
    """
    draws = []
    values = []
    total = 0
    for number, ((real, generated), group) in enumerate(zip(pairs, groups, strict=True)):
        real, generated = _checked(real, generated, k)
        known = distances(real, generated)
        values.append(_quality(real, generated, known, k))
        rng = np.random.default_rng([seed, number])
        draws.append(
            [
                _quality(real[kept], generated[chosen], known.subset(kept, chosen), k)
                for kept, chosen in _halves(len(real), group, rng)
            ]
        )
        total += len(generated)
    intervals = {}
    for name in METRICS:
        value = float(np.mean([getattr(one, name) for one in values]))
        spread = np.mean([[getattr(one, name) for one in of_class] for of_class in draws], axis=0)
        low, high = value + np.percentile(spread - spread.mean(), [2.5, 97.5])
        if name in SHARES:
            low, high = max(low, 0.0), min(high, 1.0)
        intervals[name] = Interval(value, float(low), float(high), total)
    return intervals


def distances(real: np.ndarray, generated: np.ndarray) -> Distances:
    """All three distance matrices."""
    one, other = torch.from_numpy(real), torch.from_numpy(generated)

    def exact(a: torch.Tensor, b: torch.Tensor) -> np.ndarray:
        return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").numpy()

    return Distances(exact(one, one), exact(other, other), exact(one, other))


def vendi_score(features: np.ndarray) -> float:
    """exp of the entropy of the eigenvalues of the cosine similarities divided by N.

    Computed here as the package vendi-score's own kernel form names a module that SciPy has removed.
    """
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    small = unit @ unit.T if len(unit) < unit.shape[1] else unit.T @ unit
    shares = np.linalg.eigvalsh(small / len(unit))
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def frechet_distance(real: np.ndarray, generated: np.ndarray) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), covariances with N - 1; not negative.

    The trace of the root is the sum of the singular values of A1 A2^T, with A the centred features over sqrt(N - 1):
    no root of a matrix that may be singular.
    """
    shift = real.mean(0) - generated.mean(0)
    one, other = (
        (features - features.mean(0)) / np.sqrt(len(features) - 1) for features in (real, generated)
    )
    overlap = np.linalg.svd(one @ other.T, compute_uv=False).sum()
    return float(max(0.0, shift @ shift + (one**2).sum() + (other**2).sum() - 2 * overlap))


def _quality(real: np.ndarray, generated: np.ndarray, known: Distances, k: int) -> SampleQuality:
    reach = _reach(known.real, k)[:, None]
    inside_real = known.between <= reach
    inside_generated = known.between <= _reach(known.generated, k)[None, :]
    return SampleQuality(
        precision=float(inside_real.any(0).mean()),
        recall=float(inside_generated.any(1).mean()),
        density=float(inside_real.sum(0).mean() / k),
        coverage=float(inside_real.any(1).mean()),
        vendi=vendi_score(generated),
        frechet=frechet_distance(real, generated),
    )


def _reach(among: np.ndarray, k: int) -> np.ndarray:
    """Distance of each sample to its k-th neighbour; the smallest of a row is the sample itself."""
    return np.partition(among, k, axis=1)[:, k]


def _halves(
    count: int, group: np.ndarray, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    names = np.unique(group)
    if len(names) < 2:
        raise EvaluationError("all generated samples are of one group; an interval needs at least two groups")
    for _ in range(HALVES):
        kept = rng.choice(count, count // 2, replace=False)
        chosen = rng.choice(names, len(names) // 2, replace=False)
        yield kept, np.flatnonzero(np.isin(group, chosen))


def _checked(real: np.ndarray, generated: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    checked = []
    for name, features in (("real", real), ("generated", generated)):
        features = np.asarray(features, dtype=np.float64)
        if features.ndim != 2 or len(features) <= k:
            raise EvaluationError(
                f"{name} features have shape {features.shape}; (N, D) with N above k = {k} is needed"
            )
        if not np.isfinite(features).all():
            raise EvaluationError(
                f"{name} features hold a value that is not finite; look at the images they are of"
            )
        checked.append(features)
    if checked[0].shape[1] != checked[1].shape[1]:
        raise EvaluationError(
            f"real features have {checked[0].shape[1]} columns, generated {checked[1].shape[1]}"
        )
    return checked[0], checked[1]
