"""Does the shield hold, and what does it cost? Copies of training images with and without it.

    python benchmarks/protection.py digits
    HUB_MODELS_DATA=... python benchmarks/protection.py cifar10

A sample counts as inside if it is nearer to a training image than all but 5 % (and, as a harder case, 25 %) of
held-out real images are: every pair is compared, with exact differences in float64. "delivered" is the same for the
8-bit image that is saved in the end, whose clamping may pull a sample back in.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from generated_samples import CASES, STEPS, Case, Judge, as_delivered, labels_of, nearest_by_brute_force

from hub_models.checkpoint_folder import RESULTS
from hub_models.evaluation.bootstrap import Interval
from hub_models.evaluation.proportions import proportion
from hub_models.evaluation.results import Run, write_results
from hub_models.generation.checkpoints import load_pipeline, revision
from hub_models.generation.image_sets import load_images
from hub_models.generation.labelled_images import LabelledImages
from hub_models.generation.sampling import generate
from hub_models.paths import CHECKPOINTS
from hub_models.spell import attach_spell

QUANTILES = (0.05, 0.25)
TASK = "protection@1"
TRAINING = "training images"  # what real images reach in the same measures, as many of them
SEED = 1


def main(name: str, count: int = 1000) -> None:
    case = CASES[name]
    judge = case.judge()
    training = load_images(name, "train")
    of_real = nearest_by_brute_force(judge.held_out.samples(), training)
    radii = {f"{quantile:.0%}": float(np.quantile(of_real, quantile)) for quantile in QUANTILES}
    print(
        "radius:",
        ", ".join(f"{radius:.2f} ({label} of real images inside)" for label, radius in radii.items()),
    )
    if case.memorised:
        memorised = training.first(64)
        _run(case.memorised, memorised, radii, labels_of(count // 2), case, judge)
    _run(case.model, training, radii, labels_of(count), case, judge)


def _run(
    model: str,
    protected: LabelledImages,
    radii: dict[str, float],
    labels: list[int],
    case: Case,
    judge: Judge,
) -> None:
    run = Run(model, revision(model), SEED, f"python benchmarks/protection.py {case.name}")
    plain = generate(load_pipeline(model), labels, SEED, steps=STEPS, show_progress=True)
    made = {"plain": plain}
    for label, radius in radii.items():
        pipe = load_pipeline(model)
        attach_spell(pipe, references=protected.samples(), radius=radius)
        made[f"shielded {label}"] = generate(pipe, labels, SEED, steps=STEPS, show_progress=True)
    if len(protected) > len(labels):
        made[TRAINING] = _by_class(protected, len(labels))
    for variant, samples in made.items():
        figures = {} if variant == TRAINING else _inside(samples, protected, radii, variant)
        figures |= judge.measures(samples, labels)
        write_results(
            CHECKPOINTS / model / RESULTS,
            [run.result(TASK, metric, variant, figure) for metric, figure in figures.items()],
        )
        print(f"{model}, {variant}: " + ", ".join(_shown(*item) for item in figures.items()), flush=True)


def _by_class(images: LabelledImages, count: int) -> torch.Tensor:
    """The first images of each class, `count` in all, in the order of `labels_of`."""
    return torch.cat(
        [images.samples((images.labels == label).nonzero().flatten()[: count // 10]) for label in range(10)]
    )


def _inside(
    samples: torch.Tensor, protected: LabelledImages, radii: dict[str, float], variant: str
) -> dict[str, Interval]:
    """Share of samples inside each radius that concerns this variant: its own, or all of them without a shield."""
    raw = nearest_by_brute_force(samples, protected)
    delivered = nearest_by_brute_force(as_delivered(samples), protected)
    figures = {}
    for label, radius in radii.items():
        if variant in ("plain", f"shielded {label}"):
            figures[f"inside {label}"] = proportion(raw < radius)
            figures[f"delivered inside {label}"] = proportion(delivered < radius)
    return figures


def _shown(metric: str, figure: Interval) -> str:
    return f"{metric} {figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"


if __name__ == "__main__":
    main(*sys.argv[1:2], *map(int, sys.argv[2:3]))
