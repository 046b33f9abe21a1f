"""The zero-shot suite: is an uncertainty right about mistakes, and about data its model has never seen?

Protocols and published figures: Pretrained Visual Uncertainties (Kirchhof et al., 2024) and the URL benchmark
(NeurIPS 2023). Every data set here is test only. All images go through the model's own image processor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from transformers import BaseImageProcessor

from ..modeling_image_uncertainty import ImageUncertaintyModel
from .bootstrap import Interval, bootstrap, bootstrap_mean
from .neighbours import found_other_class
from .ranking import auroc, share_above, spearman
from .results import Result, Run
from .scored_images import ScoredImages, score_dataset

LOGIT_BASELINES = ("entropy", "max_probability", "energy")
ENTROPY = "entropy"


def zero_shot(
    model: ImageUncertaintyModel, processor: BaseImageProcessor, root: Path, run: Run
) -> Iterator[Result]:
    """All figures of the suite, one after another; features are cached under ``root``.

    Raises:
        ImageSourceError: a data set is neither built nor buildable here.
    """

    def score(name: str, crops: bool = False) -> ScoredImages:
        return score_dataset(model, processor, name, "test", root, crops)

    photos, ilsvrc = score("photos_ccby_500", crops=True), score("ilsvrc_val_500", crops=True)
    birds, cars, tiny = score("cub200_2010", crops=True), score("cars196"), score("cifar10h")
    yield from errors("errors-photos@1", photos, run)
    yield from errors("errors-ilsvrc@1", ilsvrc, run)
    yield from class_prior(ilsvrc, run)
    failures = {
        "cub": found_other_class(birds.embeddings, birds.labels),
        "cars": found_other_class(cars.embeddings, cars.labels),
    }
    yield from retrieval(birds, cars, failures, run)
    yield from crop_test("crop-cub@1", birds, run)
    yield from crop_test("crop-photos@1", photos, run)
    yield from human_entropy(tiny, run)
    yield from real_entropy(ilsvrc, run)
    yield from out_of_distribution(ilsvrc, {"cub": birds, "cars": cars}, run)


def errors(task: str, images: ScoredImages, run: Run) -> Iterator[Result]:
    """Does the uncertainty tell which images the classifier gets wrong?

    Beside each AUROC: the paired difference of the ``error`` read-out to every logit baseline, and its rank
    correlation with each, so that a head which merely returns entropy is seen to do so.
    """
    wrong = images.wrong
    yield run.result(task, "top-1", "", bootstrap(lambda w: float(1 - w.mean()), wrong))
    yield from _each(images, task, "auroc", lambda u: bootstrap(auroc, u, wrong), run)
    for read_out in ("error", "uncertainty"):
        if read_out not in images.uncertainties:
            continue
        own = images.uncertainties[read_out]
        for name in LOGIT_BASELINES:
            other = images.uncertainties[name]
            difference = bootstrap(lambda a, b, w: auroc(a, w) - auroc(b, w), own, other, wrong)
            yield run.result(task, f"auroc-minus-{name}", read_out, difference)
            yield run.result(task, f"spearman-with-{name}", read_out, bootstrap(spearman, own, other))


def class_prior(images: ScoredImages, run: Run) -> Iterator[Result]:
    """The trap of these ten-class photos: "the prediction is none of the ten" alone finds nearly all mistakes."""
    outside = ~np.isin(images.predictions, np.unique(images.labels))
    interval = bootstrap(auroc, outside.astype(float), images.wrong)
    yield run.result("errors-ilsvrc@1", "auroc", "class_prior", interval)


def retrieval(
    birds: ScoredImages, cars: ScoredImages, failures: dict[str, np.ndarray], run: Run
) -> Iterator[Result]:
    """R@1 and R-AUROC on classes never trained on, their mean over both sets, and the difference to entropy."""
    for name, images in (("cub", birds), ("cars", cars)):
        task, failed = f"retrieval-{name}@1", failures[name]
        yield run.result(task, "r@1", "", bootstrap(lambda f: float(1 - f.mean()), failed))
        for read_out, uncertainty in images.uncertainties.items():
            yield run.result(task, "r-auroc", read_out, bootstrap(auroc, uncertainty, failed))
        for read_out in images.uncertainties:
            if read_out == ENTROPY:
                continue
            arrays = images.uncertainties[read_out], images.uncertainties[ENTROPY], failed
            difference = bootstrap(lambda a, b, f: auroc(a, f) - auroc(b, f), *arrays)
            yield run.result(task, "r-auroc-minus-entropy", read_out, difference)
    for read_out in birds.uncertainties:
        both = [
            (images.uncertainties[read_out], failures[name])
            for name, images in (("cub", birds), ("cars", cars))
        ]
        yield run.result("retrieval-mean@1", "r-auroc", read_out, bootstrap_mean(auroc, both))


def crop_test(task: str, images: ScoredImages, run: Run) -> Iterator[Result]:
    """Share of images whose centre crop is more uncertain than the whole (``croppedHasBiggerUnc`` of URL)."""
    for name, whole in images.uncertainties.items():
        yield run.result(task, "share", name, bootstrap(share_above, whole, images.cropped[name]))


def human_entropy(images: ScoredImages, run: Run) -> Iterator[Result]:
    """Spearman with the entropy of how 47 to 63 people labelled each CIFAR-10 test image; nothing is fitted."""
    votes = np.asarray(images.columns["votes"], dtype=np.float64)
    shares = votes / votes.sum(axis=1, keepdims=True)
    entropy = -np.sum(shares * np.log(np.where(shares > 0, shares, 1)), axis=1)
    yield from _each(images, "cifar10h@1", "spearman", lambda u: bootstrap(spearman, u, entropy), run)


def real_entropy(images: ScoredImages, run: Run) -> Iterator[Result]:
    """The aleatoric claim: Spearman with the entropy of the ReaL votes; images without any label are left out."""
    entropy = np.asarray(images.columns["real_entropy"], dtype=np.float64)
    labelled = np.isfinite(entropy)

    def measure(uncertainty: np.ndarray) -> Interval:
        return bootstrap(spearman, uncertainty[labelled], entropy[labelled])

    yield from _each(images, "real-votes@1", "spearman", measure, run)


def out_of_distribution(inside: ScoredImages, outside: dict[str, ScoredImages], run: Run) -> Iterator[Result]:
    """Is the unseen data set more uncertain than ImageNet photos? The paper says no: it is not an OOD detector."""
    for name, images in outside.items():
        foreign = np.repeat([False, True], [len(inside.labels), len(images.labels)])
        for read_out in inside.uncertainties:
            joined = np.concatenate([inside.uncertainties[read_out], images.uncertainties[read_out]])
            yield run.result(f"ood-{name}@1", "auroc", read_out, bootstrap(auroc, joined, foreign))


def _each(
    images: ScoredImages, task: str, metric: str, measure: Callable[[np.ndarray], Interval], run: Run
) -> Iterator[Result]:
    for name, uncertainty in images.uncertainties.items():
        yield run.result(task, metric, name, measure(uncertainty))
