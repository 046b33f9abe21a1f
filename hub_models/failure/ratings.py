"""Rating scales: what a whole number from 1 to 10 means as a probability.

The occurrence scales are the tables of the handbooks, as failures per item. Where a handbook gives a bound
("1 in 10 and more") the bound is taken. A scale is a plain record: replace it by your own numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..errors import FailureTableError

RATINGS = range(1, 11)


@dataclass(frozen=True)
class RatingScale:
    """Probability of each rating.

    Attributes:
        name: what a table's settings call it.
        probabilities: of the ratings 1 to 10, each in [0, 1], strictly increasing.

    Raises:
        FailureTableError: not ten increasing probabilities.
    """

    name: str
    probabilities: tuple[float, ...]

    def __post_init__(self) -> None:
        values = self.probabilities
        increasing = all(low < high for low, high in pairwise(values))
        if len(values) != len(RATINGS) or not increasing or not (values[0] >= 0 and values[-1] <= 1):
            raise FailureTableError(
                f"rating scale {self.name!r}: {list(values)} are not ten increasing probabilities from 0 to 1; "
                "give one for each rating from 1 to 10"
            )

    def probability(self, rating: int) -> float:
        """Of a rating from 1 to 10."""
        return self.probabilities[rating - 1]

    def nearest(self, probability: float) -> int:
        """The rating whose probability is nearest in log-odds; of two equally near ones the lower."""
        return min(RATINGS, key=lambda rating: abs(logit(self.probability(rating)) - logit(probability)))


#: Nothing that an expert can tell apart from never, or from always.
SMALLEST = 1e-9


def logit(probability: float) -> float:
    """Log-odds; 0 and 1 count as ``SMALLEST`` and its complement."""
    clipped = min(max(probability, SMALLEST), 1 - SMALLEST)
    return math.log(clipped / (1 - clipped))


_AIAG_4 = (0.0, 1e-6, 1e-5, 1e-4, 5e-4, 2e-3, 1e-2, 2e-2, 5e-2, 1e-1)

#: AIAG 4th edition (2008) and the numbers that AIAG-VDA (2019) keeps for those who count: rating 1 is "eliminated
#: by prevention", which makes the failure impossible. ``aiag-vda-floor`` reads it as one in ten million instead.
#: ``aiag-3`` is the third edition (2001), ``qs9000`` the table of 1995.
OCCURRENCE_SCALES = {
    scale.name: scale
    for scale in (
        RatingScale("aiag-vda-floor", (1e-7, *_AIAG_4[1:])),
        RatingScale("aiag-vda", _AIAG_4),
        RatingScale("aiag-4", _AIAG_4),
        RatingScale("aiag-3", (1e-5, 1e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1)),
        RatingScale(
            "qs9000",
            (1 / 1_500_000, 1 / 150_000, 1 / 15_000, 1 / 2_000, 1 / 400, 1 / 80, 1 / 20, 1 / 8, 1 / 3, 1 / 2),
        ),
    )
}

#: No standard rates how often a cause triggers its effect; this scale is ours, like the wording of the template.
TRIGGER_SCALES = {
    scale.name: scale
    for scale in (RatingScale("trigger-10", (0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)),)
}

DEFAULT_OCCURRENCE_SCALE = "aiag-vda-floor"
DEFAULT_TRIGGER_SCALE = "trigger-10"


def own_scale(kind: str, probabilities: Sequence[float]) -> RatingScale:
    """A scale that a table brings along, or the known one with the same numbers.

    Args:
        kind: "occurrence" or "trigger".

    Raises:
        FailureTableError: see `RatingScale`.
    """
    scale = RatingScale(f"own {kind} scale", tuple(probabilities))
    known = OCCURRENCE_SCALES if kind == "occurrence" else TRIGGER_SCALES
    return next((each for each in known.values() if each.probabilities == scale.probabilities), scale)
