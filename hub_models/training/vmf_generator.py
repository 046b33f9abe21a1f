"""The known generative process of MCInfoNCE's controlled experiment (Kirchhof et al., ICML 2023).

An input x, uniform in the unit cube, stands for a latent z on the sphere that is not seen: z ~ vMF(mu(x), kappa(x)),
with mu and kappa given by small random networks. Whether two inputs belong together (Y = 1) is drawn by their
latents:

    P(Y = 1 | z, z') = exp(kp z'z) / (exp(kp z'z) + C(0) / C(kp)).

kp, the positive concentration, says how near the latents of a pair are. An encoder sees the pairs alone, and is to
find mu up to a rotation, and kappa.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import RecipeError
from ..modeling_vmf_encoder import perceptron
from ..von_mises_fisher import log_normalizer, sample

POSTERIORS = ("vmf", "gaussian", "laplace", "injective")
#: Inputs on which ranges are measured.
_MEASURED = 1000
_SMOOTHING_BATCH, _SMOOTHING_RATE = 64, 0.01
#: The means must span more than the angle of this cosine.
_LARGEST_SMALLEST_COSINE = 0.5
_MOST_ATTEMPTS = 100
#: Candidates drawn at once for a partner that is looked for.
_CANDIDATES = 10


@dataclass(frozen=True)
class GeneratorRecipe:
    """Table ``[generator]``.

    Attributes:
        input_dim: of x.
        latent_dim: D, of z.
        width: of the hidden layers: two for the mean direction, one for the concentration.
        posterior: how z scatters around its mean: ``vmf``; ``gaussian`` or ``laplace``, by noise in every coordinate
            of standard deviation 1 / sqrt(kappa) or of scale 1 / kappa, brought back to the sphere; ``injective``, not
            at all.
        lowest_concentration, highest_concentration: range of kappa over x.
        positive_concentration: kp.
        smoothing_steps: of Adam that make near inputs have near means.
    """

    input_dim: int = 2
    latent_dim: int = 2
    width: int = 10
    posterior: str = "vmf"
    lowest_concentration: float = 16.0
    highest_concentration: float = 32.0
    positive_concentration: float = 20.0
    smoothing_steps: int = 5000

    def __post_init__(self) -> None:
        if self.posterior not in POSTERIORS:
            raise ValueError(f"posterior is {self.posterior!r}; choose from {', '.join(POSTERIORS)}")
        if self.latent_dim < 2 or self.input_dim < 1 or self.width < 1 or self.smoothing_steps < 0:
            raise ValueError(
                "latent_dim must be at least 2, input_dim and width at least 1, smoothing_steps at least 0"
            )
        if not 0 < self.lowest_concentration < self.highest_concentration:
            raise ValueError(
                f"concentrations from {self.lowest_concentration} to {self.highest_concentration} are no range; "
                "they must be above 0 and rise"
            )
        if self.positive_concentration <= 0:
            raise ValueError(f"positive_concentration is {self.positive_concentration}; it must be above 0")


@dataclass(frozen=True)
class Pairs:
    """A batch of inputs: anchors (B, d), their positives (B, d) and M negatives of each (B, M, d)."""

    anchor: Tensor
    positive: Tensor
    negative: Tensor


class VmfGenerator(nn.Module):
    """The process, of random networks that torch's global generator gives; `make_generator` makes one of use."""

    scale: Tensor
    shift: Tensor

    def __init__(self, recipe: GeneratorRecipe) -> None:
        super().__init__()
        self.recipe = recipe
        hidden = [recipe.input_dim, recipe.width]
        self.direction = perceptron([*hidden, recipe.width, recipe.latent_dim])
        self.log_concentration = perceptron([*hidden, 1])
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("shift", torch.zeros(()))
        kp = torch.tensor(recipe.positive_concentration, dtype=torch.float64)
        ratio = log_normalizer(0 * kp, recipe.latent_dim) - log_normalizer(kp, recipe.latent_dim)
        self.log_ratio = ratio.item()
        self.requires_grad_(False)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """mu (..., D) and kappa (...) of inputs (..., d)."""
        mean = functional.normalize(self.direction(inputs), dim=-1)
        return mean, (self.scale * self._height(inputs) + self.shift).exp()

    def inputs(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Uniform inputs (count, d)."""
        return torch.rand(count, self.recipe.input_dim, generator=generator)

    def latents(self, inputs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One latent z (N, D) of each of the inputs (N, d), of its posterior."""
        mean, kappa = self(inputs)
        match self.recipe.posterior:
            case "vmf":
                return sample(mean, kappa, 1, generator)[0]
            case "gaussian":
                noise = torch.randn(mean.shape, generator=generator) / kappa.sqrt().unsqueeze(-1)
            case "laplace":
                share = 1 - 2 * torch.rand(mean.shape, generator=generator)
                noise = -share.sign() * (-share.abs()).log1p() / kappa.unsqueeze(-1)
            case _:
                return mean
        return functional.normalize(mean + noise, dim=-1)

    @torch.no_grad()
    def pairs(self, batch_size: int, negatives: int, generator: torch.Generator | None = None) -> Pairs:
        """Anchors, and partners that were drawn as Y = 1 and Y = 0 with them, by rejection from fresh inputs."""
        anchor = self.inputs(batch_size, generator)
        latent = self.latents(anchor, generator)
        positive = self._partners(latent, 1.0, generator)
        negative = self._partners(latent.repeat_interleave(negatives, dim=0), -1.0, generator)
        return Pairs(anchor, positive, negative.unflatten(0, (batch_size, negatives)))

    def log_odds(self, first: Tensor, second: Tensor) -> Tensor:
        """log P(Y = 1) / P(Y = 0) of latents (..., D), broadcast."""
        return self.recipe.positive_concentration * (first * second).sum(dim=-1) - self.log_ratio

    def _partners(self, latent: Tensor, sign: float, generator: torch.Generator | None) -> Tensor:
        found = latent.new_empty(len(latent), self.recipe.input_dim)
        waiting = torch.arange(len(latent))
        while len(waiting):
            candidates = self.inputs(len(waiting) * _CANDIDATES, generator)
            offered = self.latents(candidates, generator).unflatten(0, (-1, _CANDIDATES))
            chance = torch.sigmoid(sign * self.log_odds(latent[waiting].unsqueeze(1), offered))
            taken = torch.rand(chance.shape, generator=generator) < chance
            first, lucky = taken.byte().argmax(dim=1), taken.any(dim=1)
            rows = torch.arange(len(waiting)) * _CANDIDATES + first
            found[waiting[lucky]] = candidates[rows[lucky]]
            waiting = waiting[~lucky]
        return found

    def _height(self, inputs: Tensor) -> Tensor:
        return functional.softplus(self.log_concentration(inputs).squeeze(-1))

    def _smooth(self) -> None:
        """Fit 1 - cosine of two means to the distance of their inputs.

        On the circle the means then fill an arc. Where they close it, far ends of the inputs share a mean, and no
        encoder that starts from an arc finds its way there.
        """
        self.direction.requires_grad_(True)
        optimizer = torch.optim.Adam(self.direction.parameters(), lr=_SMOOTHING_RATE)
        for _ in range(self.recipe.smoothing_steps):
            inputs = self.inputs(_SMOOTHING_BATCH)
            mean = functional.normalize(self.direction(inputs), dim=-1)
            loss = (torch.cdist(inputs, inputs) - (1 - mean @ mean.T)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        self.direction.requires_grad_(False)

    def _set_range(self) -> None:
        low, high = self._height(self.inputs(_MEASURED)).aminmax()
        recipe = self.recipe
        self.scale.copy_(math.log(recipe.highest_concentration / recipe.lowest_concentration) / (high - low))
        self.shift.copy_(math.log(recipe.highest_concentration) - self.scale * high)

    def _spans_the_sphere(self) -> bool:
        mean, _ = self(self.inputs(_MEASURED))
        return bool((mean @ mean.T).min() <= _LARGEST_SMALLEST_COSINE)


def make_generator(recipe: GeneratorRecipe, seed: int) -> VmfGenerator:
    """A random process whose means span more than 60 degrees; the global random state is left alone.

    Raises:
        RecipeError: none of many random networks does.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _ in range(_MOST_ATTEMPTS):
            generator = VmfGenerator(recipe)
            generator._set_range()
            generator._smooth()
            if generator._spans_the_sphere():
                return generator
    raise RecipeError(
        f"none of {_MOST_ATTEMPTS} random generators spreads over the sphere; raise generator.smoothing_steps"
    )
