"""Posteriors of many evidence rows at once, in torch, on any device. Published code.

The sampler of `noisy_or_sampling`, every sample of every row a column of dense tensors: what a GPU likes. A failure
costs a handful of kernels whatever the number of columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .errors import FailureNetworkError
from .noisy_or import NoisyOr
from .noisy_or_backward import DEFENSIVE
from .noisy_or_evidence import Case, Evidence, pose
from .noisy_or_proposal import Proposal, propose

#: Numbers in the largest tensor, 4 bytes each; more rows are answered group by group.
_MOST_STATES = 1 << 26


@dataclass(frozen=True, eq=False)
class BatchPosterior:
    """Of B rows of evidence on n failures.

    Attributes:
        probability: (B, n) float64, NaN in rows whose evidence has probability zero.
        log_evidence: (B,) log P(evidence), -inf in those rows.
        effective_samples: (B,) of ``samples``; below about 1000 do not trust the second digit.
    """

    probability: Tensor
    log_evidence: Tensor
    effective_samples: Tensor


def infer_batch(
    network: NoisyOr, evidence: Tensor, samples: int = 4096, seed: int = 0, device: torch.device | str = "cpu"
) -> BatchPosterior:
    """P(X_i = 1 | evidence) for each row.

    Args:
        evidence: (B, n): 1 present, 0 absent, -1 not observed.
        samples: weighted samples of each row.

    Raises:
        FailureNetworkError: evidence of another shape or with other values.
    """
    if evidence.dim() != 2 or evidence.shape[1] != len(network):
        raise FailureNetworkError(
            f"evidence has shape {tuple(evidence.shape)}; it must be (rows, {len(network)}), one column a failure"
        )
    rows = evidence.detach().cpu().numpy()
    if not np.isin(rows, (-1, 0, 1)).all():
        raise FailureNetworkError("evidence must be 1 (present), 0 (absent) or -1 (not observed)")
    cases = _cases(network, rows)
    probability = torch.full(rows.shape, torch.nan, dtype=torch.float64)
    log_evidence = torch.full((len(rows),), -torch.inf, dtype=torch.float64)
    effective = torch.zeros(len(rows), dtype=torch.float64)
    generator = torch.Generator(torch.device(device)).manual_seed(seed)
    possible = list(cases)
    together = max(1, _MOST_STATES // (samples * len(network)))
    for start in range(0, len(possible), together):
        chosen = possible[start : start + together]
        group = [cases[row] for row in chosen]
        draws = BatchSampler(group, propose(group), device).draw(samples, generator)
        shift = draws.log_weight.max(dim=1, keepdim=True).values.clamp_min(-1e300)
        weight = (draws.log_weight - shift).exp()
        total = weight.sum(dim=1)
        present = torch.einsum("nbs,bs->bn", draws.states, weight.float()).double() / total[:, None]
        place = torch.empty(len(network), dtype=torch.int64)
        place[torch.tensor(group[0].kept)] = torch.arange(len(network))
        probability[chosen] = present.cpu()[:, place].clamp(0, 1)
        log_evidence[chosen] = ((total / samples).log() + shift[:, 0]).cpu()
        effective[chosen] = (total.square() / weight.square().sum(dim=1)).cpu()
    return BatchPosterior(probability, log_evidence, effective)


def _cases(network: NoisyOr, rows: np.ndarray) -> dict[int, Case]:
    """Row -> case, all in one order and informed alike; rows with impossible evidence are left out."""
    seen = np.flatnonzero((rows != -1).any(axis=0))
    cases = {}
    for row, values in enumerate(rows):
        try:
            cases[row] = pose(
                network, Evidence(np.flatnonzero(values == 1), np.flatnonzero(values == 0)), informed_by=seen
            )
        except FailureNetworkError:
            continue
    return cases


@dataclass(frozen=True, eq=False)
class BatchDraws:
    """S weighted samples of B cases on n failures.

    Attributes:
        states: (n, B, S) float32, 1 = present.
        log_weight: (B, S) float64, log of P(states, evidence) / chance of the draw; -inf where evidence is missed.
    """

    states: Tensor
    log_weight: Tensor


#: Failure -> (samples, counted over B * S, in which it must be present; v of the cause that was chosen there)
_Explained = dict[int, tuple[Tensor, Tensor]]


class BatchSampler:
    """Draws for B cases that share a network in one order."""

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

    def draw(self, count: int, generator: torch.Generator) -> BatchDraws:
        """``count`` samples of every failure in every case."""
        log_weight = torch.zeros(len(self._present), count, dtype=torch.float64, device=self._device)
        explained = self._explain(log_weight, generator)
        return BatchDraws(self._complete(explained, log_weight, generator), log_weight)

    def _explain(self, log_weight: Tensor, generator: torch.Generator) -> _Explained:
        """Choose a cause for each failure that must be present, the last one first; changes weights in place."""
        count = log_weight.shape[1]
        flat = log_weight.view(-1)
        must = torch.tensor(self._present[:, : self._informed].T, dtype=torch.float32, device=self._device)
        required = must.repeat_interleave(count, dim=1)
        explained: _Explained = {}
        for i in range(self._informed - 1, -1, -1):
            rows = required[i].nonzero().view(-1)
            if not len(rows):
                continue
            edges = slice(self._first[i], self._first[i + 1])
            causes, strength = self._cause[edges], self._trigger[edges]
            if len(causes):
                together = self._excess[causes, :i] @ required[:i].index_select(1, rows)
                score = (together + self._marginal[causes, None]).clamp_max_(1.0) * strength[:, None]
                usable = self._usable[:, causes].T.index_select(1, rows // count)
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
            active = states.index_select(0, self._cause[edges])
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
                claims = self._leak[i] + self._trigger[edges] @ active.index_select(1, rows)
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
