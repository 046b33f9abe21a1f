from __future__ import annotations

import http.server
import io
import json
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, pipeline

import hub_models
from hub_models.errors import CheckpointError, ImageReadError
from hub_models.modeling_image_uncertainty import ImageUncertaintyModel
from hub_models.pipeline_image_uncertainty import ImageUncertaintyPipeline


@pytest.fixture(scope="module")
def scorer(tiny_repository: Path) -> ImageUncertaintyPipeline:
    return pipeline(
        "image-uncertainty",
        model=hub_models.load(tiny_repository),
        image_processor=hub_models.load_image_processor(tiny_repository),
    )


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Five generated pictures of different sizes."""
    generator = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("photos")
    for i in range(5):
        pixels = generator.integers(0, 256, (4 + i, 5, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((200 + 10 * i, 180), Image.Resampling.BICUBIC).save(
            folder / f"{i}.png"
        )
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def address(photos: list[Path]) -> Iterator[str]:
    """The photos' folder as a web site on this machine."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(photos[0].parent))
    handler.func.log_message = lambda *arguments: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_result_is_the_models_output_in_plain_numbers(
    scorer: ImageUncertaintyPipeline, photos: list[Path], tiny_repository: Path
):
    result = scorer(str(photos[0]))
    processor = AutoImageProcessor.from_pretrained(tiny_repository)
    with torch.no_grad():
        output = scorer.model(**processor(Image.open(photos[0]), return_tensors="pt"))
    assert result["score"] == pytest.approx(output.uncertainty.item(), abs=1e-6)
    assert result["percentile"] == pytest.approx(output.uncertainty_percentile.item(), abs=1e-6)
    assert result["outside_reference"] is (output.reference_distance.item() > 1)
    assert result["uncertainties"] == {
        name: pytest.approx(value.item(), abs=1e-6) for name, value in output.uncertainties.items()
    }
    probabilities = output.logits[0].softmax(dim=0)
    assert [entry["label"] for entry in result["labels"]] == [
        f"class {i}" for i in probabilities.topk(5).indices
    ]
    assert result["labels"][0]["score"] == pytest.approx(probabilities.max().item(), abs=1e-6)
    json.dumps(result, allow_nan=False)


def test_every_kind_of_input_gives_the_same(
    scorer: ImageUncertaintyPipeline, photos: list[Path], address: str
):
    expected = scorer(str(photos[1]))
    assert scorer(photos[1]) == expected
    assert scorer(photos[1].read_bytes()) == expected
    assert scorer(Image.open(photos[1])) == expected
    assert scorer(f"{address}/{photos[1].name}") == expected


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_lists_and_batches_give_what_single_images_give(
    scorer: ImageUncertaintyPipeline, photos: list[Path], address: str, batch_size: int
):
    mixed = [str(photos[0]), Image.open(photos[1]), photos[2].read_bytes(), f"{address}/3.png", photos[4]]
    results = scorer(mixed, batch_size=batch_size)
    for result, photo in zip(results, photos, strict=True):
        single = scorer(photo)
        assert result["score"] == pytest.approx(single["score"], abs=1e-5)
        assert result["uncertainties"] == pytest.approx(single["uncertainties"], abs=1e-5)
        assert [entry["label"] for entry in result["labels"]] == [
            entry["label"] for entry in single["labels"]
        ]


def test_a_tuple_a_generator_and_an_empty_list(scorer: ImageUncertaintyPipeline, photos: list[Path]):
    expected = scorer(photos[:2])
    assert scorer(tuple(photos[:2])) == expected
    assert list(scorer(photo for photo in photos[:2])) == expected
    assert scorer([]) == []


def test_top_k_sets_how_many_labels(scorer: ImageUncertaintyPipeline, photos: list[Path]):
    assert len(scorer(photos[0], top_k=2)["labels"]) == 2
    assert len(scorer(photos[0], top_k=5000)["labels"]) == 1000


def test_an_unreadable_image_of_a_list_is_named(
    scorer: ImageUncertaintyPipeline, photos: list[Path], tmp_path: Path
):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"not an image")
    with pytest.raises(ImageReadError, match=r"broken\.jpg: not an image"):
        scorer([photos[0], broken])
    with pytest.raises(ImageReadError, match="image 1 of the list: not an image"):
        scorer([photos[0], b"not an image"])
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, "PNG")
    with pytest.raises(ImageReadError, match="image 0 of the list: is 1 x 1 pixels"):
        scorer([Image.open(buffer)])


def test_a_missing_page_is_named(scorer: ImageUncertaintyPipeline, address: str):
    with pytest.raises(ImageReadError, match=rf"{address}/none\.png: cannot be fetched .*404"):
        scorer(f"{address}/none.png")


def test_without_a_reference_there_is_no_percentile(scorer: ImageUncertaintyPipeline, photos: list[Path]):
    config = scorer.model.config
    bare = ImageUncertaintyPipeline(
        ImageUncertaintyModel(config).eval(), image_processor=scorer.image_processor
    )
    result = bare(photos[0])
    assert result["percentile"] is None
    assert result["outside_reference"] is False


def test_a_model_without_classifier_gives_no_labels(scorer: ImageUncertaintyPipeline, photos: list[Path]):
    config = type(scorer.model.config)(
        backbone="test_efficientnet", num_classes=0, read_outs={"transfer": {"inputs": ["stages"]}}
    )
    bare = ImageUncertaintyPipeline(
        ImageUncertaintyModel(config).eval(), image_processor=scorer.image_processor
    )
    assert all("labels" not in result for result in bare(photos[:3], batch_size=2))


def test_a_model_without_read_outs_is_refused(scorer: ImageUncertaintyPipeline):
    config = type(scorer.model.config)(backbone="test_efficientnet")
    with pytest.raises(CheckpointError, match="no uncertainty read-outs"):
        ImageUncertaintyPipeline(ImageUncertaintyModel(config), image_processor=scorer.image_processor)
