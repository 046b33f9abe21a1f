from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import StrictDataclassError

from hub_models.configuration_image_uncertainty import ImageUncertaintyConfig

READ_OUTS = {
    "error": {"inputs": ["pooled", "class_statistics"], "width": 8, "depth": 0, "members": 2},
    "transfer": {"inputs": ["stages"]},
}


def test_every_field_survives_saving(tmp_path: Path) -> None:
    config = ImageUncertaintyConfig(
        backbone="test_vit",
        backbone_kwargs={"img_size": 64},
        num_classes=10,
        stage_indices=[1, 3],
        read_outs=READ_OUTS,
        default_weights={"error": 0.25, "transfer": 0.75},
        image_size=64,
        reference_size=12,
        reference_name="photos",
    )
    config.save_pretrained(tmp_path)
    loaded = ImageUncertaintyConfig.from_pretrained(tmp_path)
    for field in ("backbone", "backbone_kwargs", "num_classes", "stage_indices", "read_outs"):
        assert getattr(loaded, field) == getattr(config, field)
    for field in ("default_weights", "image_size", "reference_size", "reference_name"):
        assert getattr(loaded, field) == getattr(config, field)
    assert loaded.model_type == "image_uncertainty"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"read_outs": {"a.b": {"inputs": ["pooled"]}}}, r"read_outs\['a\.b'\]: the name must be letters"),
        ({"read_outs": {"a": {"inputs": ["pooled"], "size": 1}}}, r"read_outs\['a'\] has unknown fields"),
        ({"read_outs": {"a": {}}}, r"read_outs\['a'\]\['inputs'\] is \[\]; choose from"),
        ({"read_outs": {"a": {"inputs": ["logits"]}}}, r"\['inputs'\] is \['logits'\]; choose from"),
        ({"read_outs": {"a": {"inputs": "pooled"}}}, r"\['inputs'\] is pooled; choose from"),
        ({"read_outs": {"a": {"inputs": ["class_statistics"]}}, "num_classes": 0}, "num_classes is 0"),
        ({"read_outs": {"a": {"inputs": ["pooled"], "width": 0}}}, "needs width and members of at least 1"),
        ({"read_outs": {"a": {"inputs": ["pooled"], "depth": -1}}}, "depth of at least 0"),
        ({"read_outs": {"a": {"inputs": ["pooled"], "members": "two"}}}, "'<' not supported"),
        ({"read_outs": {"a": {"inputs": ["pooled"]}}, "default_weights": {"b": 1.0}}, r"names \['b'\]"),
        ({"default_weights": {"b": 1.0}}, r"default_weights names \['b'\], read_outs \[\]"),
        ({"num_classes": "many"}, "num_classes"),
        ({"backbone": 3}, "backbone"),
    ],
)
def test_a_field_that_cannot_be_built_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(StrictDataclassError, match=message):
        ImageUncertaintyConfig(**fields)
