"""Does leaving out the most uncertain photos make retrieval better? R@1 against the share kept, CUB 100-199.

    HUB_MODELS_DATA=... python benchmarks/safe_retrieval.py

The default model's `transfer` read-out beside its default, softmax entropy and random (10 draws), leaving out queries,
images of the gallery, or both; globally, and per class as in the paper. (Per class needs labels, so for queries it is
a diagnosis and not something to deploy.)
"""

from __future__ import annotations

import json
from pathlib import Path

from hub_models.atomic import write_text
from hub_models.evaluation.scored_images import score_dataset
from hub_models.paths import cache_dir
from hub_models.retrieval.abstention import Scope
from hub_models.retrieval.curves import RetrievalCurves, plot_curves, retrieval_curves
from hub_models.zoo import load, load_image_processor

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "safe_retrieval.json"
PICTURE = ROOT / "docs" / "safe_retrieval.png"
MODEL = "uncertainty-efficientnet-lite0"
SCOPES: tuple[Scope, ...] = ("queries", "gallery", "both")
SHOWN = ("transfer", "uncertainty", "entropy")


def main() -> None:
    birds = score_dataset(
        load(MODEL), load_image_processor(MODEL), "cub200_2010", "test", cache_dir() / "features", crops=True
    )
    uncertainties = {name: birds.uncertainties[name] for name in SHOWN}
    curves = {
        f"{scope}, {'per class' if per_class else 'global'}": retrieval_curves(
            birds.embeddings, birds.labels, uncertainties, applies_to=scope, per_class=per_class
        )
        for per_class in (False, True)
        for scope in SCOPES
    }
    PICTURE.parent.mkdir(exist_ok=True)
    plot_curves(
        {title: curves[title] for title in ("queries, global", "queries, per class", "both, per class")},
        PICTURE,
    )
    lines = [_record(title, curve) for title, curve in curves.items()]
    document = {"model": MODEL, "data": "cub200_2010 test", "n": len(birds.labels), "curves": lines}
    write_text(RESULTS, json.dumps(document, indent=1) + "\n")
    for line in lines:
        at = line["kept"].index(0.8)
        recall = ", ".join(f"{name} {values[at]:.3f}" for name, values in line["recall"].items())
        print(f"{line['left_out']:>20}, 20 % left out: {recall}, random {line['random'][at]:.3f}")


def _record(title: str, curves: RetrievalCurves) -> dict[str, object]:
    return {
        "left_out": title,
        "kept": curves.kept.round(2).tolist(),
        "recall": {name: values.round(4).tolist() for name, values in curves.recall.items()},
        "random": curves.random.round(4).tolist(),
        "random_sd": curves.random_sd.round(4).tolist(),
        "command": "python benchmarks/safe_retrieval.py",
    }


if __name__ == "__main__":
    main()
