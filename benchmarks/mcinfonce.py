"""MCInfoNCE's controlled experiment beside ELK and HIB, with ablations: is the true ambiguity recovered?

    python benchmarks/mcinfonce.py [--only NAME ...] [--pictures] [--json]

- The released recipe, five seeds; and with its two rounds of phases as one, as published.
- Methods: MCInfoNCE, ELK and HIB, five seeds each, all with a quarter of the pairs a step, half of the steps and
  three times the learning rate of the released recipe. A seed gives all three the same process, pairs, start and number
  of steps; differences are paired. MCInfoNCE trains mean directions and concentrations in turn; the other two train
  both at once, as published, and HIB learns the scale and offset of its match probability.
- Ablations of that smaller MCInfoNCE, two seeds: number of draws, dimensions of embedding and latents, true posteriors
  of another family or without ambiguity, every loss trained the other way (at once, or in turn).
- The 10-D case, one round, with fewer draws, pairs, negatives and steps than published.

Variants and seeds that results.jsonl of the checkpoint holds already are not trained again, so a run that was stopped
goes on; a variant's own training goes on as well. About two hours on one core in all. Figures go to
hub_models/checkpoints/mcinfonce-2d/results.jsonl, the paired differences to benchmarks/results/mcinfonce.json, and
with --pictures (from trainings in the cache) docs/mcinfonce_*.png.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from mcinfonce_pictures import TEN_D, draw_pictures
from report_files import as_text, provenance

from hub_models.atomic import write_text
from hub_models.checkpoint_folder import RECIPE, RESULTS
from hub_models.cli.options import print_json, print_table
from hub_models.evaluation.recovery import TASK, recovery_results
from hub_models.evaluation.results import Result, read_results, write_results
from hub_models.paths import CHECKPOINTS
from hub_models.training.recipe_vmf_encoder import VmfEncoderRecipe, load_vmf_encoder_recipe
from hub_models.training.train_vmf_encoder import train, with_seed

ROOT = Path(__file__).parent.parent
FOLDER = CHECKPOINTS / "mcinfonce-2d"
REPORT = ROOT / "benchmarks" / "results" / "mcinfonce.json"
COMMAND = "python benchmarks/mcinfonce.py"
MAIN = "mcinfonce-2d"
SMALL = f"{MAIN}-small"
SEEDS, ABLATION_SEEDS = 5, 2
Change = dict[str, dict[str, Any]]
_SMALL = {
    "direction_steps": 1024,
    "concentration_steps": 1024,
    "settling_steps": 512,
    "batch_size": 128,
    "samples": 128,
    "learning_rate": 3e-4,
}


def _wide(dim: int) -> dict[str, Any]:
    """The published widths of an encoder into ``dim`` dimensions."""
    return {"embedding_dim": dim, "widths": [10 * dim, *4 * [50 * dim], 10 * dim]}


#: Name -> what differs from the released recipe, table by table.
METHODS: dict[str, Change] = {
    SMALL: {"training": _SMALL},
    f"{MAIN}-elk": {"training": {**_SMALL, "loss": "elk", "joint": True}},
    f"{MAIN}-hib": {"training": {**_SMALL, "loss": "hib", "joint": True}},
}
ABLATIONS: dict[str, Change] = {
    **{f"{MAIN}-draws-{n}": {"training": {**_SMALL, "samples": n}} for n in (1, 4, 16, 64, 256)},
    **{
        f"{MAIN}-{family}": {"training": _SMALL, "generator": {"posterior": family}}
        for family in ("gaussian", "laplace", "injective")
    },
    **{f"{MAIN}-embedding-{dim}": {"training": _SMALL, "encoder": _wide(dim)} for dim in (4, 8)},
    f"{MAIN}-latents-4": {"training": _SMALL, "generator": {"latent_dim": 4}},
    f"{MAIN}-joint": {"training": {**_SMALL, "joint": True}},
    f"{MAIN}-elk-in-turn": {"training": {**_SMALL, "loss": "elk"}},
    f"{MAIN}-hib-in-turn": {"training": {**_SMALL, "loss": "hib"}},
    f"{MAIN}-one-round": {
        "training": {"rounds": 1, "direction_steps": 4096, "concentration_steps": 4096, "settling_steps": 0}
    },
    "mcinfonce-10d": {
        "training": {**_SMALL, "rounds": 1, "samples": 16, "negatives": 8},
        "encoder": _wide(10),
        "generator": {"input_dim": 10, "latent_dim": 10},
    },
}
VARIANTS: dict[str, Change] = {MAIN: {}} | METHODS | ABLATIONS
TITLES = {
    MAIN: "MCInfoNCE, released",
    SMALL: "MCInfoNCE, smaller",
    f"{MAIN}-elk": "ELK",
    f"{MAIN}-hib": "HIB",
    "mcinfonce-10d": TEN_D,
}


def variant(recipe: VmfEncoderRecipe, name: str) -> VmfEncoderRecipe:
    """The released recipe with the changes of a variant."""
    tables = {table: dataclasses.replace(getattr(recipe, table), **c) for table, c in VARIANTS[name].items()}
    return dataclasses.replace(recipe, name=name, **tables)


def plan(names: list[str], first_seed: int) -> Iterator[tuple[str, int]]:
    """(variant, seed), seed by seed, so that a run that is stopped leaves comparisons that are whole."""
    for number in range(SEEDS):
        for name in names:
            if number < ABLATION_SEEDS or name not in ABLATIONS:
                yield name, first_seed + number


def run(names: list[str]) -> None:
    """Train and evaluate what results.jsonl does not hold yet."""
    released = load_vmf_encoder_recipe(FOLDER / RECIPE)
    for name, seed in plan(names, released.seed):
        known = {(line.model, line.seed) for line in read_results(FOLDER / RESULTS) if line.task == TASK}
        if (name, seed) not in known:
            recipe = with_seed(variant(released, name), seed)
            write_results(FOLDER / RESULTS, recovery_results(train(recipe), recipe, COMMAND))


def summary(results: list[Result]) -> list[dict[str, Any]]:
    """One line a variant: means over its seeds, and the lowest and highest seed."""
    lines = []
    for name in VARIANTS:
        line: dict[str, Any] = {"model": name}
        for metric, what in (
            ("spearman", "concentration"),
            ("pearson", "concentration"),
            ("mae", "concentration"),
            ("mae", "pairwise cosines"),
        ):
            values = _by_seed(results, name, metric, what)
            line["seeds"] = max(line.get("seeds", 0), len(values))
            if values:
                numbers = list(values.values())
                line[f"{metric}, {what}"] = round(float(np.mean(numbers)), 4)
                line[f"{metric}, {what}, range"] = [round(min(numbers), 4), round(max(numbers), 4)]
        if line["seeds"]:
            lines.append(line)
    return lines


def paired(results: list[Result]) -> list[dict[str, Any]]:
    """MCInfoNCE minus each other method on the same seeds: mean, 95 % t interval, how many seeds it leads."""
    from scipy.stats import t

    lines = []
    for other in METHODS:
        for metric, what, sign in (
            ("spearman", "concentration", 1),
            ("mae", "concentration", -1),
            ("mae", "pairwise cosines", -1),
        ):
            ours, theirs = (_by_seed(results, name, metric, what) for name in (SMALL, other))
            seeds = sorted(ours.keys() & theirs.keys())
            if other == SMALL or len(seeds) < 2:
                continue
            gaps = np.array([ours[seed] - theirs[seed] for seed in seeds])
            half = t.ppf(0.975, len(gaps) - 1) * gaps.std(ddof=1) / len(gaps) ** 0.5
            lines.append(
                {
                    "against": other,
                    "metric": f"{metric}, {what}",
                    "difference": round(float(gaps.mean()), 4),
                    "interval": [round(float(gaps.mean() - half), 4), round(float(gaps.mean() + half), 4)],
                    "leads": int((sign * gaps > 0).sum()),
                    "seeds": len(gaps),
                }
            )
    return lines


def _by_seed(results: list[Result], name: str, metric: str, what: str) -> dict[int, float]:
    wanted = (name, TASK, metric, what)
    return {r.seed: r.value for r in results if (r.model, r.task, r.metric, r.read_out) == wanted}


def shown_recipes(results: list[Result]) -> dict[str, VmfEncoderRecipe]:
    """Title -> recipe of what the pictures show, those with results."""
    released = load_vmf_encoder_recipe(FOLDER / RECIPE)
    return {
        title: variant(released, name)
        for name, title in TITLES.items()
        if released.seed in _by_seed(results, name, "mae", "pairwise cosines")
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="variants to train"
    )
    parser.add_argument("--pictures", action="store_true", help="draw docs/mcinfonce_*.png")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    run(arguments.only)
    results = read_results(FOLDER / RESULTS)
    report = {"summary": summary(results), "paired": paired(results)}
    write_text(REPORT, as_text({**provenance(COMMAND, "torch"), **report}))
    if arguments.pictures:
        draw_pictures(shown_recipes(results), ROOT / "docs")
    if arguments.json:
        print_json(report)
    else:
        shown = [{k: v for k, v in line.items() if not k.endswith("range")} for line in report["summary"]]
        print_table(shown, title="means over seeds")
        print_table(report["paired"], title=f"{SMALL} minus another method, same seeds")


if __name__ == "__main__":
    main()
