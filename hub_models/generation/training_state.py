"""Where a training stands, as one safetensors file, so that it goes on after a kill."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ..atomic import atomic_path

_MOMENTS = ("exp_avg", "exp_avg_sq")


def save_state(
    path: Path,
    step: int,
    network: torch.nn.Module,
    average: torch.nn.Module,
    optimizer: torch.optim.AdamW,
) -> None:
    """Replace ``path`` by the state after ``step`` steps."""
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.state_dict().items()}
    for name, parameter in network.named_parameters():
        tensors |= {f"{moment}.{name}": optimizer.state[parameter][moment] for moment in _MOMENTS}
    tensors["step"] = torch.tensor(step)
    with atomic_path(path) as temporary:
        save_file({name: value.contiguous() for name, value in tensors.items()}, temporary)


def load_state(
    path: Path, network: torch.nn.Module, average: torch.nn.Module, optimizer: torch.optim.AdamW
) -> int:
    """Put a saved state into the three, and return the steps done; 0 where nothing was saved yet."""
    if not path.is_file():
        return 0
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for prefix, module in (("network.", network), ("average.", average)):
        module.load_state_dict(
            {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        )
    step = int(tensors["step"])
    for name, parameter in network.named_parameters():
        optimizer.state[parameter] = {
            "step": torch.tensor(float(step)),
            **{moment: tensors[f"{moment}.{name}"].to(parameter) for moment in _MOMENTS},
        }
    return step
