"""Class-conditional generation of small images in pixel space, by flow matching."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch
from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler, ImagePipelineOutput, UNet2DModel
from diffusers.utils.torch_utils import randn_tensor

# diffusers copies the siblings that an entry file names, and no others.
from .spell_anchors import Anchors  # noqa: F401
from .spell_attachment import attach_spell  # noqa: F401
from .spell_call import ShieldedCall
from .spell_coordinates import Coordinates  # noqa: F401
from .spell_encoding import ImageEncoder  # noqa: F401
from .spell_errors import SpellError  # noqa: F401
from .spell_index import Index  # noqa: F401
from .spell_int8 import Quantised  # noqa: F401
from .spell_kernels import LANES  # noqa: F401
from .spell_memory import MemoryReferences  # noqa: F401
from .spell_prediction import Prediction  # noqa: F401
from .spell_protected import InsidePairs  # noqa: F401
from .spell_record import StepRecord  # noqa: F401
from .spell_reference_building import extend_set  # noqa: F401
from .spell_reference_manifest import Origin  # noqa: F401
from .spell_reference_shards import shard_path  # noqa: F401
from .spell_reference_upkeep import remove_items  # noqa: F401
from .spell_reference_work import Work  # noqa: F401
from .spell_references import ReferenceSet  # noqa: F401
from .spell_refused import REFUSED  # noqa: F401
from .spell_repellency import Push  # noqa: F401
from .spell_rerank import RowReader  # noqa: F401
from .spell_residuals import Residuals  # noqa: F401
from .spell_scan import Candidates  # noqa: F401
from .spell_scheduler import Attachment  # noqa: F401
from .spell_search import IndexedSearch  # noqa: F401
from .spell_shield import Shield  # noqa: F401
from .spell_small_search import SmallSearch  # noqa: F401
from .spell_threads import in_parallel  # noqa: F401
from .spell_union import ray_exit  # noqa: F401

with suppress(ImportError):  # it needs numba
    from .spell_vectors import VECTOR  # noqa: F401

NULL_LABEL = "null"


class SpellClassConditionalPipeline(ShieldedCall, DiffusionPipeline):
    """Images of a class, straight from a `UNet2DModel` that predicts the flow velocity noise - image.

    The network's last class embedding stands for no class: it is what classifier-free guidance moves away from
    (Ho and Salimans, arXiv 2207.12598), and label ``"null"`` asks for it.

    Args:
        unet: with ``num_class_embeds`` = number of classes + 1; samples are in [-1, 1].
        scheduler: of flow matching.
        id2label: class number, as a text, -> name.
    """

    model_cpu_offload_seq = "unet"
    _callback_tensor_inputs = ("latents",)

    def __init__(
        self,
        unet: UNet2DModel,
        scheduler: FlowMatchEulerDiscreteScheduler,
        id2label: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)
        self.register_to_config(id2label=id2label)
        self._guidance_scale = 1.0

    @property
    def guidance_scale(self) -> float:
        """Of the running call; a callback may set ``_guidance_scale`` for the steps to come."""
        return self._guidance_scale

    @property
    def null_label(self) -> int:
        """Number of the label that stands for no class."""
        return int(self.unet.config.num_class_embeds) - 1

    def get_label_ids(self, labels: int | str | Sequence[int | str]) -> list[int]:
        """Numbers of classes given by number or name, ``"null"`` included.

        Raises:
            ValueError: there is no such class; the message lists those there are.
        """
        labels = [labels] if isinstance(labels, int | str) else list(labels)
        names = {name: int(number) for number, name in (self.config.id2label or {}).items()}
        names[NULL_LABEL] = self.null_label
        ids = []
        for label in labels:
            number = names.get(label) if isinstance(label, str) else label
            if number is None or not 0 <= number <= self.null_label:
                raise ValueError(
                    f"class label {label!r} is unknown; pass a number from 0 to {self.null_label} or one of "
                    f"{', '.join(names)}"
                )
            ids.append(number)
        return ids

    @torch.no_grad()
    def __call__(
        self,
        class_labels: int | str | Sequence[int | str],
        guidance_scale: float = 1.0,
        num_inference_steps: int = 30,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[[Any, int, torch.Tensor, dict[str, Any]], dict[str, Any]]
        | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> ImagePipelineOutput | tuple[Any]:
        """One image for each label.

        Args:
            class_labels: numbers or names; ``"null"`` for no class.
            guidance_scale: 1 samples the model itself; more follows the class more closely, at twice the cost.
            num_inference_steps: of the scheduler.
            generator: of the noise; a list has one for each image.
            latents: the noise itself, shape (B, C, H, W), instead of drawing it.
            output_type: ``pil``; ``np`` (B, H, W, C) and ``pt`` (B, C, H, W) in [0, 1]; or ``latent``, the samples
                as they are.
            return_dict: whether to return an `ImagePipelineOutput` rather than a tuple.
            callback_on_step_end: called with (pipeline, step, timestep, tensors) after each step; may return
                ``{"latents": ...}`` to go on with.
            callback_on_step_end_tensor_inputs: which tensors it gets; ``latents`` is the only one.

        Raises:
            ValueError: a class, the output type, or the shape of ``latents`` is not possible.
        """
        labels = torch.tensor(self.get_label_ids(class_labels), device=self._execution_device)
        latents = self._prepare_latents(len(labels), generator, latents)
        self._check_request(output_type, callback_on_step_end_tensor_inputs)
        self._guidance_scale = guidance_scale
        self.scheduler.set_timesteps(num_inference_steps, device=self._execution_device)
        for step, timestep in enumerate(self.progress_bar(self.scheduler.timesteps)):
            velocity = self.predict_velocity(latents, timestep, labels)
            latents = self.scheduler.step(velocity, timestep, latents, return_dict=False)[0]
            if callback_on_step_end is not None:
                tensors = dict.fromkeys(callback_on_step_end_tensor_inputs, latents)
                latents = callback_on_step_end(self, step, timestep, tensors).get("latents", latents)
        images = _converted(latents, output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def predict_velocity(
        self, latents: torch.Tensor, timestep: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """The guided velocity noise - image of one step, shape of ``latents``."""
        if self._guidance_scale == 1:
            return self.unet(latents, timestep, class_labels=labels).sample
        doubled = torch.cat([labels, torch.full_like(labels, self.null_label)])
        both = self.unet(torch.cat([latents, latents]), timestep, class_labels=doubled).sample
        with_class, without = both.chunk(2)
        return without + self._guidance_scale * (with_class - without)

    def _prepare_latents(
        self,
        count: int,
        generator: torch.Generator | list[torch.Generator] | None,
        latents: torch.Tensor | None,
    ) -> torch.Tensor:
        config = self.unet.config
        size = config.sample_size
        height, width = (size, size) if isinstance(size, int) else size
        shape = (count, config.in_channels, height, width)
        if latents is None:
            return randn_tensor(shape, generator, self._execution_device, self.unet.dtype)
        if tuple(latents.shape) != shape:
            raise ValueError(f"latents have shape {tuple(latents.shape)}; {count} labels need {shape}")
        return latents.to(self._execution_device, self.unet.dtype)

    def _check_request(self, output_type: str, tensor_inputs: Sequence[str]) -> None:
        if output_type not in _OUTPUT_TYPES:
            raise ValueError(f"output_type is {output_type!r}; choose from {', '.join(_OUTPUT_TYPES)}")
        if set(tensor_inputs) - set(self._callback_tensor_inputs):
            raise ValueError(f"a callback gets {self._callback_tensor_inputs}, not {list(tensor_inputs)}")


_OUTPUT_TYPES = ("pil", "np", "pt", "latent")


def _converted(latents: torch.Tensor, output_type: str) -> Any:
    if output_type == "latent":
        return latents
    images = (latents.float() / 2 + 0.5).clamp(0, 1)
    if output_type == "pt":
        return images
    array = images.permute(0, 2, 3, 1).cpu().numpy()
    return array if output_type == "np" else DiffusionPipeline.numpy_to_pil(array)
