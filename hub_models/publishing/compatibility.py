"""Tiny exports of this version, one a family, for later versions to load.

``python -m hub_models.publishing.compatibility`` writes them to ``tests/compatibility/v<version>/``, once before each
release; a test loads all that were ever written. Each is a whole repository in source form, exported as users' are,
without the copies of the code (ours is what loads it) and in a zip, where weights that repeat a pattern take no space.
"""

from __future__ import annotations

import json
import sys
import tempfile
import zipfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from ..checkpoint_folder import open_checkpoint, save_checkpoint
from ..families import GENERATION
from ..manifest import read_manifest, write_manifest
from ..published_code import PACKAGE, closure
from ..repository import assemble
from ..zoo import is_generator
from .export_pipeline import export_generator
from .provenance import about_checkpoint

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

FOLDER = PACKAGE.parent / "tests" / "compatibility"
BACKBONE, SIDE = "test_efficientnet", 32
#: Not needed to load a repository with the library.
LEFT_OUT = ("*.py", "README.md", "LICENSE", "picture.png", "results.jsonl")
EPOCH = (2020, 1, 1, 0, 0, 0)
RECIPE = """\
name = "{task}"
task = "{task}"
summary = "A tiny model with made-up weights."
licence = "apache-2.0"
"""


def write_exports(target: Path) -> list[Path]:
    """One ``<task>.zip`` for each family and for generators; returns them."""
    import torch

    target.mkdir(parents=True, exist_ok=True)
    written = []
    with tempfile.TemporaryDirectory() as scratch:
        for task, make in MAKERS.items():
            root = Path(scratch, task)
            root.mkdir()
            torch.manual_seed(0)
            folder = _repository(make(root), root / "hub" / task)
            for path in (found for pattern in LEFT_OUT for found in folder.glob(pattern)):
                path.unlink()
            about = read_manifest(folder)
            del about["files"], about["recipe_sha256"]  # the recipe names a scratch folder
            write_manifest(folder, about)
            written.append(target / f"{task}.zip")
            _pack(folder, written[-1])
    return written


def _repository(checkpoint: Path, target: Path) -> Path:
    """As `hub-models export` writes it, but for the card, which no loader reads."""
    if is_generator(checkpoint):
        return export_generator(checkpoint, target.parent)
    opened = open_checkpoint(checkpoint)
    assemble(opened, target, about=about_checkpoint(checkpoint, closure(opened.family.entry_files)))
    return target


def _pack(folder: Path, target: Path) -> None:
    """A zip of the same bytes each time."""
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), EPOCH)
                archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED, 9)


def _fill(tensors: dict[str, torch.Tensor]) -> None:
    """Seven values in turn, of about the size that initial weights have; vectors are left as they are."""
    import torch

    for value in tensors.values():
        if value.ndim > 1:
            pattern = (torch.arange(value.numel()) % 7 - 3.0) / (2 * value[0].numel() ** 0.5)
            value.copy_(pattern.reshape(value.shape))


def _recipe(root: Path, task: str, **more: str) -> Path:
    path = root / "recipe.toml"
    fields = "".join(f"{name} = {json.dumps(value)}\n" for name, value in more.items())
    path.write_text(RECIPE.format(task=task) + fields, encoding="utf-8")
    return path


def _on_a_backbone(root: Path, task: str, make: Callable[[], PreTrainedModel]) -> Path:
    """A checkpoint of a model with a frozen backbone."""
    import timm
    from safetensors.torch import save_file

    from ..backbones import fill_backbone

    weights = root / "backbone.safetensors"
    state = timm.create_model(BACKBONE, pretrained=False).state_dict()
    _fill(state)
    save_file(state, weights)
    model = make()
    _fill(model.state_dict())
    fill_backbone(model.backbone, BACKBONE, str(weights))
    save_checkpoint(model.eval(), root / task, _recipe(root, task, backbone=BACKBONE, weights=str(weights)))
    return root / task


def _image_uncertainty(root: Path) -> Path:
    from ..configuration_image_uncertainty import ImageUncertaintyConfig
    from ..modeling_image_uncertainty import ImageUncertaintyModel

    read_outs = {
        "pooled": {"inputs": ["pooled"], "width": 4, "depth": 1, "members": 2},
        "transfer": {"inputs": ["stages"], "width": 4, "depth": 1, "members": 1},
    }
    config = ImageUncertaintyConfig(backbone=BACKBONE, image_size=SIDE, num_classes=0, read_outs=read_outs)
    return _on_a_backbone(root, "image-uncertainty", lambda: ImageUncertaintyModel(config))


def _probabilistic_embedding(root: Path) -> Path:
    from ..configuration_probabilistic_embedding import ProbabilisticEmbeddingConfig
    from ..modeling_probabilistic_embedding import ProbabilisticEmbeddingModel

    config = ProbabilisticEmbeddingConfig(
        backbone=BACKBONE, image_size=SIDE, dim=4, head_width=4, concentration_from="head"
    )
    return _on_a_backbone(root, "probabilistic-embedding", lambda: ProbabilisticEmbeddingModel(config))


def _failure_network(root: Path) -> Path:
    from ..modeling_failure_network import FailureNetworkModel

    model = FailureNetworkModel.from_edges(
        [("dust", "scratch", 0.5), ("heat", "scratch", 0.25), ("scratch", "leak", 0.75)],
        {"dust": 0.1, "heat": 0.05, "scratch": 0.01, "leak": 0.001},
        {"dust": "coating", "heat": "drying", "scratch": "drying", "leak": "housing"},
    )
    save_checkpoint(model, root / "failure-network", _recipe(root, "failure-network"))
    return root / "failure-network"


def _vmf_encoder(root: Path) -> Path:
    from ..configuration_vmf_encoder import VmfEncoderConfig
    from ..modeling_vmf_encoder import VmfEncoderModel

    model = VmfEncoderModel(VmfEncoderConfig(input_dim=3, embedding_dim=4, widths=[8, 5]))
    _fill(model.state_dict())
    save_checkpoint(model, root / "vmf-encoder", _recipe(root, "vmf-encoder"))
    return root / "vmf-encoder"


def _generator(root: Path) -> Path:
    import torch

    from ..generation.checkpoints import rounded, save_model
    from ..generation.flow_model import new_network
    from ..generation.recipe import NetworkRecipe
    from ..generation.train_flow import SHOWN_CONFIG

    network = new_network(NetworkRecipe(channels=[8, 8], attention=[]), channels=1, size=8, classes=2)
    _fill(network.state_dict())
    rounded(network.eval())
    inputs = {
        "sample": torch.linspace(-1, 1, 64).reshape(1, 1, 8, 8),
        "timestep": torch.tensor([500.0]),
        "class_labels": torch.tensor([1]),
    }
    with torch.no_grad():
        velocity = network(inputs["sample"], inputs["timestep"], class_labels=inputs["class_labels"]).sample
    config = {name: network.config[name] for name in SHOWN_CONFIG} | {"class_names": ["cat", "dog"]}
    golden = inputs | {"velocity": velocity}
    save_model(root / GENERATION, _recipe(root, GENERATION), config, network.state_dict(), golden, steps=0)
    return root / GENERATION


#: Task -> what makes a tiny checkpoint of it, in source form.
MAKERS: dict[str, Callable[[Path], Path]] = {
    GENERATION: _generator,
    "failure-network": _failure_network,
    "image-uncertainty": _image_uncertainty,
    "probabilistic-embedding": _probabilistic_embedding,
    "vmf-encoder": _vmf_encoder,
}


def main(arguments: list[str]) -> None:
    """Write this version's exports to the given folder, or where the tests look for them."""
    root = Path(arguments[0]) if arguments else FOLDER
    for path in write_exports(root / f"v{metadata.version('hub-models')}"):
        print(path)


if __name__ == "__main__":
    main(sys.argv[1:])
