"""Non-isotropic vMF embeddings beside the proxy losses of pytorch-metric-learning, on birds and cars.

    HUB_MODELS_DATA=... python benchmarks/metric_learning.py [--datasets cub cars] [--seeds 5]

Trained on one half of the classes, measured on the other: R@1, mAP@R, and the AUROC with which an uncertainty tells
images whose nearest other image is of another class. Every method trains the same last stages of EfficientNet-Lite0
on the same cached views, for as many steps, from the same embedding. Settings were chosen on birds of classes 60 to 99
after training on 0 to 59: nine trials for EL-nivMF and its relatives, two each for ProxyAnchor and the cosine softmax.
Then, on birds and with two seeds, what each design choice of EL-nivMF is worth. A run takes about a minute of one
core; what is finished stays in benchmarks/results/metric_learning.jsonl, and a cut-off benchmark goes on. Prints the
table at the end; the uncertainty of a baseline is the inverse of its embedding's norm.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hub_models.evaluation.results import Result, Run, read_results, write_results
from hub_models.evaluation.retrieval_suite import EmbeddedImages, figures, retrieval_figures
from hub_models.paths import CHECKPOINTS, cache_dir
from hub_models.training.backbone_cut import cut_backbone
from hub_models.training.fit_embedding import embed_images
from hub_models.training.recipe_probabilistic_embedding import (
    ProbabilisticEmbeddingRecipe,
    load_embedding_recipe,
)
from hub_models.training.train_probabilistic_embedding import labelled_maps, new_embedding, train_on_maps
from hub_models.training.views import Views
from hub_models.zoo import load

RESULTS = Path(__file__).parent / "results" / "metric_learning.jsonl"
COMMAND = "python benchmarks/metric_learning.py"
DATASETS = {"cub": "nivmf-cub", "cars": "nivmf-cars"}

RELEASED, FROZEN = "EL-nivMF", "frozen features"
#: A loss that sees directions only: its usual certainty is the norm, with the start that it was tuned with.
DIRECTIONS = {"training.start_concentration": 50.0, "network.concentration_from": "norm"}
#: Method -> what it changes in the recipe of the released model, field by field.
METHODS: dict[str, dict[str, Any]] = {
    RELEASED: {},
    "ProxyAnchor": {"loss.name": "proxy_anchor", "loss.temperature": 1 / 16, **DIRECTIONS},
    # On unit vectors the same function as the cosine softmax; each has the temperature of its own paper or package.
    "ProxyNCA++": {"loss.name": "proxy_nca", "loss.temperature": 1 / 18, **DIRECTIONS},
    "cosine softmax": {"loss.name": "cosine_softmax", "loss.temperature": 0.05, **DIRECTIONS},
}
#: Temperatures of the other similarities are such that all begin with logits of about the same spread.
ISOTROPIC = {"loss.concentration": 60.0, "loss.temperature": 1.0, "training.start_concentration": 60.0}
#: Design choice -> what it changes, on birds only.
ABLATIONS: dict[str, dict[str, Any]] = {
    "point nivMF": {"loss.name": "nivmf", "loss.temperature": 1.0},
    "EL-vMF": {"loss.name": "el_vmf", **ISOTROPIC},
    "B-vMF": {"loss.name": "b_vmf", **ISOTROPIC},
    "KL": {"loss.name": "kl", **ISOTROPIC},
    "L2": {
        "loss.name": "l2",
        "loss.concentration": 10.0,
        "loss.temperature": 10.0,
        "training.start_concentration": 10.0,
    },
    "cosine": {"loss.name": "cosine", "loss.temperature": 0.05},
    "concentration is the norm": {
        "network.concentration_from": "norm",
        "training.start_concentration": 100.0,
    },
    "ProxyAnchor guidance": {"loss.guidance_weight": 0.3},
    "temperature outside": {"loss.temperature_placement": "outside"},
    "reference normaliser": {"loss.normalizer": "reference"},
    "cold proxies": {"loss.warm_start": False},
    "1 sample": {"loss.samples": 1},
}
ABLATION_SEEDS = 2


def changed(recipe: ProbabilisticEmbeddingRecipe, changes: dict[str, Any]) -> ProbabilisticEmbeddingRecipe:
    """The recipe with some fields, ``table.field``, set to other values."""
    for name, value in changes.items():
        table, field = name.split(".")
        recipe = dataclasses.replace(
            recipe, **{table: dataclasses.replace(getattr(recipe, table), **{field: value})}
        )
    return recipe


def runs(datasets: list[str], seeds: int) -> Iterator[tuple[str, str, int]]:
    """(data set, method, seed), the most important first."""
    for dataset in datasets:
        yield from ((dataset, method, 0) for method in (FROZEN, *METHODS))
    for seed in range(1, seeds):
        for dataset in datasets:
            yield from ((dataset, method, seed) for method in METHODS)
        if seed < ABLATION_SEEDS + 1 and "cub" in datasets:
            yield from (("cub", choice, seed - 1) for choice in ABLATIONS)


def run(dataset: str, method: str, seed: int) -> Iterator[Result]:
    """Train and measure one model, or the backbone as it is."""
    released = load_embedding_recipe(CHECKPOINTS / DATASETS[dataset] / "recipe.toml")
    recipe = changed(released, {**METHODS, **ABLATIONS}.get(method, {}))
    recipe = dataclasses.replace(recipe, name=method, seed=seed)
    task, root = f"retrieval-{dataset}@1", cache_dir() / "features"
    model, cut = new_embedding(recipe)
    test = labelled_maps(recipe, cut, recipe.data.test_split, Views(), root, show_progress=False)
    if method == FROZEN:
        pooled = embed_images(model, cut, test.cache, test.images).pooler_output.numpy()
        norms = np.linalg.norm(pooled, axis=1)
        images = EmbeddedImages(pooled / norms[:, None], test.labels, {"uncertainty": 1 / norms})
        bare = Run(model=FROZEN, revision="", seed=seed, command=COMMAND)
        for metric, read_out, interval in retrieval_figures(images):
            yield bare.result(task, metric, read_out, interval)
        return
    if method == RELEASED and seed == released.seed:
        model = load(DATASETS[dataset])
        cut = cut_backbone(model.backbone, recipe.network.trained_stages)
    else:
        maps = labelled_maps(recipe, cut, recipe.data.split, recipe.views, root, show_progress=False)
        train_on_maps(recipe, model, cut, maps, show_progress=False)
    yield from figures(recipe, model, cut, test, COMMAND, task)


def tables(results: list[Result]) -> str:
    """Mean over the seeds, with the bootstrap interval over images averaged alike."""
    found: dict[tuple[str, str], dict[tuple[str, str], list[Result]]] = defaultdict(lambda: defaultdict(list))
    for line in results:
        found[line.task, line.model][line.metric, line.read_out].append(line)
    columns = {
        "R@1": ("r@1", ""),
        "mAP@R": ("map@r", ""),
        "R-AUROC of uncertainty": ("r-auroc", "uncertainty"),
        "of max cosine": ("r-auroc", "max_cosine"),
        "of entropy": ("r-auroc", "entropy"),
    }
    rows = []
    for (task, model), figures_of in sorted(found.items()):
        seeds = len(figures_of["r@1", ""])
        cells = [_cell(figures_of[key]) for key in columns.values()]
        rows.append(f"| {task.removeprefix('retrieval-')} | {model} | {seeds} | {' | '.join(cells)} |")
    head = f"| data | method | seeds | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 3)}"
    return "\n".join([head, *rows])


def _cell(lines: list[Result]) -> str:
    if not lines:
        return ""
    value, low, high = (
        float(np.mean([getattr(line, f) for line in lines])) for f in ("value", "low", "high")
    )
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    """Do the runs that are missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--datasets", nargs="+", choices=DATASETS, default=list(DATASETS))
    parser.add_argument("--methods", nargs="+", help="only these methods and design choices")
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    for dataset, method, seed in runs(arguments.datasets, arguments.seeds):
        if arguments.methods and method not in arguments.methods:
            continue
        done = {(line.task, line.model, line.seed) for line in read_results(RESULTS)}
        if (f"retrieval-{dataset}@1", method, seed) not in done:
            write_results(
                RESULTS, list(run(dataset, method, seed))
            )  # first the run, then what is there by now
            print(dataset, method, seed, flush=True)
    print(tables(read_results(RESULTS)))


if __name__ == "__main__":
    main()
