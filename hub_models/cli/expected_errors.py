"""Errors of the shield and its pipelines, which ship without this package, as those of a command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import HubModelsError, MissingExtraError


@contextmanager
def expected_errors() -> Iterator[None]:
    """Bad input and a missing extra become one line with the next step, not a trace."""
    try:
        yield
    except HubModelsError:
        raise
    except ValueError as error:  # what the shield and the pipelines raise on bad input
        raise HubModelsError(str(error)) from error
    except ImportError as error:
        raise MissingExtraError(f"{error}; pip install 'hub-models[diffusion]'") from error
