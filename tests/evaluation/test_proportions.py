from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from hub_models.errors import EvaluationError
from hub_models.evaluation.proportions import proportion


def test_ends_leave_their_tails():
    hits = np.arange(50) < 13
    found = proportion(hits)
    assert (found.value, found.n) == (0.26, 50)
    assert binom.sf(12, 50, found.low) == pytest.approx(0.025)
    assert binom.cdf(13, 50, found.high) == pytest.approx(0.025)


def test_none_and_all_have_an_interval():
    none, every = proportion(np.zeros(100, dtype=bool)), proportion(np.ones(100, dtype=bool))
    assert (none.value, none.low) == (0, 0)
    assert 0.03 < none.high < 0.04
    assert (every.value, every.high) == (1, 1)
    assert every.low == pytest.approx(1 - none.high)


def test_no_items():
    with pytest.raises(EvaluationError, match="no items"):
        proportion(np.zeros(0, dtype=bool))
