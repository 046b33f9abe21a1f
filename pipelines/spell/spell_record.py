"""What a shield did, step by step: the sparsity of the correction as numbers and as a picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch


@dataclass(frozen=True)
class StepRecord:
    """One evaluation of the network.

    Attributes:
        index: which evaluation.
        total: number of evaluations of the schedule.
        balls: number of balls that each image was in, shape (B,), int64.
        distance: how far each expected clean image was moved, in sample space, shape (B,), float64.
        relative: length of the change of the model's output over the length of that output, shape (B,), float64.
    """

    index: int
    total: int
    balls: torch.Tensor
    distance: torch.Tensor
    relative: torch.Tensor


@dataclass
class GenerationRecord:
    """One generation.

    Attributes:
        steps: its evaluations of the network.
        final: finished samples, shape (B, *sample shape), float32; None until the last step.
        projected: how far the finished samples were moved at the very end, shape (B,); None until then.
    """

    steps: list[StepRecord] = field(default_factory=list)
    final: torch.Tensor | None = None
    projected: torch.Tensor | None = None

    @property
    def active_steps(self) -> torch.Tensor:
        """On how many evaluations each image was moved, shape (B,), int64."""
        return torch.stack([step.balls > 0 for step in self.steps]).sum(0)

    @property
    def strongest(self) -> torch.Tensor:
        """The largest relative change of the model's output, shape (B,), float64."""
        return torch.stack([step.relative for step in self.steps]).amax(0)

    def picture(self, path: str | Path) -> None:
        """Draw the share of images that were moved, and the relative change of the output, against the steps."""
        from matplotlib.figure import Figure

        steps = [step.index + 1 for step in self.steps]
        share = torch.stack([(step.balls > 0).double().mean() for step in self.steps])
        relative = torch.stack([step.relative for step in self.steps])
        figure = Figure(figsize=(6.4, 4.8), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True)
        above.step(steps, (100 * share).numpy(), where="mid", color="#1b7837")
        above.set(ylabel="images moved, %", ylim=(-3, 103), title="When the shield acted, and how strongly")
        below.plot(steps, (100 * relative).numpy(), color="#b2182b", alpha=0.4, linewidth=1)
        below.set(xlabel="evaluation of the network", ylabel="change of its output, %")
        figure.savefig(path, dpi=120)
