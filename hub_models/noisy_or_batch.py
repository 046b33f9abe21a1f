"""Weighted samples of all failures given evidence, drawn backwards from what was observed. Published code.

Forward sampling hardly ever meets rare evidence. Here each present failure is first explained: a cause is chosen,
its leak or a parent, which then must be explained in turn; a guess of how likely each cause is together with what
still waits (`Proposal`) leads the choice, so that explanations that share causes are found. Everything else is then
drawn forwards. The weights make the estimate unbiased for any guess, by the identity

    P(x_i = 1 | x) = sum over causes c of P(x_i = 1 | x) k(c | x),   k(c | x) = v_c / (leak_i + sum_m trigger_m x_m)

with v = leak_i for the leak and trigger_m x_m for a parent: target density and draw both know the chosen causes.

In torch, many samples of many cases side by side, on any device.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .noisy_or_evidence import Case
from .noisy_or_moments import Moments
from .noisy_or_proposal import Proposal

#: Share of the choice of causes that is uniform, so that no weight is unbounded.
DEFENSIVE = 0.01


@dataclass(frozen=True, eq=False)
class Draws:
    """S weighted samples of B cases on n failures.

    Attributes:
        states: (n, B, S) float32, 1 = present.
        log_weight: (B, S) float64, log of P(states, evidence) / chance of the draw; -inf where evidence is missed.
    """

    states: Tensor
    log_weight: Tensor


#: Failure -> (samples, counted over B * S, in which it must be present; v of the cause that was chosen there)
_Explained = dict[int, tuple[Tensor, Tensor]]


class BackwardSampler:
    """Draws for B cases that share a network in one order, as `pose` and `pose_batch` make them."""

    def __init__(self, cases: list[Case], proposal: Proposal, device: torch.device | str = "cpu") -> None:
        case = cases[0]
        self._network, self._informed = case.network, case.informed
        self._present = np.stack([case.present for case in cases])
        self._absent = np.stack([case.absent for case in cases])
        self._possible = np.stack([case.possible for case in cases])
        self._tilt = np.zeros(self._present.shape)
        self._tilt[:, : case.informed] = proposal.tilt
        self._device = torch.device(device)
        network = case.network
        self._first = network.first.tolist()
        self._cause = torch.tensor(network.cause, device=device)
        self._trigger = torch.tensor(network.trigger, dtype=torch.float32, device=device)
        # Finite, so that 0 * it is 0.
        self._log_silent = torch.tensor(-network.trigger, device=device).log1p().clamp_min(-1e9).float()
        self._log_no_leak = torch.tensor(-network.leak).log1p().clamp_min(-1e9).tolist()
        self._leak = network.leak.tolist()
        self._marginal = torch.tensor(proposal.marginal, dtype=torch.float32, device=device)
        self._excess = torch.tensor(proposal.excess, device=device)
        self._usable = torch.tensor(self._possible, device=device).float()

    def moments(self, count: int, seed: int, log_shift: float) -> Moments:
        """Sums over ``count`` samples of the first case, their weights divided by exp(``log_shift``)."""
        draws = self.draw(count, torch.Generator(self._device).manual_seed(seed))
        states, log_weight = draws.states[:, 0].cpu().numpy(), draws.log_weight[0].cpu().numpy()
        return Moments.of(states, log_weight, log_shift)

    def draw(self, count: int, generator: torch.Generator) -> Draws:
        """``count`` samples of every failure in every case."""
        log_weight = torch.zeros(len(self._present), count, dtype=torch.float64, device=self._device)
        explained = self._explain(log_weight, generator)
        return Draws(self._complete(explained, log_weight, generator), log_weight)

    def _explain(self, log_weight: Tensor, generator: torch.Generator) -> _Explained:
        """Choose a cause for each failure that must be present, the last one first; changes weights in place."""
        count = log_weight.shape[1]
        flat = log_weight.view(-1)
        must = torch.tensor(self._present[:, : self._informed].T, dtype=torch.float32, device=self._device)
        required = must[:, :, None].expand(-1, -1, count).reshape(self._informed, -1).contiguous()
        explained: _Explained = {}
        for i in range(self._informed - 1, -1, -1):
            rows = required[i].nonzero().view(-1)
            if not len(rows):
                continue
            edges = slice(self._first[i], self._first[i + 1])
            causes, strength = self._cause[edges], self._trigger[edges]
            if len(causes):
                together = self._excess[causes, :i] @ required[:i, rows]
                score = (together + self._marginal[causes, None]).clamp_max_(1.0) * strength[:, None]
                usable = self._usable[:, causes].T[:, rows // count]
            else:
                score = usable = torch.zeros(0, len(rows), device=self._device)
            if self._leak[i] > 0:
                leak = torch.full((1, len(rows)), self._leak[i], device=self._device)
                score, usable = torch.cat([score, leak]), torch.cat([usable, torch.ones_like(leak)])
                strength = torch.cat([strength, leak[0, :1]])
            usable = usable * (strength[:, None] > 0)
            score = score * usable
            score *= (1 - DEFENSIVE) / score.sum(0).clamp_min_(1e-30)
            score += usable * (DEFENSIVE / usable.sum(0))
            cumulative = score.cumsum(0)
            uniform = torch.rand(len(rows), generator=generator, device=self._device)
            choice = (cumulative[:-1] <= uniform * cumulative[-1]).sum(0)
            chance = score.gather(0, choice[None])[0] / cumulative[-1]
            flat[rows] -= chance.double().log_()
            explained[i] = rows, strength[choice]
            parent = choice < len(causes)
            required[causes[choice[parent]], rows[parent]] = 1
        return explained

    def _complete(self, explained: _Explained, log_weight: Tensor, generator: torch.Generator) -> Tensor:
        """Draw the rest forwards, with required failures present and absent ones absent; changes weights."""
        cases, count = log_weight.shape
        states = torch.zeros(len(self._network), cases * count, device=self._device)
        flat = log_weight.view(-1)
        for i in range(len(self._network)):
            absent, possible = self._absent[:, i], self._possible[:, i]
            if not (possible | absent).any():
                continue
            edges = slice(self._first[i], self._first[i + 1])
            active = states[self._cause[edges]]
            off = self._log_silent[edges] @ active + self._log_no_leak[i]
            if absent.all():
                flat += off
                continue
            on = -off.expm1()
            rows, strength = explained.get(i, (None, None))
            if rows is None or len(rows) < len(on):
                self._draw_free(i, on, off, rows, states, log_weight, generator)
            if rows is not None:
                states[i, rows] = 1
                claims = self._leak[i] + self._trigger[edges] @ active[:, rows]
                flat[rows] += (on[rows] * strength / claims).double().log_()
        return states.view(-1, cases, count)

    def _draw_free(
        self,
        i: int,
        on: Tensor,
        off: Tensor,
        required: Tensor | None,
        states: Tensor,
        log_weight: Tensor,
        generator: torch.Generator,
    ) -> None:
        """States of failure i, the odds of ``on`` multiplied by exp(tilt), and what this adds to the weights."""
        uniform = torch.rand(len(on), generator=generator, dtype=torch.float64, device=self._device)
        tilt, absent = self._tilt[:, i], self._absent[:, i]
        if not tilt.any() and not absent.any():
            torch.lt(uniform, on, out=states[i])
            return
        lean, drop = (torch.tensor(v, device=self._device)[:, None] for v in (tilt, absent))
        on, off = on.view(log_weight.shape).double(), off.view(log_weight.shape)
        raised = on * lean.exp()
        total = raised + (1 - on)
        state = (uniform.view(log_weight.shape) * total < raised) & ~drop
        change = torch.where(drop, off.double(), total.log() - lean * state)
        if required is not None:
            change.view(-1)[required] = 0
        log_weight += change
        states[i] = state.view(-1)
