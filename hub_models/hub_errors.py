"""What can go wrong between a Hub and this machine, one type each, so that a program can tell them apart.

All are `CheckpointError`s: whoever asks for a model by name need not know where it would have come from.
"""

from __future__ import annotations

from .errors import CheckpointError


class HubError(CheckpointError):
    """Something between this machine and a Hub went wrong."""


class NotOnHubError(HubError):
    """There is no such repository, revision or manifest; or it is private, and the Hub does not tell."""


class GatedError(HubError):
    """The repository asks for its terms to be accepted first."""


class HubPermissionError(HubError):
    """The Hub knows who asks and does not allow it."""


class NotCachedError(HubError):
    """Offline, and not all of the repository was fetched before."""


class UnreachableError(HubError):
    """The Hub does not answer, or breaks off."""


class ConflictError(HubError):
    """Somebody else changed the repository meanwhile."""


class AnswerError(HubError):
    """The Hub answered with something else than was asked for: cut short, of another size, no JSON."""


class KeepingError(HubError):
    """What arrived cannot be written to the cache."""


class AlteredError(HubError):
    """What arrived is not what the manifest lists, or not what this project published."""
