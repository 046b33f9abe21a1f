"""Numbers that a repair must leave alone, because a person stands by them.

Named as reports name them: a failure's occurrence by the failure, a relation's number by "cause -> effect".
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from ..errors import FailureTableError
from ..noisy_or_checks import with_nearest
from .records import FailureTable, Relation
from .statements import Statements


def name_of(relation: Relation) -> str:
    """How a relation's number is called."""
    return f"{relation.cause} -> {relation.effect}"


def check_kept(table: FailureTable, kept: Collection[str]) -> frozenset[str]:
    """The names, all of which must be in the table.

    Raises:
        FailureTableError: unknown names, each with the nearest known ones.
    """
    known = [each.name for each in table.failures] + [name_of(each) for each in table.relations]
    unknown = [name for name in kept if name not in set(known)]
    if unknown:
        raise FailureTableError(
            f"numbers to keep that are not in the table: {with_nearest(unknown, known)}; give a failure, or "
            "'cause -> effect'"
        )
    return frozenset(kept)


def movable(statements: Statements, kept: frozenset[str]) -> np.ndarray:
    """(n + m,) bool, occurrences and then triggers: stated by somebody, and not kept."""
    names = statements.names
    pairs = zip(statements.cause.tolist(), statements.effect.tolist(), strict=True)
    called = [*names, *(f"{names[cause]} -> {names[effect]}" for cause, effect in pairs)]
    stated = np.concatenate([statements.occurrence_trust, statements.trigger_trust]) > 0
    return stated & ~np.array([name in kept for name in called], dtype=bool)
