"""`hub-models train` and `hub-models evaluate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Json, Name, print_json, print_table

if TYPE_CHECKING:
    from ..evaluation.results import Result


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe.toml.")],
    output: Annotated[
        Path | None, typer.Option(help="Checkpoint folder to write; by default the recipe's own folder.")
    ] = None,
) -> None:
    """Train what a recipe describes: uncertainty heads on a frozen backbone, a small generator or classifier."""
    from ..generation import recipe as generation
    from ..training.recipe import read_recipe_table

    folder = output or recipe.parent
    table = read_recipe_table(recipe)
    match table.get("task"):
        case generation.FLOW_TASK:
            from ..generation.train_flow import train_flow

            train_flow(recipe, folder)
            print(f"wrote {folder}; next: hub-models generate {folder}")
        case generation.CLASSIFIER_TASK:
            from ..generation.train_classifier import train_classifier

            accuracy = train_classifier(recipe, folder)
            print(f"wrote {folder}; accuracy on its test images {accuracy:.3f}")
        case "failure-network":
            from ..failure.checkpoint import train_failure_network

            network = train_failure_network(recipe, folder).network
            print(f"wrote {folder}: {len(network.names)} failures; next: hub-models failure query {folder}")
        case "probabilistic-embedding" if "soft_labels" in table:
            from ..training.train_soft_labels import train_soft_label_embedding

            train_soft_label_embedding(recipe, folder)
            print(f"wrote {folder}; next: hub-models evaluate {folder} --suite cifar10h")
        case "probabilistic-embedding":
            from ..training.train_probabilistic_embedding import train_probabilistic_embedding

            train_probabilistic_embedding(recipe, folder)
            print(f"wrote {folder}; next: hub-models evaluate {folder} --suite retrieval")
        case "vmf-encoder":
            from ..training.train_vmf_encoder import train_vmf_encoder

            train_vmf_encoder(recipe, folder)
            print(f"wrote {folder}; next: hub-models evaluate {folder} --suite recovery")
        case _:
            _train_heads(recipe, folder)


def _train_heads(recipe: Path, folder: Path) -> None:
    from accelerate import Accelerator

    from ..checkpoint_folder import save_checkpoint
    from ..paths import cache_dir
    from ..training.recipe import load_recipe
    from ..training.train import train as train_recipe

    accelerator = Accelerator()
    trained = train_recipe(load_recipe(recipe), cache_dir() / "features", accelerator=accelerator)
    for name, reason in trained.cache.skipped.items():
        print(f"skipped {name}: {reason}", file=sys.stderr)
    if accelerator.is_main_process:
        save_checkpoint(trained.model.cpu(), folder, recipe)
        print(f"wrote {folder}; next: hub-models evaluate {folder} --suite zero-shot")


def evaluate(
    name: Name,
    suite: Annotated[str, typer.Option(help="What to measure.")] = "zero-shot",
    seeds: Annotated[
        int, typer.Option(help="Also train the recipe under this many seeds in all, and evaluate each.")
    ] = 1,
    results: Annotated[
        Path | None, typer.Option(help="results.jsonl to update; by default the checkpoint's own.")
    ] = None,
    json_: Json = False,
) -> None:
    """Measure a model under a suite of its task, beside baselines, with 95 % intervals."""
    import dataclasses

    from ..checkpoint_folder import RESULTS
    from ..evaluation.results import write_results
    from ..evaluation.suites import run_suite
    from ..zoo import find_checkpoint

    folder = find_checkpoint(name)
    command = f"hub-models evaluate {name} --suite {suite}" + (f" --seeds {seeds}" if seeds > 1 else "")
    found = []
    for figures in run_suite(suite, folder, seeds, command):
        write_results(results or folder / RESULTS, figures)  # at once: the next seed takes minutes
        found += figures
        if not json_:
            print_table([_row(figure) for figure in figures], title=f"{folder.name}, seed {figures[0].seed}")
    if json_:
        print_json([dataclasses.asdict(figure) for figure in found])


def _row(figure: Result) -> dict[str, str | float | int]:
    return {
        "task": figure.task,
        "metric": figure.metric,
        "read-out": figure.read_out,
        "value": figure.value,
        "low": figure.low,
        "high": figure.high,
        "n": figure.n,
    }


COMMANDS = {"train": train, "evaluate": evaluate}
