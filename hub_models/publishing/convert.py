"""The checkpoints that the authors of Pretrained Visual Uncertainties released -> model repositories.

Theirs are state dicts of a fork of timm: the backbone under ``model.*``, the head under
``unc_module.unc_module.{0,2,4}.*``, perhaps a factor ``unc_scaler`` on its output. The head is ours, layer by layer:
linear layers with LeakyReLU between, softplus, + 1e-6, on the pre-logits.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..atomic import file_sha256
from ..backbones import eval_transform, image_processor
from ..errors import CheckpointError
from ..manifest import write_manifest
from ..repository import load_strictly, replace_folder

if TYPE_CHECKING:
    from torch import Tensor

    from ..configuration_image_uncertainty import ImageUncertaintyConfig

READ_OUT = "loss"
HEAD = "unc_module.unc_module."
SCALER = "unc_scaler"
#: Where timm's trainer puts a state dict, in the order in which timm's loader prefers them.
NESTED = ("state_dict_ema", "state_dict")
#: Our prefixes -> theirs.
PREFIXES = {"backbone.": "model.", f"heads.{READ_OUT}.members.0.": HEAD}


def convert_authors_checkpoint(path: Path, backbone: str, out: Path, sha256: str) -> Path:
    """Turn a released checkpoint into a folder that `hub_models.load` and ``AutoModel`` open.

    The read-out ``loss`` equals the authors' head without its factor; ``uncertainty`` is the logarithm of their
    number, factor included, so both rank images as theirs does. No reference is stored, so percentiles are NaN
    until ``hub-models recalibrate``.

    Args:
        path: the file, as ``torch.save`` wrote it. It is read with ``weights_only=True`` and only after its hash
            matched.
        backbone: the timm architecture it was trained on, such as ``vit_base_patch16_224.augreg_in21k``.
        out: folder to write, in one step; a model repository that is there already is replaced.
        sha256: of the file, from a source that you trust.

    Returns:
        ``out``.

    Raises:
        CheckpointError: the file is missing, has another hash, holds anything but tensors and plain values, or
            does not fit the backbone (every key is listed), or ``out`` holds something else.
        BackboneError: timm has no such architecture.
    """
    from ..modeling_image_uncertainty import ImageUncertaintyModel

    transform = eval_transform(backbone)
    state = _read(path, sha256)
    scaler = _pop_scaler(path, state)
    model = ImageUncertaintyModel(_configuration(path, backbone, state, transform["input_size"][1]))
    tensors = model.state_dict()
    names = {ours: theirs for ours in tensors if (theirs := _their_name(ours))}
    _require_same(path, backbone, {theirs: tensors[ours].shape for ours, theirs in names.items()}, state)
    for ours, theirs in names.items():
        tensors[ours].copy_(state[theirs])
    model.reference.location.fill_(-math.log(scaler))  # the default is log(uncertainty) - location
    with replace_folder(out) as folder:
        model.save_pretrained(folder)
        image_processor(backbone).save_pretrained(folder)
        write_manifest(folder, {"source": path.name, "source_sha256": sha256.lower()})
        load_strictly(folder)
    return out


def _read(path: Path, sha256: str) -> dict[str, Any]:
    import torch

    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; download the checkpoint first")
    actual = file_sha256(path)
    if actual != sha256.lower():
        raise CheckpointError(
            f"{path}: its sha256 is {actual}, not {sha256}; compare it with what the source of the file states"
        )
    try:
        # timm's trainer stores its options in this plain container of values; nothing else is let through.
        with torch.serialization.safe_globals([argparse.Namespace]):
            document = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the reader raise nearly anything
        raise CheckpointError(
            f"{path}: damaged, or holds other objects than tensors and plain values, which are not loaded because "
            "they could run code; get a file with only the state dict"
        ) from error
    if not isinstance(document, Mapping):
        raise CheckpointError(f"{path}: holds a {type(document).__name__}, no state dict")
    nested = (document[name] for name in NESTED if isinstance(document.get(name), Mapping))
    return {str(key): value for key, value in next(nested, document).items()}


def _pop_scaler(path: Path, state: dict[str, Any]) -> float:
    """The factor on the head's output; 1 where there is none."""
    found = {key: state.pop(key) for key in list(state) if key.split(".")[-1] == SCALER}
    try:
        factors = [float(value) for value in found.values()] or [1.0]
    except (TypeError, ValueError, RuntimeError):
        factors = []
    if len(factors) != 1 or not 0 < factors[0] < math.inf:
        raise CheckpointError(f"{path}: {', '.join(found)} must be one positive number; check the file")
    return factors[0]


def _their_name(ours: str) -> str | None:
    for prefix, theirs in PREFIXES.items():
        if ours.startswith(prefix):
            return theirs + ours.removeprefix(prefix)
    return None  # statistics and reference: theirs have none


def _configuration(
    path: Path, backbone: str, state: Mapping[str, Any], image_size: int
) -> ImageUncertaintyConfig:
    import timm
    import torch

    from ..configuration_image_uncertainty import ImageUncertaintyConfig

    strangers = [key for key, value in state.items() if not isinstance(value, torch.Tensor)]
    if strangers:
        raise CheckpointError(f"{path}: not tensors: {', '.join(strangers)}; is it a state dict?")
    layers = [key for key in state if key.startswith(HEAD) and key.endswith(".weight")]
    first = state.get(f"{HEAD}0.weight")
    if first is None or first.ndim != 2:
        raise CheckpointError(f"{path}: no uncertainty head ({HEAD}0.weight); is it a released checkpoint?")
    classifier = state.get(f"model.{timm.get_pretrained_cfg(backbone).classifier}.weight")
    spec = {"inputs": ["pooled"], "width": len(first), "depth": len(layers) - 1}
    return ImageUncertaintyConfig(
        backbone=backbone,
        num_classes=0 if classifier is None else len(classifier),
        read_outs={READ_OUT: spec},
        image_size=image_size,
    )


def _require_same(
    path: Path, backbone: str, expected: Mapping[str, tuple[int, ...]], state: Mapping[str, Tensor]
) -> None:
    misfits = {
        "missing": sorted(expected.keys() - state.keys()),
        "unexpected": sorted(state.keys() - expected.keys()),
        "misshapen": [
            f"{key} (file {list(state[key].shape)}, model {list(shape)})"
            for key, shape in sorted(expected.items())
            if key in state and state[key].shape != shape
        ],
    }
    if any(misfits.values()):
        lines = "".join(f"\n  {kind}: {', '.join(keys)}" for kind, keys in misfits.items() if keys)
        raise CheckpointError(f"{path}: does not fit backbone {backbone}; check its name{lines}")
