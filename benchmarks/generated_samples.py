"""What the benchmarks of shielded generation share: the cases they run on, and how samples are judged."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from hub_models.evaluation.bootstrap import Interval, bootstrap
from hub_models.evaluation.proportions import proportion
from hub_models.evaluation.sample_quality import quality_intervals
from hub_models.generation.classifier import SmallClassifier, judge, load_classifier
from hub_models.generation.image_sets import load_images
from hub_models.generation.labelled_images import LabelledImages

STEPS = 20
GROUP = 10  # images of one class in one call: those that repel each other


@dataclass(frozen=True)
class Case:
    """A generator with the classifier that judges it; features are the classifier's."""

    name: str
    model: str
    classifier: str
    memorised: str | None = None

    def judge(self) -> Judge:
        test = load_images(self.name, "test")
        return Judge(load_classifier(self.classifier), test.first(min(len(test), 1000)))


CASES = {
    "digits": Case("digits", "digits-flow", "digit-classifier", "digits-flow-memorised"),
    "cifar10": Case("cifar10", "cifar10-flow", "cifar10-classifier"),
}


def labels_of(count: int) -> list[int]:
    """`count` labels of ten classes, in groups of one class, all classes alike often."""
    return [label for label in range(10) for _ in range(count // 10)]


@dataclass
class Judge:
    """Compares samples with held-out images."""

    classifier: SmallClassifier
    held_out: LabelledImages
    _real: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        self._real, _ = judge(self.classifier, self.held_out.samples())

    def measures(self, samples: torch.Tensor, labels: list[int], group: int = 1) -> dict[str, Interval]:
        """Accuracy (the classifier sees the class asked for), sharpness, and the sample quality per class.

        Sharpness is the mean absolute Laplacian of the pixels over that of the held-out images. Each
        ``group`` samples of a class in a row are of one batch, and not independent.
        """
        asked = np.asarray(labels)
        features, seen = judge(self.classifier, samples)
        classes = range(len(self.held_out.class_names))
        real = self.held_out.labels.numpy()
        pairs = [(self._real.numpy()[real == c], features.numpy()[asked == c]) for c in classes]
        groups = [np.arange(len(made)) // group for _, made in pairs]
        return {
            "accuracy": proportion(seen.numpy() == asked),
            "sharpness": bootstrap(lambda values: float(values.mean()), self._sharpness(samples)),
            **quality_intervals(pairs, groups),
        }

    def typical_distance(self) -> float:
        """Median distance of two held-out images of one class."""
        images, labels = self.held_out.samples().flatten(1), self.held_out.labels
        return float(torch.cat([torch.pdist(images[labels == label]) for label in labels.unique()]).median())

    def _sharpness(self, samples: torch.Tensor) -> np.ndarray:
        of_real = laplacian(self.held_out.samples()).mean()
        return (laplacian(samples) / of_real).numpy()


def laplacian(images: torch.Tensor) -> torch.Tensor:
    """Mean absolute Laplacian of each image, (N,)."""
    inner = images[..., 1:-1, 1:-1]
    around = images[..., :-2, 1:-1] + images[..., 2:, 1:-1] + images[..., 1:-1, :-2] + images[..., 1:-1, 2:]
    return (around - 4 * inner).abs().mean((1, 2, 3))


def as_delivered(samples: torch.Tensor) -> torch.Tensor:
    """Samples as an 8-bit image file holds them, in [-1, 1] again."""
    return ((samples.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1


def nearest_by_brute_force(samples: torch.Tensor, images: LabelledImages) -> np.ndarray:
    """Distance of each sample to its nearest image: every pair, exact differences in float64, (N,)."""
    queries = samples.double().flatten(1)
    best = torch.full((len(queries),), torch.inf, dtype=torch.float64)
    for start in range(0, len(images), 1000):
        rows = images.samples(slice(start, start + 1000)).double().flatten(1)
        apart = torch.cdist(queries, rows, compute_mode="donot_use_mm_for_euclid_dist")
        best = torch.minimum(best, apart.amin(1))
    return best.numpy()
