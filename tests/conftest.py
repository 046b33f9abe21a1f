"""What all tests share.

The environment is set before anything imports huggingface_hub, transformers or gradio: they read it once.
"""

from __future__ import annotations

import os
import tempfile

_HOME = tempfile.TemporaryDirectory(prefix="hub-models-tests-")
os.environ.update(
    GRADIO_ANALYTICS_ENABLED="False",
    HF_HOME=f"{_HOME.name}/huggingface",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HUB_OFFLINE="1",
    MPLBACKEND="Agg",
)
os.environ.setdefault("HUB_MODELS_CACHE", f"{_HOME.name}/cache")

from pathlib import Path  # noqa: E402

import pytest  # noqa: E402
import torch  # noqa: E402

from hub_models.paths import data_dir  # noqa: E402

torch.set_num_threads(2)

RECIPE = """\
name = "tiny"
task = "image-uncertainty"
summary = "A tiny model with random weights."
licence = "research-only"
backbone = "test_efficientnet"
weights = "{weights}"
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked ``data`` are skipped, with the reason, where the image sets are not at hand."""
    if data_dir() is None:
        skip = pytest.mark.skip(reason="HUB_MODELS_DATA is not set to a folder of image sets")
        for item in items:
            if item.get_closest_marker("data"):
                item.add_marker(skip)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint in source form with every kind of input: weights are random, all else as in a trained one.

    Its images are 64 pixels a side in the golden tensors, 160 in the image processor.
    """
    import timm
    from safetensors.torch import save_file

    from hub_models.assembly import new_model
    from hub_models.checkpoint_folder import save_checkpoint
    from hub_models.configuration_image_uncertainty import ImageUncertaintyConfig

    root = tmp_path_factory.mktemp("tiny")
    weights = root / "backbone.safetensors"
    torch.manual_seed(0)
    save_file(timm.create_model("test_efficientnet", pretrained=False).state_dict(), weights)
    config = ImageUncertaintyConfig(
        backbone="test_efficientnet",
        num_classes=1000,
        image_size=64,
        read_outs={
            "error": {"inputs": ["pooled", "class_statistics"], "width": 8, "depth": 1, "members": 2},
            "transfer": {"inputs": ["stages"], "width": 8, "depth": 1, "members": 1},
        },
        id2label={i: f"class {i}" for i in range(1000)},
    )
    model = new_model(config, str(weights))
    with torch.no_grad():
        features = model.extract(torch.randn(64, 3, 64, 64))
        model.reference.fit_read_outs(model.uncertainties(features))
        model.set_reference(features, name="noise")
    recipe = root / "recipe.toml"
    recipe.write_text(RECIPE.format(weights=weights), encoding="utf-8")
    save_checkpoint(model, root / "tiny", recipe)
    return root / "tiny"


@pytest.fixture(scope="session")
def tiny_repository(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The complete Hub repository of `tiny_checkpoint`. Read only: copy it to change it."""
    from hub_models.publishing.export import export

    return export(tiny_checkpoint, tmp_path_factory.mktemp("hub"))
