"""Proxy-based metric learning with probabilistic embeddings (Kirchhof et al., ECCV 2022).

An image's embedding e stands for vMF(e / |e|, |e|): its norm is its certainty, so nothing on the way may normalise
it. Every class has a proxy distribution. The loss is the softmax cross-entropy of similarities s(x, c) over all
proxies, the positive one included; the similarity is chosen by name:

| name | s(x, c), before the temperature |
|---|---|
| el_nivmf | log mean_s p_c(z_s), z_s drawn from the image's vMF, p_c the class's nivMF |
| nivmf | log p_c(mu_x): the image as a point |
| el_vmf | log of the integral of both vMF densities |
| b_vmf | log of their Bhattacharyya coefficient |
| kl | -KL(image, proxy) |
| l2 | -abs(kappa_x mu_x - kappa_c mu_c)^2 |
| cosine | mu_x'mu_c |

Departures from the public code, which is wrong there: the nivMF is normalised (`non_isotropic_vmf`), K acts on the
draws, log C_D is exact, KL has a minus sign and A_D. Nothing loops over the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import DistributionError
from ..non_isotropic_vmf import Normalizer, pairwise_log_density
from ..von_mises_fisher import kl_divergence, log_bhattacharyya, log_expected_likelihood, sample

Similarity = Literal["el_nivmf", "nivmf", "el_vmf", "b_vmf", "kl", "l2", "cosine"]
Placement = Literal["inside", "outside"]
#: Proxies with a concentration for each coordinate; the others have one each, or ignore it (cosine).
NON_ISOTROPIC: tuple[Similarity, ...] = ("el_nivmf", "nivmf")
#: Concentrations of proxies are kept from falling below this.
LEAST_CONCENTRATION = 0.1


class ProxyLoss(nn.Module):
    """Cross-entropy over proxy distributions, with ProxyAnchor guidance.

    Args:
        num_classes: C, proxies.
        dim: D, width of the embedding, at least 2.
        similarity: a name of the table above.
        concentration: of the proxies at the start.
        temperature: T at the start, above 0; learned, as its logarithm.
        temperature_placement: "inside" divides log p_c(z_s) by T before the mean over draws, as the paper's code
            does, so that s = log E[p^(1/T)]; "outside" divides log E[p]. The same where nothing is drawn.
        samples: S, draws of an image ("el_nivmf").
        normalizer: of the nivMF: "exact", "one_point" or "reference".
        guidance_weight: of `proxy_anchor` on the cosines, 0 for none.

    Raises:
        ValueError: an unknown name, or a number outside its range.
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        similarity: Similarity = "el_nivmf",
        *,
        concentration: float = 10.0,
        temperature: float = 0.01,
        temperature_placement: Placement = "inside",
        samples: int = 10,
        normalizer: Normalizer = "exact",
        guidance_weight: float = 0.0,
    ) -> None:
        super().__init__()
        if similarity not in _SIMILARITIES:
            raise ValueError(f"similarity {similarity!r} is none of {', '.join(_SIMILARITIES)}")
        if temperature_placement not in ("inside", "outside"):
            raise ValueError(f"temperature_placement {temperature_placement!r} is neither inside nor outside")
        if not (temperature > 0 and concentration > 0 and samples >= 1):
            raise ValueError("temperature, concentration and samples of a proxy loss must be above 0")
        self.similarity = similarity
        self.temperature_placement = temperature_placement
        self.samples = samples
        self.normalizer: Normalizer = normalizer
        self.guidance_weight = guidance_weight
        shape = (num_classes, dim) if similarity in NON_ISOTROPIC else (num_classes,)
        self.directions = nn.Parameter(functional.normalize(torch.randn(num_classes, dim), dim=-1))
        self.concentrations = nn.Parameter(torch.full(shape, float(concentration)))
        self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)))

    def forward(self, embeddings: Tensor, labels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The mean loss of embeddings (B, D) with class numbers (B,)."""
        return self.per_item(embeddings, labels, generator).mean()

    def per_item(
        self, embeddings: Tensor, labels: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """(B,); the guidance, which belongs to the whole batch, is added to each item."""
        if labels.shape != embeddings.shape[:1]:
            raise ValueError(
                f"{tuple(embeddings.shape)} embeddings need as many labels, got {tuple(labels.shape)}"
            )
        losses = functional.cross_entropy(self.logits(embeddings, generator), labels, reduction="none")
        if self.guidance_weight:
            cosine = functional.normalize(embeddings, dim=-1) @ self.proxy_directions().mT
            losses = losses + self.guidance_weight * proxy_anchor(cosine, labels)
        return losses

    def logits(self, embeddings: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """s(x, c) with its temperature, (B, C).

        Raises:
            DistributionError: an embedding is zero or not finite.
        """
        return _SIMILARITIES[self.similarity](self, embeddings, generator)

    def proxy_directions(self) -> Tensor:
        """Unit vectors (C, D)."""
        return functional.normalize(self.directions, dim=-1)

    def proxy_concentrations(self) -> Tensor:
        """(C, D) for the nivMF, else (C,); at least `LEAST_CONCENTRATION`."""
        return self.concentrations.clamp_min(LEAST_CONCENTRATION)

    def tempered(self, similarity: Tensor) -> Tensor:
        """Divided by the temperature."""
        return similarity / self.log_temperature.exp()

    @torch.no_grad()
    def warm_start(self, embeddings: Tensor, labels: Tensor) -> None:
        """Point each proxy at the mean direction of its class among embeddings (N, D) of the untrained network.

        Classes without an image keep their proxy.
        """
        directions = functional.normalize(embeddings.to(self.directions.dtype), dim=-1)
        sums = torch.zeros_like(self.directions).index_add_(0, labels, directions)
        known = torch.linalg.vector_norm(sums, dim=-1, keepdim=True) > 1e-6
        self.directions.copy_(torch.where(known, functional.normalize(sums, dim=-1), self.directions))


def proxy_anchor(cosine: Tensor, labels: Tensor, alpha: float = 32.0, margin: float = 0.1) -> Tensor:
    """ProxyAnchor (Kim et al., CVPR 2020), a scalar.

    mean over proxies with a positive of log(1 + sum exp(-alpha (cos - margin))) over their images, plus mean over
    all proxies of log(1 + sum exp(alpha (cos + margin))) over the other images.

    Args:
        cosine: of images and proxies, (B, C).
        labels: (B,).
        alpha: scale.
        margin: delta.
    """
    own = functional.one_hot(labels, cosine.shape[1]).bool()
    pull = _log_one_plus_sum_exp((-alpha * (cosine - margin)).masked_fill(~own, -math.inf))
    push = _log_one_plus_sum_exp((alpha * (cosine + margin)).masked_fill(own, -math.inf))
    return pull.sum() / own.any(dim=0).sum() + push.mean()


def split_embedding(embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Mean direction (B, D) and concentration (B,) of embeddings; half precision in float32.

    Raises:
        DistributionError: a zero vector, which has no direction, or a value that is not finite.
    """
    embeddings = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
    norm = torch.linalg.vector_norm(embeddings, dim=-1)
    if not torch.compiler.is_compiling() and not bool(((norm > 0) & norm.isfinite()).all()):
        raise DistributionError(
            "an embedding is zero or not finite: it has no direction and no concentration"
        )
    return embeddings / norm.unsqueeze(-1), norm


def _el_nivmf(loss: ProxyLoss, embeddings: Tensor, generator: torch.Generator | None) -> Tensor:
    draws = sample(*split_embedding(embeddings), loss.samples, generator)
    log_density = pairwise_log_density(
        draws, loss.proxy_directions(), loss.proxy_concentrations(), loss.normalizer
    )
    if loss.temperature_placement == "inside":
        return loss.tempered(log_density).logsumexp(dim=0) - math.log(loss.samples)
    return loss.tempered(log_density.logsumexp(dim=0) - math.log(loss.samples))


def _nivmf(loss: ProxyLoss, embeddings: Tensor, _generator: torch.Generator | None) -> Tensor:
    mean, _ = split_embedding(embeddings)
    return loss.tempered(
        pairwise_log_density(mean, loss.proxy_directions(), loss.proxy_concentrations(), loss.normalizer)
    )


def _closed_form(
    measure: Callable[[Tensor, Tensor, Tensor, int], Tensor],
) -> Callable[[ProxyLoss, Tensor, torch.Generator | None], Tensor]:
    """A similarity from the two concentrations, (B, 1) and (C,), the cosines, (B, C), and D."""

    def similarity(loss: ProxyLoss, embeddings: Tensor, _generator: torch.Generator | None) -> Tensor:
        mean, kappa = split_embedding(embeddings)
        cosine = mean @ loss.proxy_directions().to(mean.dtype).mT
        proxies = loss.proxy_concentrations().to(mean.dtype)
        return loss.tempered(measure(kappa.unsqueeze(-1), proxies, cosine, mean.shape[-1]))

    return similarity


def _negative_kl(image: Tensor, proxy: Tensor, cosine: Tensor, dim: int) -> Tensor:
    return -kl_divergence(image, proxy, cosine, dim)


def _negative_squared_distance(image: Tensor, proxy: Tensor, cosine: Tensor, _dim: int) -> Tensor:
    return -((image - proxy).square() + 2 * image * proxy * (1 - cosine))


def _cosine(_image: Tensor, _proxy: Tensor, cosine: Tensor, _dim: int) -> Tensor:
    return cosine


_SIMILARITIES: dict[str, Callable[[ProxyLoss, Tensor, torch.Generator | None], Tensor]] = {
    "el_nivmf": _el_nivmf,
    "nivmf": _nivmf,
    "el_vmf": _closed_form(log_expected_likelihood),
    "b_vmf": _closed_form(log_bhattacharyya),
    "kl": _closed_form(_negative_kl),
    "l2": _closed_form(_negative_squared_distance),
    "cosine": _closed_form(_cosine),
}


def _log_one_plus_sum_exp(values: Tensor) -> Tensor:
    """log(1 + sum exp) over the batch, (B, C) -> (C,)."""
    return functional.pad(values, (0, 0, 1, 0)).logsumexp(dim=0)
