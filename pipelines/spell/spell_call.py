"""A pipeline whose call takes a shield: what the entry file of each family adds to the pipeline of diffusers."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from .spell_attachment import make_shield, put_on
from .spell_errors import ConcurrentUseError
from .spell_protected import Protected
from .spell_references import ReferenceSet
from .spell_scheduler import Attachment

_TAKES_SHIELD = "_takes_shield"


class ShieldedCall:
    """Mixin for a `DiffusionPipeline`, named before it: its call gets the arguments of `shielded`.

    Without a shield the call is the pipeline's own, bit for bit.

    Attributes:
        spell: the shield of the latest shielded call, with its record; None before.
    """

    spell: Attachment | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not hasattr(cls.__call__, _TAKES_SHIELD):  # a subclass that leaves the call alone inherits ours
            cls.__call__ = shielded(cls.__call__)  # type: ignore[operator, method-assign]


def shielded(call: Callable[..., Any]) -> Callable[..., Any]:
    """The call of a pipeline with more keyword arguments, which its signature shows.

    Args:
        shield: protected references, (N, *sample shape); a `ReferenceSet`, or the folder of one; None for none.
        radius: of the ball around each reference, and around each other image of the batch.
        overcompensation, strength, start, stop, intra_batch, groups: see `attach_spell`.
    """

    def __call__(  # noqa: N807
        self: Any,
        *args: Any,
        shield: torch.Tensor | Protected | str | Path | None = None,
        radius: float | None = None,
        overcompensation: float = 1.6,
        strength: float = 1.0,
        start: float = 0.0,
        stop: float = 1.0,
        intra_batch: bool = False,
        groups: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> Any:
        if shield is None and not intra_batch:
            return call(self, *args, **kwargs)
        busy = self.__dict__.setdefault("_spell_busy", threading.Lock())
        if not busy.acquire(blocking=False):
            raise ConcurrentUseError(
                "this pipeline is generating in another thread; give each thread its own, type(pipe).from_pipe(pipe)"
            )
        try:
            made = make_shield(
                self,
                _opened(shield, self),
                radius,
                overcompensation,
                strength=strength,
                start=start,
                stop=stop,
                intra_batch=intra_batch,
                groups=groups,
            )
            with put_on(
                self, made
            ) as self.spell:  # over a shield that is attached, which comes back afterwards
                return call(self, *args, **kwargs)
        finally:
            busy.release()

    own, added = inspect.signature(call), inspect.signature(__call__)
    extra = [p for p in added.parameters.values() if p.kind is p.KEYWORD_ONLY]
    parameters = list(own.parameters.values())
    rest = [p for p in parameters if p.kind is p.VAR_KEYWORD]
    parameters = [p for p in parameters if p.kind is not p.VAR_KEYWORD] + extra + rest
    functools.update_wrapper(__call__, call)
    setattr(__call__, _TAKES_SHIELD, True)
    __call__.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    return __call__


def _opened(
    shield: torch.Tensor | Protected | str | Path | None, pipe: Any
) -> torch.Tensor | Protected | None:
    """References as they are, or a set opened from its folder and checked against the pipeline's own VAE."""
    if not isinstance(shield, str | Path):
        return shield
    return ReferenceSet.open(shield, vae=getattr(pipe, "vae", None))
