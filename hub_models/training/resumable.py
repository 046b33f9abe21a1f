"""Where a training stands, as one safetensors file, so that it goes on after a kill."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..atomic import atomic_path

_MOMENTS = ("exp_avg", "exp_avg_sq")


def save_progress(
    path: Path, step: int, parts: nn.Module, optimizer: torch.optim.Adam | None, facts: Mapping[str, str]
) -> None:
    """Replace ``path`` by the state after ``step`` steps.

    Args:
        parts: everything that the training changes or was drawn for it.
        optimizer: of some of its parameters; None at the end of a phase, after which nobody asks for its moments.
        facts: further texts to keep.
    """
    tensors = {f"parts.{name}": value for name, value in parts.state_dict().items()}
    state = {} if optimizer is None else optimizer.state
    for name, parameter in parts.named_parameters():
        if parameter in state:
            tensors |= {f"{moment}.{name}": state[parameter][moment] for moment in _MOMENTS}
            tensors[f"steps.{name}"] = state[parameter]["step"]
    with atomic_path(path) as temporary:
        kept = {name: value.contiguous() for name, value in tensors.items()}
        save_file(kept, temporary, {**facts, "step": str(step)})


def load_progress(path: Path) -> tuple[int, dict[str, Tensor], dict[str, str]]:
    """Steps done, tensors and facts of a saved state."""
    with safe_open(path, framework="pt") as file:
        facts = dict(file.metadata())
        return int(facts.pop("step")), {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118


def restore_parts(parts: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put saved tensors back, strictly."""
    prefix = "parts."
    parts.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})


def restore_moments(parts: nn.Module, optimizer: torch.optim.Adam, tensors: Mapping[str, Tensor]) -> None:
    """Put an optimizer's moments back, of the parameters that they were saved for."""
    for name, parameter in parts.named_parameters():
        if f"steps.{name}" in tensors:
            optimizer.state[parameter] = {
                "step": tensors[f"steps.{name}"],
                **{moment: tensors[f"{moment}.{name}"].to(parameter) for moment in _MOMENTS},
            }
