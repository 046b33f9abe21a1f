"""README.md of a repository with weights: its template, filled from recipe, configuration and results."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData

from ..checkpoint_folder import CONFIG, RECIPE, WEIGHTS, read_recipe, read_results
from .card_figures import figures_table, index_of_results
from .card_pictures import caption
from .card_template import fill, licence_metadata, recorded_output
from .training_data import training_data


def card(folder: Path) -> str:
    """The card of a checkpoint in source form; the same folder gives the same text.

    Raises:
        CheckpointError: the recipe or a line of results cannot be read.
    """
    recipe = read_recipe(folder / RECIPE)
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    name, task = recipe["name"], recipe["task"]
    facts, metadata = FACTS[task](folder, config)
    results = read_results(folder, name, recipe.get("seed", 0))
    return fill(
        task,
        ModelCardData(
            model_name=name,
            eval_results=index_of_results(task, results) or None,
            **licence_metadata(recipe["licence"]),
            **metadata,
        ),
        name=name,
        summary=recipe["summary"].strip(),
        licence=recipe["licence"],
        data=_data(recipe),
        figures=figures_table(task, results),
        output=recorded_output(name),
        picture=caption(name, task),
        **facts,
    )


def _data(recipe: Mapping[str, Any]) -> str:
    sets = [f"`{data['name']}` ({data['terms'].rstrip('.')})" for data in training_data(recipe)]
    return " and ".join(sets) or "data of your own"


Facts = tuple[dict[str, Any], dict[str, Any]]


def _image_uncertainty(folder: Path, config: Mapping[str, Any]) -> Facts:
    import timm

    size, reference = config.get("reference_size", 0), config.get("reference_name", "")
    backbone = timm.get_pretrained_cfg(config["backbone"])
    return {
        "backbone": config["backbone"],
        "read_outs": ", ".join(f"`{name}`" for name in config["read_outs"]),
        "reference": f"{size:,} images: {reference}" if size else "none stored yet",
    }, {
        "library_name": "transformers",
        "pipeline_tag": "image-feature-extraction",  # the nearest task that the Hub knows
        "base_model": getattr(backbone, "hf_hub_id", None),
        "tags": ["image-uncertainty", "uncertainty", "timm"],
    }


def _failure_network(folder: Path, config: Mapping[str, Any]) -> Facts:
    from safetensors import safe_open

    with safe_open(folder / WEIGHTS, framework="numpy") as file:
        (relations,) = file.get_slice("trigger").get_shape()
    return {
        "failures": len(config["names"]),
        "relations": relations,
        "stages": len(set(config.get("stages") or ())),
        "observed": config["names"][-1],
    }, {
        "library_name": "transformers",
        "tags": ["failure-network", "root-cause-analysis", "bayesian-network", "fmea"],
    }


def _generator(folder: Path, config: Mapping[str, Any]) -> Facts:
    from safetensors import safe_open

    with safe_open(folder / WEIGHTS, framework="numpy") as file:
        parameters = sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118
    names = config["class_names"]
    return {
        "parameters": f"{parameters / 1e6:.1f} million",
        "classes": ", ".join(names),
        "label": names[-1],
    }, {
        "library_name": "diffusers",
        "pipeline_tag": "unconditional-image-generation",
        "tags": ["class-conditional-generation", "spell", "shielded-generation"],
    }


def _probabilistic_embedding(folder: Path, config: Mapping[str, Any]) -> Facts:
    import timm

    return {
        "backbone": config["backbone"],
        "dim": config["dim"],
        "image_size": config["image_size"],
        "classes": len(config.get("class_names") or []),
    }, {
        "library_name": "transformers",
        "pipeline_tag": "image-feature-extraction",
        "base_model": getattr(timm.get_pretrained_cfg(config["backbone"]), "hf_hub_id", None),
        "tags": ["probabilistic-embedding", "uncertainty", "image-retrieval", "metric-learning", "timm"],
    }


def _vmf_encoder(folder: Path, config: Mapping[str, Any]) -> Facts:
    generator = read_recipe(folder / RECIPE)["generator"]
    return {
        "dim": config["embedding_dim"],
        "input_dim": config["input_dim"],
        "lowest": generator["lowest_concentration"],
        "highest": generator["highest_concentration"],
    }, {
        "library_name": "transformers",
        "tags": ["vmf-encoder", "probabilistic-embedding", "uncertainty"],
    }


#: Task of a recipe -> facts for its template, and metadata for the Hub.
FACTS: dict[str, Callable[[Path, Mapping[str, Any]], Facts]] = {
    "class-conditional-generation": _generator,
    "failure-network": _failure_network,
    "image-uncertainty": _image_uncertainty,
    "probabilistic-embedding": _probabilistic_embedding,
    "vmf-encoder": _vmf_encoder,
}
