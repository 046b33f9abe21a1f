"""Errors and warnings of the shield. Each message says what is wrong and gives the next step."""

from __future__ import annotations


class SpellError(ValueError):
    """Base of every error that the shield raises on bad input."""


class UnsupportedSchedulerError(SpellError):
    """A scheduler, or a setting of it, under which the expected clean image cannot be read and edited."""


class ReferencesError(SpellError):
    """References that cannot be protected: wrong shape, not finite, none at all, made for another model."""


class ConcurrentUseError(SpellError):
    """Two calls ran on one shielded scheduler at the same time."""


class SpellWarning(UserWarning):
    """The shield works, but not as its user may expect."""
