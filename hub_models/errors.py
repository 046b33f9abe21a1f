"""Typed errors. Each message names the file or field, says what is wrong, and gives the next step."""

from __future__ import annotations


class HubModelsError(Exception):
    """Base of every error that this project raises on bad input."""


class ImageReadError(HubModelsError, ValueError):
    """A file is not an image that can be used: not an image, cut short, too large, too small, unreadable."""


class ImageSourceError(HubModelsError, ValueError):
    """A folder, archive or data set cannot serve as a set of images."""


class BackboneError(HubModelsError, ValueError):
    """A backbone is unknown, cannot be assembled, or lacks what was asked of it."""


class CheckpointError(HubModelsError, ValueError):
    """A checkpoint is missing, incomplete, altered, or does not fit its configuration."""


class RecipeError(HubModelsError, ValueError):
    """A training recipe has a missing, unknown or contradictory field."""


class FeatureCacheError(HubModelsError, RuntimeError):
    """A feature cache cannot be built, continued or read."""


class GalleryError(HubModelsError, ValueError):
    """A retrieval gallery cannot be built, read or queried."""


class EvaluationError(HubModelsError, ValueError):
    """A metric or suite got input for which it has no value."""


class FailureTableError(HubModelsError, ValueError):
    """An FMEA table cannot be read, or says something that no network can hold."""


class FailureNetworkError(HubModelsError, ValueError):
    """A failure network is malformed, or is asked for what it has no answer to."""


class DistributionError(HubModelsError, ValueError):
    """A distribution got a parameter outside its domain."""


class SpaceError(HubModelsError, RuntimeError):
    """A Space is unknown, or does not run."""


class MissingExtraError(HubModelsError, ImportError):
    """An optional dependency is not installed; the message gives the pip command."""
