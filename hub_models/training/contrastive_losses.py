"""Contrastive losses for encoders that give a distribution: MCInfoNCE (Kirchhof et al., ICML 2023), ELK, HIB.

The functions take draws or parameters of anchors, positives and negatives and return a scalar; `MCInfoNCE`,
`ExpectedLikelihood` and `HedgedInstance` are the same as modules over encoder outputs, with their fixed or
learned constants. Shapes: S draws, B items, M negatives an item, D dimensions. Half precision is computed in
float32; nothing here normalises an embedding.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..von_mises_fisher import log_expected_likelihood, sample

Variant = Literal["paper", "url", "bud"]
VARIANTS: tuple[Variant, ...] = ("paper", "url", "bud")


def mc_infonce(positive: Tensor, negative: Tensor, variant: Variant = "paper") -> Tensor:
    """-mean_i log mean_s of the share of the positive, from scaled similarities of draws.

    The three published codes differ in the share's denominator, and each is kept by name:

    - "paper" (Probabilistic_Contrastive_Learning): exp(p) + mean_m exp(n_m);
    - "url" (mkirchhof/url): sum_m exp(n_m), the positive left out;
    - "bud" (bmucsanyi/bud): (exp(p) + sum_m exp(n_m)) / (M + 1), with the rest of the batch as negatives.

    Args:
        positive: kappa_pos z'z+, (S, B).
        negative: kappa_pos z'z-, (S, B, M), M at least 1; entries of -inf are left out of sums, not of counts.
        variant: see above.
    """
    positive, negative = _at_least_single(positive), _at_least_single(negative)
    count = negative.shape[-1]
    others = negative.logsumexp(dim=-1)
    if variant == "paper":
        total = torch.logaddexp(positive, others - math.log(count))
    elif variant == "url":
        total = others
    elif variant == "bud":
        total = torch.logaddexp(positive, others) - math.log(count + 1)
    else:
        raise ValueError(f"MCInfoNCE variant {variant!r} is none of {', '.join(VARIANTS)}")
    return -_log_mean_exp(positive - total).mean()


def expected_likelihood_loss(positive: Tensor, negative: Tensor) -> Tensor:
    """InfoNCE over log expected likelihoods, (B,) and (B, M): -mean_i of the positive's log-softmax."""
    logits = torch.cat([positive.unsqueeze(-1), negative], dim=-1)
    return -logits.log_softmax(dim=-1)[..., 0].mean()


def hedged_instance_loss(positive: Tensor, negative: Tensor) -> Tensor:
    """HIB (Oh et al., ICLR 2019): cross-entropy of the match probability p = mean_s sigmoid(logit_s).

    The logarithm is of the mean, as in its paper. Positive and negative pairs are averaged apart and added.

    Args:
        positive: match logits a z'z+ + b, (S, B).
        negative: match logits of the negatives, (S, B, M).
    """
    match = _log_mean_exp(functional.logsigmoid(_at_least_single(positive)))
    mismatch = _log_mean_exp(functional.logsigmoid(-_at_least_single(negative)))
    return -match.mean() - mismatch.mean()


def rolled(tensor: Tensor, count: int, dim: int) -> Tensor:
    """In-batch negatives: for each item the next ``count`` ones, round the batch, in a new axis after ``dim``.

    Raises:
        ValueError: a batch of at most ``count`` items, in which an item would be its own negative.
    """
    size = tensor.shape[dim]
    if not 1 <= count < size:
        raise ValueError(f"{count} in-batch negatives need a batch of more than {count} items, not {size}")
    positions = torch.arange(size, device=tensor.device).unsqueeze(1)
    steps = torch.arange(1, count + 1, device=tensor.device)
    index = (positions + steps) % size
    return tensor.index_select(dim, index.flatten()).unflatten(dim, (size, count))


class MCInfoNCE(nn.Module):
    """`mc_infonce` on draws of vMF posteriors.

    Args:
        positive_concentration: kappa_pos of the generative process, the inverse temperature.
        samples: S, draws of each posterior.
        variant: "paper", "url" or "bud".
        learn_concentration: whether kappa_pos is a parameter, as in the URL benchmark.
    """

    def __init__(
        self,
        positive_concentration: float,
        samples: int = 16,
        variant: Variant = "paper",
        learn_concentration: bool = False,
    ) -> None:
        super().__init__()
        self.samples, self.variant = samples, variant
        log = torch.tensor(math.log(positive_concentration))
        self.log_concentration = nn.Parameter(log, requires_grad=learn_concentration)

    def forward(
        self,
        anchor: tuple[Tensor, Tensor],
        positive: tuple[Tensor, Tensor],
        negative: tuple[Tensor, Tensor],
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """A scalar from pairs of mean direction and concentration.

        Args:
            anchor: (B, D) and (B,).
            positive: (B, D) and (B,).
            negative: (B, M, D) and (B, M); `rolled` makes them from the positives.
            generator: source of the draws.
        """
        z, like, unlike = (sample(*pair, self.samples, generator) for pair in (anchor, positive, negative))
        inverse_temperature = self.log_concentration.exp()
        similar = inverse_temperature * (z * like).sum(dim=-1)
        dissimilar = inverse_temperature * (z.unsqueeze(-2) * unlike).sum(dim=-1)
        return mc_infonce(similar, dissimilar, self.variant)


class ExpectedLikelihood(nn.Module):
    """ELK: `expected_likelihood_loss` on vMF posteriors, in closed form. Arguments of the call as `MCInfoNCE`."""

    def forward(
        self,
        anchor: tuple[Tensor, Tensor],
        positive: tuple[Tensor, Tensor],
        negative: tuple[Tensor, Tensor],
    ) -> Tensor:
        """A scalar."""
        mean, kappa = anchor
        dim = mean.shape[-1]
        like = log_expected_likelihood(kappa, positive[1], (mean * positive[0]).sum(dim=-1), dim)
        cosine = (mean.unsqueeze(-2) * negative[0]).sum(dim=-1)
        return expected_likelihood_loss(
            like, log_expected_likelihood(kappa.unsqueeze(-1), negative[1], cosine, dim)
        )


class HedgedInstance(nn.Module):
    """HIB: `hedged_instance_loss` on draws of vMF posteriors, with a learned scale and offset of the match logit.

    Args:
        samples: S.
        scale: a at the start.
        offset: b at the start.
    """

    def __init__(self, samples: int = 16, scale: float = 1.0, offset: float = 0.0) -> None:
        super().__init__()
        self.samples = samples
        self.scale = nn.Parameter(torch.tensor(scale))
        self.offset = nn.Parameter(torch.tensor(offset))

    def forward(
        self,
        anchor: tuple[Tensor, Tensor],
        positive: tuple[Tensor, Tensor],
        negative: tuple[Tensor, Tensor],
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """A scalar; arguments as `MCInfoNCE`."""
        z, like, unlike = (sample(*pair, self.samples, generator) for pair in (anchor, positive, negative))
        match = self.scale * (z * like).sum(dim=-1) + self.offset
        return hedged_instance_loss(match, self.scale * (z.unsqueeze(-2) * unlike).sum(dim=-1) + self.offset)


def _log_mean_exp(values: Tensor) -> Tensor:
    return values.logsumexp(dim=0) - math.log(len(values))


def _at_least_single(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
