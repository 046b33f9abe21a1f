"""A live scheduler whose step moves expected clean images before it uses the model's output.

The scheduler's class is exchanged for a subclass of the same name and module, with the same signatures, so that
pipelines, saving, callbacks and offloading see what they saw before.
"""

from __future__ import annotations

import functools
import inspect
import threading
import weakref
from collections.abc import Callable
from typing import Any

import torch

from .spell_errors import ConcurrentUseError, SpellError
from .spell_memory import MemoryReferences
from .spell_prediction import (
    Position,
    limited,
    position,
    prediction,
    require_supported_step,
    result_scale,
)
from .spell_record import GenerationRecord, StepRecord
from .spell_shield import Shield, ShieldRun

_ATTACHMENT = "_spell_attachment"


class Attachment:
    """A shield on a scheduler, and what it did.

    Attributes:
        shield: its settings.
        owner: the pipeline or scheduler that it is on; None once that is gone.
        record: of the last generation, or the running one.
        remembered: finished samples of earlier batches, None without any.
        lock: held during a step, and while a generation begins.

    As a context manager it detaches at the end.
    """

    def __init__(self, shield: Shield, owner: Any, detach: Callable[[], None]) -> None:
        self.shield = shield
        self.record = GenerationRecord()
        self.remembered: MemoryReferences | None = None
        self.lock = threading.RLock()
        self.detach = detach
        self._owner = weakref.ref(owner)
        self._run: ShieldRun | None = None
        self._thread: int | None = None

    def __enter__(self) -> Attachment:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    def __deepcopy__(self, memo: dict[int, Any]) -> Attachment:
        raise SpellError(
            "a shielded scheduler or pipeline cannot be copied; copy it first, then attach to the copy"
        )

    @property
    def owner(self) -> Any:
        """The pipeline or scheduler that the shield was attached to."""
        return self._owner()

    @property
    def result(self) -> torch.Tensor | None:
        """Finished samples of the last generation, shape (B, *sample shape), float32; None before the end."""
        return self.record.final

    def begin(self) -> None:
        """A new generation of the calling thread; whoever was generating on this scheduler is refused from now on."""
        self.record = GenerationRecord()
        self._run = ShieldRun(self.shield, self.remembered)
        self._thread = threading.get_ident()

    def forget(self) -> None:
        """Stop protecting finished samples of earlier batches."""
        self.remembered = None

    def moved_output(self, scheduler: Any, arguments: dict[str, Any]) -> tuple[torch.Tensor, Position]:
        """The model's output with the push in it, of the same type and shape, and where in the schedule this is.

        Raises:
            ConcurrentUseError: another thread has begun a generation on this scheduler.
            SpellError: the samples do not have the shape of the references, or are not finite.
        """
        if self._run is not None and self._thread != threading.get_ident():
            raise ConcurrentUseError(
                "another thread began a generation on this scheduler; give each thread its own pipeline "
                "(DiffusionPipeline.from_pipe) and attach to each"
            )
        require_supported_step(scheduler, arguments)
        timestep, sample, output = arguments["timestep"], arguments["sample"], arguments["model_output"]
        where = position(scheduler, timestep)
        if self._run is None or (where.index == 0 and self.record.steps):
            self.begin()
        edited, step = self._edit(scheduler, timestep, sample, output, where)
        self.record.steps.append(step)
        return edited, where

    def _edit(
        self, scheduler: Any, timestep: Any, sample: torch.Tensor, output: torch.Tensor, where: Position
    ) -> tuple[torch.Tensor, StepRecord]:
        run = self._run
        assert run is not None
        zeros = torch.zeros(len(sample), dtype=torch.float64)
        if not run.active(where):
            return output, StepRecord(where.index, where.total, zeros.long(), zeros, zeros)
        self._require_shape(sample)
        skip, scale = prediction(scheduler, timestep)
        # A network that also predicts its variance appends it to the channels; the shield leaves it alone.
        predicted = output[:, : sample.shape[1]] if output.ndim > 1 else output
        unclipped = skip * sample.float() + scale * predicted.float()
        x0, bound = limited(scheduler, unclipped)
        if self.shield.pixels and bound is None:  # clipped when it is saved
            x0, bound = unclipped.clamp(-1, 1), 1.0
        if not unclipped.isfinite().all():
            raise SpellError(
                f"step {where.index}: the expected clean image is not finite; run the model in float32 or bfloat16"
            )
        moved = run.push(x0.flatten(1), bound)
        pushed = moved.balls > 0
        target = x0 + moved.displacement.view_as(x0).float()
        if bound is not None:
            target = target.clamp(-bound, bound)
        change = torch.where(_like(pushed, x0), (target - unclipped) / scale, torch.zeros_like(x0))
        edited = output.clone()
        edited[:, : sample.shape[1]] = (predicted.float() + change).to(output.dtype)
        # Images outside every ball keep their very bits.
        edited = torch.where(_like(pushed, output), edited, output)
        if not edited.isfinite().all():
            raise SpellError(
                f"step {where.index}: the push does not fit {output.dtype}; run the model in float32 or bfloat16"
            )
        norms = predicted.float().flatten(1).norm(dim=1).clamp_min(torch.finfo(torch.float32).tiny)
        step = StepRecord(
            where.index,
            where.total,
            moved.balls.cpu(),
            (target - x0).flatten(1).double().norm(dim=1).cpu(),
            (change.flatten(1).norm(dim=1) / norms).double().cpu(),
        )
        return edited, step

    def finish(self, scheduler: Any, sample: torch.Tensor) -> torch.Tensor:
        """The last sample, out of every ball if the shield holds to the end; recorded and remembered."""
        run = self._run
        assert run is not None
        scale = result_scale(scheduler)
        result = sample
        if self.shield.final and sample.isfinite().all():
            flat = (sample / scale).flatten(1)
            left = run.leave(flat)
            changed = (left != flat).any(1)
            result = torch.where(
                _like(changed, sample), (left * scale).view_as(sample).to(sample.dtype), sample
            )
        self.record.final = (result.float() / scale).cpu()
        self.record.projected = (
            ((result.float() - sample.float()) / scale).flatten(1).norm(dim=1).double().cpu()
        )
        if self.shield.remember:
            earlier = [self.remembered.rows.cpu()] if self.remembered else []
            rows = torch.cat([*earlier, self.record.final.flatten(1)])
            self.remembered = MemoryReferences(rows.view(-1, *sample.shape[1:]))
        self._run = None
        return result

    def _require_shape(self, sample: torch.Tensor) -> None:
        for protected in (self.shield.references, self.remembered):
            if protected is not None and tuple(sample.shape[1:]) != tuple(protected.sample_shape):
                raise SpellError(
                    f"references have shape {tuple(protected.sample_shape)}, this pipeline samples "
                    f"{tuple(sample.shape[1:])}; encode them for this model and resolution"
                )


def attachment_of(scheduler: Any) -> Attachment | None:
    """The shield that is on a scheduler, or None."""
    return scheduler.__dict__.get(_ATTACHMENT)


def shield_scheduler(scheduler: Any, attachment: Attachment) -> None:
    """Put a shield on a live scheduler, in place of the one that is on it."""
    if attachment_of(scheduler) is None:
        scheduler.__class__ = _shielded(type(scheduler))
    scheduler.__dict__[_ATTACHMENT] = attachment


def unshield_scheduler(scheduler: Any) -> None:
    """Take the shield off, leaving the scheduler as it was; no effect where none is on."""
    if scheduler.__dict__.pop(_ATTACHMENT, None) is not None:
        scheduler.__class__ = type(scheduler).__mro__[1]


@functools.cache
def _shielded(base: type) -> type:
    signature = inspect.signature(base.step)  # type: ignore[attr-defined]

    @functools.wraps(base.step)  # type: ignore[attr-defined]
    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        attachment = _required_attachment(self)
        arguments = signature.bind(self, *args, **kwargs).arguments
        device = arguments["sample"].device.type
        exactly = functools.partial(torch.autocast, device, enabled=False)  # products that exclude references
        with attachment.lock:
            with exactly():
                arguments["model_output"], where = attachment.moved_output(self, arguments)
            arguments.pop("self")
            result = base.step(self, **arguments)  # type: ignore[attr-defined]
            if not where.last:
                return result
            with exactly():
                return _with_sample(result, functools.partial(attachment.finish, self))

    @functools.wraps(base.set_timesteps)  # type: ignore[attr-defined]
    def set_timesteps(self: Any, *args: Any, **kwargs: Any) -> Any:
        attachment = _required_attachment(self)
        with attachment.lock:
            result = base.set_timesteps(self, *args, **kwargs)  # type: ignore[attr-defined]
            attachment.begin()
            return result

    names = {"__module__": base.__module__, "__qualname__": base.__qualname__, "__doc__": base.__doc__}
    return type(base.__name__, (base,), {"step": step, "set_timesteps": set_timesteps, **names})


def _required_attachment(scheduler: Any) -> Attachment:
    attachment = attachment_of(scheduler)
    if attachment is None:  # made by type(scheduler).from_config(...)
        raise SpellError(
            f"this {type(scheduler).__name__} was made from the class of a shielded scheduler and has no shield; "
            f"make it from diffusers.{type(scheduler).__name__}, and attach_spell to it"
        )
    return attachment


def _with_sample(result: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """A step's result, tuple or output class, with its sample changed.

    LCM and SCM also return the clean image, equal to the last sample, and their pipelines decode that one.
    """
    sample = result[0] if isinstance(result, tuple) else result.prev_sample
    changed = change(sample)

    def replaced(value: Any) -> Any:
        same = isinstance(value, torch.Tensor) and value.shape == sample.shape and torch.equal(value, sample)
        return changed if same else value

    if isinstance(result, tuple):
        return (changed, *map(replaced, result[1:]))
    return type(result)(**{name: replaced(value) for name, value in result.items()})


def _like(flags: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """Flags (B,) that broadcast over a tensor (B, ...)."""
    return flags.view(-1, *[1] * (tensor.ndim - 1)).to(tensor.device)
