"""From a consistent table to a noisy-OR network."""

from __future__ import annotations

import numpy as np

from ..errors import FailureTableError
from ..noisy_or import NoisyOr
from .certificates import certify
from .consistency import weak_relations
from .leaks import as_diez, leaks
from .records import FailureTable
from .statements import combine


def build_network(table: FailureTable) -> NoisyOr:
    """The network in which every failure occurs as often as the experts say.

    Experts are combined (`experts.pooled`), Henrion's numbers become Diez's, and each leak is what the stated
    occurrence leaves over for unnamed causes, to a few per mille of it (`leaks.leaks`). Failures come causes first.

    Raises:
        FailureTableError: stated numbers certainly contradict each other, so that no leak fits.
    """
    stated = combine(table)
    statements = as_diez(stated)
    certificate = certify(statements)
    names = statements.names
    wrong = [names[i] for i in np.flatnonzero(certificate.inconsistent)]
    wrong += [f"{names[stated.cause[k]]} -> {names[stated.effect[k]]}" for k in weak_relations(stated)]
    if wrong:
        shown = ", ".join(map(repr, wrong[:5])) + (", ..." if len(wrong) > 5 else "")
        raise FailureTableError(
            f"{len(wrong)} number(s) contradict the others: {shown}; see `hub-models failure check`, mend them with "
            "`hub-models failure repair`"
        )
    return NoisyOr(
        names=names,
        cause=statements.cause,
        effect=statements.effect,
        trigger=statements.trigger,
        leak=leaks(statements, certificate),
        stages=tuple(table.failures[row].stage for row in statements.failure_row),
    )
