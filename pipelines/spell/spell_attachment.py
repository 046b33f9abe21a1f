"""Put a shield on a pipeline or a scheduler, and take it off."""

from __future__ import annotations

import copy
import functools
import math
import warnings
import weakref
from collections.abc import Sequence
from typing import Any

import torch

from .spell_errors import ReferencesError, SpellError, SpellWarning
from .spell_memory import MemoryReferences
from .spell_prediction import require_supported
from .spell_protected import Protected
from .spell_scheduler import Attachment, attachment_of, shield_scheduler, unshield_scheduler
from .spell_shield import Shield

_DECODERS = ("vae", "vqvae", "vqgan", "movq", "decoder")  # a pipeline with one of these samples latents


def attach_spell(
    target: Any,
    references: torch.Tensor | Protected | None = None,
    radius: float | None = None,
    overcompensation: float = 1.6,
    *,
    strength: float = 1.0,
    start: float = 0.0,
    stop: float = 1.0,
    intra_batch: bool = False,
    groups: Sequence[int] | None = None,
    remember: bool = False,
    seed: int = 0,
) -> Attachment:
    """Steer all generations of a pipeline away from protected references, or its images from each other.

    SPELL (Kirchhof et al., arXiv 2410.06025): where the expected clean image lies inside a ball around a
    reference, it is pushed out, after guidance and before the scheduler uses it. A pipeline gets its own copy of
    its scheduler, so that pipelines which share modules do not disturb each other. A second call replaces the
    shield, remembered images included.

    Args:
        target: a diffusers pipeline, or a scheduler.
        references: shape (N, *sample shape), in the model's own sample space; or a `ReferenceSet`.
        radius: of the ball around each, in that space; see `calibrate_radius`.
        overcompensation, strength, start, stop, intra_batch, groups, remember, seed: see `Shield`.

    Returns:
        What is attached, with the record and the result of the last generation; a context manager that detaches.

    Raises:
        SpellError: an argument is out of its range, or there is nothing to keep away from.
        ReferencesError: the references are empty, not finite, or made for another VAE.
        UnsupportedSchedulerError: the scheduler, or a setting of it, cannot be shielded; with the reason.
    """
    shield = make_shield(
        target,
        references,
        radius,
        overcompensation,
        strength=strength,
        start=start,
        stop=stop,
        intra_batch=intra_batch,
        groups=groups,
        remember=remember,
        seed=seed,
    )
    detach_spell(target)
    return put_on(target, shield)


def make_shield(
    target: Any,
    references: torch.Tensor | Protected | None,
    radius: float | None,
    overcompensation: float,
    *,
    strength: float,
    start: float,
    stop: float,
    intra_batch: bool,
    groups: Sequence[int] | None,
    remember: bool = False,
    seed: int = 0,
) -> Shield:
    """A shield that fits a pipeline or scheduler, checked but not put on; arguments and errors of `attach_spell`."""
    require_supported(_bare(_scheduler(target)))
    if radius is None:
        raise SpellError("radius is missing; calibrate_radius(pipe, references, quantile) finds one")
    protected = MemoryReferences(references) if isinstance(references, torch.Tensor) else references
    if protected is None and not (intra_batch or remember):
        raise SpellError("nothing to keep away from; pass references, intra_batch=True or remember=True")
    if protected is not None:
        _check(protected, radius, target)
    return Shield(
        protected,
        radius,
        overcompensation,
        strength,
        start,
        stop,
        intra_batch,
        None if groups is None else tuple(groups),
        remember,
        seed,
        pixels=protected is not None and samples_pixels(target, protected),
    )


def detach_spell(target: Any) -> None:
    """Take the shield off a pipeline or a scheduler; no effect where none is on."""
    scheduler = _scheduler(target)
    attachment = attachment_of(scheduler)
    if (
        attachment is not None and attachment.owner is target
    ):  # not that of a pipeline which shares the scheduler
        attachment.detach()


def attached(target: Any) -> Attachment:
    """The shield that is on a pipeline or a scheduler.

    Raises:
        SpellError: there is none (any more).
    """
    attachment = attachment_of(_scheduler(target))
    if attachment is None:
        raise SpellError(
            f"{type(target).__name__} has no shield: call attach_spell, again if its scheduler was exchanged"
        )
    return attachment


def is_shielded(target: Any) -> bool:
    """Whether a shield is on a pipeline or a scheduler."""
    return attachment_of(_scheduler(target)) is not None


def put_on(target: Any, shield: Shield) -> Attachment:
    """Put a shield on, whatever is on already; taking it off brings back what was there."""
    before = _scheduler(target)
    if before is target:
        attachment = Attachment(shield, target, functools.partial(_take_off_scheduler, weakref.ref(target)))
        shield_scheduler(target, attachment)
        return attachment
    scheduler = copy.deepcopy(_bare(before))
    # Exchanging the scheduler drops the only reference to the shielded one: that is when its user is told.
    alarm = weakref.finalize(scheduler, _warn_of_exchange, weakref.ref(target))
    alarm.atexit = False
    take_off = functools.partial(
        _take_off_pipeline, weakref.ref(target), weakref.ref(scheduler), before, alarm
    )
    attachment = Attachment(shield, target, take_off)
    shield_scheduler(scheduler, attachment)
    target.scheduler = scheduler
    return attachment


def _take_off_scheduler(target: weakref.ref[Any]) -> None:
    scheduler = target()
    if scheduler is not None:
        unshield_scheduler(scheduler)


def _take_off_pipeline(
    pipeline: weakref.ref[Any], shielded: weakref.ref[Any], before: Any, alarm: weakref.finalize[Any, Any]
) -> None:
    alarm.detach()
    target, scheduler = pipeline(), shielded()
    if target is not None and scheduler is not None and target.scheduler is scheduler:
        target.scheduler = before
    if scheduler is not None:
        unshield_scheduler(scheduler)


def _warn_of_exchange(pipeline: weakref.ref[Any]) -> None:
    target = pipeline()
    if target is not None and attachment_of(target.scheduler) is None:
        warnings.warn(
            f"the new scheduler {type(target.scheduler).__name__} of {type(target).__name__} has no shield: "
            "call attach_spell again",
            SpellWarning,
            stacklevel=3,
        )


def _scheduler(target: Any) -> Any:
    scheduler = getattr(target, "scheduler", target)
    if not hasattr(scheduler, "config") or not hasattr(scheduler, "save_config"):
        raise SpellError(
            f"{type(target).__name__} is neither a diffusers scheduler nor a pipeline with one; "
            "pass pipe or pipe.scheduler"
        )
    return scheduler


def _bare(scheduler: Any) -> Any:
    """A scheduler as it is without a shield: itself, or a shallow copy."""
    if attachment_of(scheduler) is None:
        return scheduler
    bare = copy.copy(scheduler)
    unshield_scheduler(bare)
    return bare


def _check(protected: Protected, radius: float, target: Any) -> None:
    if len(protected) == 0:
        raise SpellError("the reference set is empty; add references, or pass None for no references")
    shape = tuple(protected.sample_shape)
    if hasattr(target, "_pack_latents") and len(shape) != 2:
        raise ReferencesError(
            f"{type(target).__name__} samples packed latents (tokens, channels), these references have shape {shape}; "
            "build the set with ReferenceSet.build(images, vae=pipe.vae, packed=True, ...), or pack a tensor with "
            "spell_encoding.pack_latents"
        )
    vae = getattr(target, "vae", None)
    if vae is not None and hasattr(protected, "require_made_for"):
        _require_made_for(protected, vae)
    typical = getattr(protected, "typical_distance", lambda: math.nan)()
    if radius >= typical:
        warnings.warn(
            f"radius {radius:g} reaches the median distance of two references, {typical:g}: the balls cover the "
            "space between them, and nothing like them can be generated; use a smaller radius (calibrate_radius)",
            SpellWarning,
            stacklevel=3,
        )


_MADE_FOR: weakref.WeakKeyDictionary[Any, weakref.WeakSet[Any]] = weakref.WeakKeyDictionary()


def _require_made_for(protected: Any, vae: Any) -> None:
    """Compare the VAE with that of the set, once for each pair: it means reading all of its weights."""
    known = _MADE_FOR.setdefault(vae, weakref.WeakSet())
    if protected not in known:
        protected.require_made_for(vae)
        known.add(protected)


def samples_pixels(target: Any, protected: Protected) -> bool:
    """Whether the samples of a pipeline are the images themselves."""
    latents = any(getattr(target, name, None) is not None for name in _DECODERS)
    shape = tuple(protected.sample_shape)
    return hasattr(target, "scheduler") and not latents and len(shape) == 3 and shape[0] in (1, 3)
