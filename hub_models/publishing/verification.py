"""What a verification says: named checks, each passed, failed or not made."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ..errors import CheckpointError


class Outcome(StrEnum):
    """Of a check. What was not made is no failure, and no proof either."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_MADE = "not made"


@dataclass(frozen=True)
class Check:
    """One line of a verification.

    Attributes:
        name: of what was checked, the same in every version.
        detail: what was found, or why the check was not made.
    """

    name: str
    outcome: Outcome
    detail: str


@dataclass(frozen=True)
class Verification:
    """All that was checked of one repository.

    Attributes:
        target: the folder, or ``org/name@commit``.
    """

    target: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not self.failures

    @property
    def failures(self) -> list[Check]:
        """The checks that failed."""
        return [check for check in self.checks if check.outcome is Outcome.FAILED]


class NotMade(Exception):  # noqa: N818  (a reason, not an error)
    """Why a check does not apply here."""


def check(name: str, made: Callable[..., str], *arguments: Any) -> Check:
    """Make one check.

    Args:
        made: gives the detail of a pass; raises `CheckpointError` with what is wrong, or `NotMade` with the reason.
    """
    try:
        return Check(name, Outcome.PASSED, made(*arguments))
    except NotMade as reason:
        return Check(name, Outcome.NOT_MADE, str(reason))
    except CheckpointError as error:
        return Check(name, Outcome.FAILED, str(error))


def require(complaints: Iterable[str]) -> None:
    """Raise a `CheckpointError` that lists the complaints, if there are any."""
    found = list(complaints)
    if found:
        raise CheckpointError("; ".join(found))
