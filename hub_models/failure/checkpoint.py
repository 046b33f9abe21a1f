"""From a recipe that names an FMEA table to a failure network as a checkpoint."""

from __future__ import annotations

from pathlib import Path

from ..checkpoint_folder import save_checkpoint
from ..errors import RecipeError
from ..modeling_failure_network import FailureNetworkModel
from ..training.recipe import read_recipe_table
from .build import build_network
from .repair import repair
from .table import read_table


def recipe_table(recipe: Path) -> Path:
    """The FMEA table that a recipe names.

    Raises:
        RecipeError: ``data.table`` is missing.
    """
    table = read_recipe_table(recipe)
    try:
        return recipe.parent / str(table["data"]["table"])
    except (KeyError, TypeError) as error:
        raise RecipeError(f"{recipe}: [data] needs a field 'table', the path of an FMEA table") from error


def train_failure_network(recipe: Path, folder: Path) -> FailureNetworkModel:
    """Read the recipe's table, mend its contradictions, build the network and save it to ``folder``.

    Args:
        recipe: with ``table`` in ``[data]``: a file or folder, from the recipe's own folder.

    Raises:
        RecipeError: ``data.table`` is missing.
        FailureTableError: the table cannot be read.
        CheckpointError: the checkpoint cannot be written.
    """
    mended = repair(read_table(recipe_table(recipe))).after
    model = FailureNetworkModel.from_network(build_network(mended), source=read_recipe_table(recipe)["name"])
    save_checkpoint(model, folder, recipe)
    return model
