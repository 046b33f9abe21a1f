"""A suite by its name: only for models of its task, and every entry can be called."""

from __future__ import annotations

import importlib

import pytest

from hub_models.errors import EvaluationError
from hub_models.evaluation import suites
from hub_models.families import FAMILIES
from hub_models.paths import CHECKPOINTS


def test_a_suite_of_another_task_is_refused_with_those_that_fit() -> None:
    folder = CHECKPOINTS / "uncertainty-efficientnet-lite0"
    with pytest.raises(
        EvaluationError, match=r"no suite 'weather' for image-uncertainty; choose from zero-shot"
    ):
        next(suites.run_suite("weather", folder, 1, ""))


def test_a_suite_is_not_run_on_models_of_another_task() -> None:
    with pytest.raises(EvaluationError, match="'zero-shot' for failure-network"):
        next(suites.run_suite("zero-shot", CHECKPOINTS / "battery-failure-network", 1, ""))


@pytest.mark.parametrize("name", suites.SUITES)
def test_every_suite_serves_a_known_task_by_a_function_that_exists(name: str) -> None:
    suite = suites.SUITES[name]
    module, function = suite.function.split(".")
    assert suite.task in {family.task for family in FAMILIES}
    assert callable(getattr(importlib.import_module(f"hub_models.evaluation.{module}"), function))
