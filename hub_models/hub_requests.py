"""Calls to a Hub: patient, its errors as ours, with the next step and without anything secret."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from .errors import CheckpointError
from .hub_errors import (
    AnswerError,
    ConflictError,
    GatedError,
    HubError,
    HubPermissionError,
    KeepingError,
    NotCachedError,
    NotOnHubError,
    UnreachableError,
)

UNAUTHORISED, FORBIDDEN, TIMEOUT, CONFLICT, BEHIND, TOO_MANY, SERVER_ERROR = 401, 403, 408, 409, 412, 429, 500
#: Tries of one call, and seconds before the second; each further wait is twice as long, give or take a half.
TRIES, FIRST_WAIT = 4, 0.5

T = TypeVar("T")


def default_endpoint() -> str:
    """``HF_ENDPOINT``, by default the public Hub."""
    from huggingface_hub import constants

    return constants.ENDPOINT


def patiently(call: Callable[[], T]) -> T:
    """What a call gives, tried again where the Hub does not answer. Repeating it must do no harm."""
    for attempt in range(1, TRIES):
        try:
            return call()
        except UnreachableError:
            time.sleep(FIRST_WAIT * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))
    return call()


@contextmanager
def hub_errors(what: str, endpoint: str) -> Iterator[None]:
    """Errors of huggingface_hub inside the block as `HubError`.

    Args:
        what: the repository and revision, for the message.
    """
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.utils import httpx

    log_in = "log in with `hf auth login` or set HF_TOKEN"
    try:
        yield
    except CheckpointError:  # told already
        raise
    except GatedRepoError as error:
        raise GatedError(
            f"{what}: gated; accept its terms on {endpoint} and {log_in}, then try again"
        ) from error
    except RepositoryNotFoundError as error:
        raise NotOnHubError(
            f"{what}: not on {endpoint}, or private; check the name, or {log_in} as someone who may see it"
        ) from error
    except RevisionNotFoundError as error:
        raise NotOnHubError(
            f"{what}: has no such revision; name a branch, a tag or a commit that {endpoint} lists"
        ) from error
    except OfflineModeIsEnabled as error:
        raise _not_cached(what) from error
    except LocalEntryNotFoundError as error:
        if isinstance(error.__cause__, OfflineModeIsEnabled) or _offline():
            raise _not_cached(what) from error
        raise _unreachable(what, endpoint) from error
    except EntryNotFoundError as error:
        raise NotOnHubError(
            f"{what}: has no MANIFEST.json, so nothing can be checked; is it a repository of this project?"
        ) from error
    except HFValidationError as error:
        raise NotOnHubError(
            f"{what}: no name of a repository; write org/name or org/name@revision"
        ) from error
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (UNAUTHORISED, FORBIDDEN):
            raise HubPermissionError(
                f"{what}: {endpoint} refuses it ({status}); {log_in}, with a token that may do this"
            ) from error
        if status in (CONFLICT, BEHIND):
            raise ConflictError(
                f"{what}: somebody else changed it meanwhile; look what they did, then try again"
            ) from error
        if status is None or status in (TIMEOUT, TOO_MANY) or status >= SERVER_ERROR:
            raise UnreachableError(
                f"{what}: {endpoint} answers with an error ({status}); wait a little and try again"
            ) from error
        raise HubError(f"{what}: {endpoint} refuses it ({status}: {error.server_message})") from error
    except (httpx.HTTPError, ConnectionError, TimeoutError) as error:
        raise _unreachable(what, endpoint) from error
    except OSError as error:
        if error.errno is not None:
            raise KeepingError(
                f"{what}: cannot be kept in the cache ({error.strerror}); check free space and permissions, or set "
                "HF_HOME to another folder"
            ) from error
        raise _nonsense(what, endpoint, error) from error
    except (KeyError, TypeError, ValueError) as error:  # what huggingface_hub makes of a broken answer
        raise _nonsense(what, endpoint, error) from error


def _not_cached(what: str) -> NotCachedError:
    return NotCachedError(
        f"{what}: not in the cache, and HF_HUB_OFFLINE is set; unset it once to fetch the repository"
    )


def _unreachable(what: str, endpoint: str) -> UnreachableError:
    return UnreachableError(
        f"{what}: not in the cache, and {endpoint} cannot be reached; check the network and HF_ENDPOINT"
    )


def _nonsense(what: str, endpoint: str, error: Exception) -> AnswerError:
    # Not the text of the error: it may quote a signed address.
    return AnswerError(
        f"{what}: {endpoint} does not answer as a Hub does ({type(error).__name__}); try again later, or ask its "
        "operator"
    )


def _offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.is_offline_mode())
