from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hub_models import zoo
from hub_models.errors import CheckpointError
from hub_models.image_sources import FileListSource, FolderSource
from hub_models.modeling_image_uncertainty import ImageUncertaintyModel
from hub_models.prediction import OutsideReferenceWarning, Prediction, PredictionError, Skipped, predict

from .generated_images import draw_image, memory_growth, write_images

pytestmark = pytest.mark.filterwarnings("ignore::hub_models.prediction.OutsideReferenceWarning")


@pytest.fixture
def model(tiny_checkpoint: Path) -> ImageUncertaintyModel:
    return zoo.load(tiny_checkpoint)


@pytest.fixture(scope="module")
def processor(tiny_checkpoint: Path):
    return zoo.load_image_processor(tiny_checkpoint)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"), 7)


def test_each_prediction_is_what_the_model_gives_for_the_image_alone(model, processor, images):
    source = FolderSource(images)
    predictions = list(predict(model, processor, source, batch_size=3))
    assert [p.name for p in predictions] == list(source.names)
    for prediction in predictions:
        pixels = processor(Image.open(images / prediction.name), return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            output = model(pixels)
        probabilities = output.logits.softmax(dim=1)
        np.testing.assert_allclose(prediction.embedding, output.pooler_output[0], rtol=1e-4, atol=1e-5)
        assert prediction.uncertainty == pytest.approx(output.uncertainty.item(), rel=1e-4, abs=1e-4)
        assert prediction.percentile == pytest.approx(output.uncertainty_percentile.item(), abs=1e-2)
        assert prediction.outside_reference == (output.reference_distance.item() > 1)
        assert set(prediction.uncertainties) == {"error", "transfer"}
        for name, value in prediction.uncertainties.items():
            assert value == pytest.approx(output.uncertainties[name].item(), rel=1e-4)
        assert prediction.label == probabilities.argmax().item()
        assert prediction.probability == pytest.approx(probabilities.max().item(), rel=1e-4)
        assert prediction.entropy == pytest.approx(
            -(probabilities * probabilities.log()).sum().item(), rel=1e-4
        )


def test_start_gives_the_rest(model, processor, images):
    source = FolderSource(images)
    whole = list(predict(model, processor, source, batch_size=4))
    rest = list(predict(model, processor, source, batch_size=4, start=5))
    assert [p.name for p in rest] == [p.name for p in whole[5:]]
    assert [p.uncertainty for p in rest] == pytest.approx([p.uncertainty for p in whole[5:]], rel=1e-4)
    assert list(predict(model, processor, source, start=7)) == []


def test_unreadable_images_are_skipped_with_a_reason_and_the_rest_of_the_batch_goes_through(
    model, processor, tmp_path
):
    write_images(tmp_path, 5)
    (tmp_path / "0001.png").write_bytes(b"not an image")
    (tmp_path / "0003.png").write_bytes((tmp_path / "0003.png").read_bytes()[:200])
    names = [tmp_path / f"{i:04d}.png" for i in range(5)] + [tmp_path / "missing.png"]
    results = list(predict(model, processor, FileListSource(names)))
    assert [type(r) for r in results] == [Prediction, Skipped, Prediction, Skipped, Prediction, Skipped]
    for result in results:
        if isinstance(result, Skipped):
            assert result.name in result.reason
    alone = list(predict(model, processor, FileListSource([names[4]])))
    assert results[4].uncertainty == pytest.approx(alone[0].uncertainty, rel=1e-4)


def test_a_batch_of_nothing_readable_is_no_obstacle(model, processor, tmp_path):
    write_images(tmp_path, 5)
    for i in (0, 1):
        (tmp_path / f"{i:04d}.png").write_bytes(b"")
    results = list(predict(model, processor, FolderSource(tmp_path), batch_size=2))
    assert [type(r) for r in results] == [Skipped, Skipped, Prediction, Prediction, Prediction]


def test_features_that_are_not_finite_name_their_image(model, processor, tmp_path):
    """Weights so large that every image but a black one overflows."""
    for number, image in enumerate([Image.new("RGB", (48, 48)), draw_image(0), draw_image(1)]):
        image.save(tmp_path / f"{number}.png")
    processor = type(processor)(**{**processor.to_dict(), "image_mean": [0.0] * 3, "image_std": [1.0] * 3})
    with torch.no_grad():
        model.backbone.conv_stem.weight.fill_(1e38)
    stream = predict(model, processor, FolderSource(tmp_path))
    with pytest.raises(PredictionError, match=r"^1\.png: .*NaN or infinity"):
        list(stream)


def test_a_model_without_read_outs_is_refused_at_once(model, processor, images):
    model.config.read_outs = None
    with pytest.raises(CheckpointError, match="read-outs"):
        predict(model, processor, FolderSource(images))


def test_without_reference_there_is_no_percentile(model, processor, images):
    model.reference.quantiles.fill_(torch.nan)
    model.reference.distance_limit.fill_(torch.nan)
    prediction = next(iter(predict(model, processor, FolderSource(images))))
    assert prediction.percentile is None
    assert not prediction.outside_reference


def test_one_warning_tells_the_share_outside_the_reference_and_the_next_step(model, processor, images):
    model.reference.distance_limit.fill_(1e-6)
    with pytest.warns(OutsideReferenceWarning, match=r"7 of 7 images \(100%\).*recalibrate") as caught:
        list(predict(model, processor, FolderSource(images), batch_size=2))
    assert len(caught) == 1


@pytest.mark.parametrize(("outside", "warned"), [(0, False), (1, False), (2, True)])
def test_a_share_that_may_be_chance_gives_no_warning(model, processor, tmp_path, outside, warned):
    """Of 20 images, one outside is within three standard deviations of 1 %, two are not."""
    source = FolderSource(write_images(tmp_path, 20))
    pixels = [
        processor(Image.open(tmp_path / name), return_tensors="pt")["pixel_values"] for name in source.names
    ]
    with torch.no_grad():
        distances = model(torch.cat(pixels)).reference_distance.sort(descending=True).values
        model.reference.distance_limit.mul_(
            distances[:1] * 1.01 if not outside else distances[outside - 1] * 0.9999
        )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        predictions = list(predict(model, processor, source))
    assert sum(p.outside_reference for p in predictions) == outside
    assert any(w.category is OutsideReferenceWarning for w in caught) == warned


def test_memory_does_not_grow_with_the_number_of_images(tiny_checkpoint):
    """800 inputs of 32 x 32 would be 10 MB, and their activations a hundred times that."""
    statement = "from hub_models.prediction import predict\nfor _ in predict(model, processor, source): pass"
    assert memory_growth(tiny_checkpoint, statement) < 8 * 1024
