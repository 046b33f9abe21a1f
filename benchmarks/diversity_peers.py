"""Peers of SPELL for diversity, written from their papers, as pipelines that change one step's velocity."""

from __future__ import annotations

import math

import torch

from hub_models.spell.spell_class_conditional import SpellClassConditionalPipeline

TIMESTEPS = 1000


class Peer(SpellClassConditionalPipeline):
    """A pipeline with settings of its own; made from a plain one, whose network it shares."""

    @classmethod
    def of(cls, pipe: SpellClassConditionalPipeline, **settings: float) -> Peer:
        peer = cls(pipe.unet, pipe.scheduler, pipe.config.id2label)
        for name, value in settings.items():
            setattr(peer, name, value)
        return peer


class IntervalGuidance(Peer):
    """Guidance only at noise levels in (low, high] (Kynkäänniemi et al., arXiv 2404.07724)."""

    low: float
    high: float

    def predict_velocity(
        self, latents: torch.Tensor, timestep: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        asked = self._guidance_scale
        if not self.low < float(timestep) / TIMESTEPS <= self.high:
            self._guidance_scale = 1.0
        try:
            return super().predict_velocity(latents, timestep, labels)
        finally:
            self._guidance_scale = asked


class Cads(Peer):
    """Condition-annealed diffusion sampling (Sadat et al., arXiv 2310.17347, section 3 and algorithm 1).

    The class embedding y becomes sqrt(g) y + s sqrt(1 - g) n with fresh noise n, and is rescaled to its own mean and
    standard deviation, with mixing factor 1. g falls from 1 at noise level `low` to 0 at `high`. Noise is in units of
    the embedding's standard deviation; the embedding of no class stays as it is.
    """

    low: float
    high: float
    scale: float

    def predict_velocity(
        self, latents: torch.Tensor, timestep: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        level = float(timestep) / TIMESTEPS
        kept = min(1.0, max(0.0, (self.high - level) / (self.high - self.low)))
        if kept == 1:
            return super().predict_velocity(latents, timestep, labels)
        # A noise by the latents: the same for equal seeds, new in each step.
        generator = torch.Generator().manual_seed(int(latents.sum().abs() * 1e4) % 2**31)

        def anneal(
            module: torch.nn.Module, inputs: tuple[torch.Tensor], embedding: torch.Tensor
        ) -> torch.Tensor:
            mean, deviation = embedding.mean(1, keepdim=True), embedding.std(1, keepdim=True)
            noise = torch.randn(embedding.shape, generator=generator) * deviation
            mixed = math.sqrt(kept) * embedding + self.scale * math.sqrt(1 - kept) * noise
            mixed = (mixed - mixed.mean(1, keepdim=True)) / mixed.std(1, keepdim=True) * deviation + mean
            without = (inputs[0] == self.null_label)[:, None]
            return torch.where(without, embedding, mixed)

        hook = self.unet.class_embedding.register_forward_hook(anneal)
        try:
            return super().predict_velocity(latents, timestep, labels)
        finally:
            hook.remove()


class ParticleGuidance(Peer):
    """Fixed-potential particle guidance (Corso et al., arXiv 2310.13102, section 5 and its RBF kernel).

    The potential -sum of k(x_i, x_j) = exp(-|x_i - x_j|^2 / h), h = median^2 / log(number of particles), acts on the
    noisy images of one class. A change g of the score changes the velocity by -level / (1 - level) g; the paper leaves
    the schedule of the weight open, and strength (1 - level) times the images' dimension keeps the push finite.
    """

    strength: float
    group: int

    def predict_velocity(
        self, latents: torch.Tensor, timestep: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        velocity = super().predict_velocity(latents, timestep, labels)
        push = torch.cat([_repulsion(particles) for particles in latents.flatten(1).split(self.group)])
        level = float(timestep) / TIMESTEPS
        return velocity - self.strength * push.shape[1] * level * push.view_as(velocity)


def _repulsion(particles: torch.Tensor) -> torch.Tensor:
    """Gradient of minus the sum of kernels, for each of (n, D) particles."""
    count = len(particles)
    apart = particles[:, None] - particles[None, :]
    squares = apart.square().sum(2)
    between = squares[~torch.eye(count, dtype=torch.bool)]
    if count < 2 or not between.any():
        return torch.zeros_like(particles)
    width = between.median() / math.log(max(count, 2))
    kernel = torch.exp(-squares / width)
    return (2 / width) * (kernel[:, :, None] * apart).sum(1)
