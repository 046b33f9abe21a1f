"""Suites by name: what `hub-models evaluate` can measure. A new suite adds one entry here."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..checkpoint_folder import RECIPE, read_recipe
from ..errors import EvaluationError
from .results import Result


@dataclass(frozen=True)
class Suite:
    """One protocol.

    Attributes:
        task: of the models that it measures, as in their recipes.
        function: ``module.function`` in this package, imported when the suite is run; called with the checkpoint's
            folder, the number of training seeds and the command to record. It yields the figures of the released
            model, then those of each other seed as soon as they are there.
    """

    task: str
    function: str


SUITES = {
    "cifar10h": Suite("probabilistic-embedding", "cifar10h.cifar10h"),
    "credible": Suite("vmf-encoder", "credible_coverage.credible"),
    "recovery": Suite("vmf-encoder", "recovery.recovery"),
    "retrieval": Suite("probabilistic-embedding", "retrieval_suite.retrieval_suite"),
    "root-causes": Suite("failure-network", "root_causes.root_causes"),
    "zero-shot": Suite("image-uncertainty", "zero_shot_seeds.zero_shot_seeds"),
}


def run_suite(name: str, folder: Path, seeds: int, command: str) -> Iterator[list[Result]]:
    """The figures of a checkpoint folder under a suite, one list a seed.

    Args:
        seeds: how many in all; those after the first are trained anew.

    Raises:
        EvaluationError: there is no such suite, or it is not for models of this task.
        CheckpointError: the folder's recipe cannot be read.
    """
    task = read_recipe(folder / RECIPE)["task"]
    suitable = [suite for suite, about in SUITES.items() if about.task == task]
    if name not in suitable:
        offer = f"choose from {', '.join(suitable)}" if suitable else "there is none for such models yet"
        raise EvaluationError(f"{folder.name}: no suite {name!r} for {task}; {offer}")
    module, function = SUITES[name].function.split(".")
    yield from getattr(importlib.import_module(f"{__package__}.{module}"), function)(folder, seeds, command)
