"""A radius for a model and its references: how near to them does it come when nothing keeps it away?"""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .spell_attachment import put_on, samples_pixels
from .spell_errors import ReferencesError, SpellError, SpellWarning
from .spell_memory import MemoryReferences
from .spell_protected import Protected
from .spell_radius_meaning import RadiusMeaning, describe_radius
from .spell_references import ReferenceSet
from .spell_shield import Shield


@dataclass(frozen=True)
class RadiusCalibration:
    """A radius and where it comes from.

    Attributes:
        radius: the quantile of `distances`.
        quantile: share of unshielded samples inside that radius.
        distances: from each unshielded sample to its nearest reference, shape (samples,), float64.
        typical: median distance of two references; nan where there is only one.
        meaning: what the radius does and catches; None for references that are searched approximately.
    """

    radius: float
    quantile: float
    distances: torch.Tensor
    typical: float
    meaning: RadiusMeaning | None = None

    @property
    def rho(self) -> float:
        """The radius as a share of the typical distance: what decides the cost of the search."""
        return self.radius / self.typical

    def __str__(self) -> str:
        held = (
            f"radius {self.radius:.4g} holds {self.quantile:.1%} of {len(self.distances)} unshielded samples"
        )
        return held if self.meaning is None else f"{held}\n{self.meaning}"

    def picture(self, path: str | Path) -> None:
        """Draw the distribution of the distances, the radius and the typical distance."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        axis = figure.subplots()
        axis.hist(self.distances.numpy(), bins=min(40, max(5, len(self.distances) // 4)), color="#bbbbbb")
        axis.axvline(
            self.radius, color="#b2182b", label=f"radius {self.radius:.3g} ({self.quantile:.1%} inside)"
        )
        if math.isfinite(self.typical):
            axis.axvline(
                self.typical, color="#555555", linestyle="--", label=f"two references: {self.typical:.3g}"
            )
        axis.set(
            xlabel="distance to the nearest reference",
            ylabel="samples",
            title="Without a shield",
            xlim=(0, None),
        )
        axis.legend()
        figure.savefig(path, dpi=120)


def calibrate_radius(
    pipe: Any,
    references: torch.Tensor | Protected,
    quantile: float = 0.05,
    *,
    samples: int = 64,
    seed: int = 0,
    images: Sequence[Any] | None = None,
    **call: Any,
) -> RadiusCalibration:
    """The radius inside which a share of unshielded samples lies.

    The paper's shield of ImageNet held 7.6 % of them. Generates with the pipeline's own call until there are enough.
    Print the result: it says what the radius means.

    Args:
        pipe: a diffusers pipeline.
        references: shape (N, *sample shape), in its own sample space; or a `ReferenceSet`.
        quantile: that share, in (0, 1).
        samples: how many to generate, at least 2.
        seed: of the first call; each call has its own.
        images: some of the protected images, to measure which copies of them the radius catches; needed where the
            model works on latents.
        call: arguments of the pipeline: a prompt, number of steps, guidance, batch size ...

    Raises:
        SpellError: quantile or samples out of range, or the samples are copies of references: the radius would be 0.
        ReferencesError: references of another shape than the samples, or images that they were not made of.
        UnsupportedSchedulerError: the scheduler cannot be shielded.
    """
    if not 0 < quantile < 1:
        raise SpellError(f"quantile must lie between 0 and 1, not {quantile!r}")
    if samples < 2:
        raise SpellError(f"samples must be at least 2, not {samples!r}")
    protected = MemoryReferences(references) if isinstance(references, torch.Tensor) else references
    made = _unshielded(pipe, samples, seed, call)
    if tuple(made.shape[1:]) != tuple(protected.sample_shape):
        raise ReferencesError(
            f"references have shape {tuple(protected.sample_shape)}, this pipeline samples {tuple(made.shape[1:])}; "
            "encode them for this model and resolution"
        )
    distances = protected.nearest(made.flatten(1))[1].cpu()
    radius = float(distances.quantile(quantile))
    if radius == 0:
        raise SpellError(
            f"{quantile:.1%} of the samples equal a reference exactly; take a larger quantile, or choose a radius by "
            "what counts as a copy"
        )
    meaning = _meaning(pipe, protected, radius, images)
    typical = math.nan if meaning is None else meaning.typical_distance
    result = RadiusCalibration(radius, quantile, distances, typical, meaning)
    if radius >= typical:
        warnings.warn(
            f"radius {radius:.4g} reaches the median distance of two references, {typical:.4g}: a shield of this "
            "radius leaves nothing between the references to generate; take a smaller quantile",
            SpellWarning,
            stacklevel=2,
        )
    return result


def _meaning(
    pipe: Any, protected: Protected, radius: float, images: Sequence[Any] | None
) -> RadiusMeaning | None:
    if not isinstance(protected, MemoryReferences | ReferenceSet):
        return None
    if images is None and isinstance(protected, MemoryReferences) and samples_pixels(pipe, protected):
        images = protected.rows.view(-1, *protected.sample_shape)  # they are the images
    return describe_radius(protected, radius, images, getattr(pipe, "vae", None))


def _unshielded(pipe: Any, samples: int, seed: int, call: dict[str, Any]) -> torch.Tensor:
    """Finished samples (samples, *sample shape) of a pipeline in its own sample space."""
    if "output_type" in inspect.signature(pipe.__call__).parameters:
        call = {"output_type": "latent", **call}  # images are not needed
    made: list[torch.Tensor] = []
    with put_on(pipe, Shield(None, radius=1.0)) as watcher:
        while sum(map(len, made)) < samples:
            pipe(**call, generator=torch.Generator().manual_seed(seed + len(made)))
            if watcher.result is None:
                raise SpellError(
                    f"{type(pipe).__name__} did not run its schedule to the end; nothing to measure"
                )
            made.append(watcher.result)
    return torch.cat(made)[:samples]
