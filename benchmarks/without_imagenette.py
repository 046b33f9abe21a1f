"""How much of the ILSVRC figure is the class prior? Train lite0's recipe without the ten Imagenette classes.

The 500 ILSVRC photos have ten classes, and these make up 71 % of the training images. This trains the same recipe
on the 1,000 photos of `part = sample` alone and adds its figures to results.jsonl as a model of its own.
"""

from __future__ import annotations

import dataclasses

from hub_models.checkpoint_folder import RECIPE, RESULTS
from hub_models.evaluation.results import write_results
from hub_models.evaluation.zero_shot_seeds import evaluate
from hub_models.paths import CHECKPOINTS, cache_dir
from hub_models.training.recipe import load_recipe
from hub_models.training.train import train

FOLDER = CHECKPOINTS / "uncertainty-efficientnet-lite0"


def main() -> None:
    recipe = load_recipe(FOLDER / RECIPE)
    variant = dataclasses.replace(
        recipe,
        name=f"{recipe.name}-without-imagenette",
        data=dataclasses.replace(recipe.data, where={"part": "sample"}),
    )
    root = cache_dir() / "features"
    model = train(variant, root).model
    command = "python benchmarks/without_imagenette.py"
    results = list(evaluate(model, variant.name, variant.seed, root, command))
    write_results(FOLDER / RESULTS, results)
    for result in results:
        if result.task == "errors-ilsvrc@1" and result.metric == "auroc":
            print(f"{result.read_out:>16} {result.value:.3f} [{result.low:.3f}, {result.high:.3f}]")


if __name__ == "__main__":
    main()
