"""From a consistent table to a noisy-OR network."""

from __future__ import annotations

import numpy as np

from ..errors import FailureTableError
from ..noisy_or import NoisyOr
from .certificates import certify
from .leaks import diez_trigger, leaks
from .records import FailureTable
from .statements import combine


def build_network(table: FailureTable) -> NoisyOr:
    """The network in which every failure occurs as often as the experts say.

    Experts are combined (`experts.pooled`), Henrion's numbers become Diez's, and each leak is what the stated
    occurrence leaves over for unnamed causes, to a few per mille of it (`leaks.leaks`). Failures come causes first.

    Raises:
        FailureTableError: a stated occurrence certainly contradicts its causes, so that no leak fits.
    """
    statements = combine(table)
    certificate = certify(statements)
    wrong = np.flatnonzero(certificate.inconsistent)
    if len(wrong):
        shown = ", ".join(repr(statements.names[i]) for i in wrong[:5]) + (", ..." if len(wrong) > 5 else "")
        raise FailureTableError(
            f"{len(wrong)} failure(s) are stated rarer than their causes alone make them: {shown}; "
            "see `hub-models failure check`, mend them with `hub-models failure repair`"
        )
    leak = leaks(statements, certificate)
    trigger = statements.trigger
    if statements.semantics == "henrion":
        trigger = diez_trigger(trigger, leak[statements.effect])
    return NoisyOr(
        names=statements.names,
        cause=statements.cause,
        effect=statements.effect,
        trigger=trigger,
        leak=leak,
        stages=tuple(table.failures[row].stage for row in statements.failure_row),
    )
