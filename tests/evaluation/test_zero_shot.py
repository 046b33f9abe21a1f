"""Each protocol on planted data whose figures are known."""

from __future__ import annotations

import numpy as np
import pytest

from hub_models.evaluation.results import Result, Run
from hub_models.evaluation.scored_images import ScoredImages
from hub_models.evaluation.zero_shot import (
    class_prior,
    crop_test,
    errors,
    human_entropy,
    out_of_distribution,
    real_entropy,
    retrieval,
)

RUN = Run(model="planted", revision="0", seed=0, command="test")
N = 200
RANDOM = np.random.default_rng(0)


def planted(predictions=None, labels=None, uncertainties=None, cropped=None, columns=None) -> ScoredImages:
    labels = np.zeros(N, int) if labels is None else labels
    noise = {name: RANDOM.random(N) for name in ("entropy", "max_probability", "energy")}
    return ScoredImages(
        uncertainties={**noise, **(uncertainties or {})},
        cropped=cropped or {},
        predictions=labels if predictions is None else predictions,
        embeddings=np.zeros((N, 2)),
        labels=labels,
        columns=columns,
    )


def figure(results: list[Result], metric: str, read_out: str = "", task: str | None = None) -> Result:
    found = [r for r in results if (r.metric, r.read_out) == (metric, read_out) and task in (None, r.task)]
    assert len(found) == 1, [(r.task, r.metric, r.read_out) for r in results]
    return found[0]


def test_errors_of_an_oracle_a_copy_of_entropy_and_the_difference() -> None:
    wrong = np.arange(N) % 4 == 0
    images = planted(predictions=wrong.astype(int))
    images.uncertainties["error"] = wrong + 0.1 * RANDOM.random(N)
    results = list(errors("errors@1", images, RUN))
    assert figure(results, "top-1").value == 0.75
    assert figure(results, "auroc", "error").value == 1
    difference = figure(results, "auroc-minus-entropy", "error")
    assert difference.value == pytest.approx(1 - figure(results, "auroc", "entropy").value)
    assert difference.low > 0

    images.uncertainties["error"] = np.exp(images.uncertainties["entropy"])
    results = list(errors("errors@1", images, RUN))
    assert figure(results, "spearman-with-entropy", "error").value == pytest.approx(1)
    assert figure(results, "auroc-minus-entropy", "error").value == pytest.approx(0)


def test_class_prior_is_the_auroc_of_predictions_outside_the_labels() -> None:
    labels = np.arange(N) % 2
    predictions = np.where(np.arange(N) % 5 == 0, 7, labels)  # every mistake lies outside the two classes
    assert figure(list(class_prior(planted(predictions, labels), RUN)), "auroc", "class_prior").value == 1


def test_retrieval_reports_each_set_their_mean_and_the_difference_to_entropy() -> None:
    failures = {"cub": np.arange(N) % 2 == 0, "cars": np.arange(N) % 4 == 0}
    birds, cars = planted(), planted()
    birds.uncertainties["transfer"] = failures["cub"].astype(float)
    cars.uncertainties["transfer"] = np.zeros(N)
    results = list(retrieval(birds, cars, failures, RUN))
    assert figure(results, "r@1", task="retrieval-cub@1").value == 0.5
    assert figure(results, "r@1", task="retrieval-cars@1").value == 0.75
    assert figure(results, "r-auroc", "transfer", "retrieval-cub@1").value == 1
    assert figure(results, "r-auroc", "transfer", "retrieval-cars@1").value == 0.5
    assert figure(results, "r-auroc", "transfer", "retrieval-mean@1").value == 0.75
    assert figure(results, "r-auroc-minus-entropy", "transfer", "retrieval-cub@1").low > 0


def test_crop_test_counts_crops_that_are_more_uncertain() -> None:
    whole = RANDOM.random(N)
    images = planted(
        uncertainties={"transfer": whole}, cropped={"transfer": whole + (np.arange(N) % 4 != 0) - 0.5}
    )
    for name in ("entropy", "max_probability", "energy"):
        images.cropped[name] = images.uncertainties[name]
    results = list(crop_test("crop@1", images, RUN))
    assert figure(results, "share", "transfer").value == 0.75
    assert figure(results, "share", "entropy").value == 0


def test_human_entropy_of_votes() -> None:
    sure = np.linspace(26, 50, N).astype(int)
    votes = [[int(s), int(50 - s)] for s in sure]  # the fewer agree, the higher the entropy
    images = planted(uncertainties={"transfer": -sure.astype(float)}, columns={"votes": votes})
    assert figure(list(human_entropy(images, RUN)), "spearman", "transfer").value == pytest.approx(1)


def test_real_votes_leave_out_images_without_a_label() -> None:
    entropy = np.where(np.arange(N) < 50, np.nan, np.arange(N))
    images = planted(uncertainties={"transfer": np.arange(N, dtype=float)}, columns={"real_entropy": entropy})
    result = figure(list(real_entropy(images, RUN)), "spearman", "transfer")
    assert result.value == pytest.approx(1)
    assert result.n == N - 50


def test_out_of_distribution_asks_whether_the_other_set_is_more_uncertain() -> None:
    inside = planted(uncertainties={"transfer": RANDOM.random(N)})
    outside = planted(uncertainties={"transfer": 2 + RANDOM.random(N)})
    results = list(out_of_distribution(inside, {"cub": outside}, RUN))
    assert figure(results, "auroc", "transfer").value == 1
