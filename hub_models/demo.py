"""The demo: photos ranked by uncertainty and safe retrieval, a shielded generator, root causes in a battery factory.

Everything it shows is computed here, from what installed packages carry.
"""

from __future__ import annotations

import io
import json
import shutil
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from transformers import BaseImageProcessor

from .atomic import atomic_path, write_text
from .demo_failure import RootCauseSummary, run_root_cause_demo
from .demo_shield import ShieldSummary, run_shield_demo
from .image_sources import FolderSource, ImageSource, read_source_image
from .modeling_image_uncertainty import ImageUncertaintyModel
from .prediction import OutsideReferenceWarning, Prediction, predict
from .retrieval.abstention import AbstentionPolicy, Neighbours, SafeRetriever
from .retrieval.building import build_gallery
from .retrieval.map import lay_out
from .retrieval.map_page import save_page
from .retrieval.map_picture import save_picture
from .sample_photos import DEGRADATIONS, DegradedCopies, sample_photos
from .zoo import load, load_image_processor

MODEL = "uncertainty-efficientnet-lite0"
SEED = 0
#: Abstain from what is more uncertain than this share of the reference photos.
LEVEL = 0.9
#: How much of a photo its copies lose; each is cropped, blurred and made noisy at both severities.
SEVERITIES = {"mild": 0.1, "severe": 1.0}
PHOTO = "photo"
DEGRADATION_KINDS = tuple(f"{loss}-{severity}" for loss in DEGRADATIONS for severity in SEVERITIES)


@dataclass(frozen=True)
class Summary:
    """What ``summary.json`` holds; shares are 0 to 1.

    Attributes:
        median_percentile: kind of image (``photo`` or a degradation) -> median percentile of its uncertainty.
        degraded_more_uncertain: share of severely degraded copies that are more uncertain than their photo.
        right: share of cropped queries whose nearest neighbour is the photo they were cut from.
        answered: number of queries that were answered, the others were withheld.
        right_when_answered: as ``right``, among these.
        wrong, wrong_withheld: number of wrong answers, and of those among them that were withheld.
        outside_reference: share of the photos that are unlike those that percentiles refer to.
        shield, root_causes: what the other two parts found.
    """

    model: str
    photos: int
    images: int
    median_percentile: dict[str, float]
    degraded_more_uncertain: float
    queries: int
    right: float
    answered: int
    right_when_answered: float
    wrong_withheld: int
    wrong: int
    outside_reference: float
    files: dict[str, str]
    shield: ShieldSummary
    root_causes: RootCauseSummary


def run_demo(output: Path) -> Summary:
    """Run it all and write pictures, pages and ``summary.json`` below ``output``.

    Raises:
        BackboneError, MissingExtraError: a package of the demo extra is not installed.
    """
    model, processor = load(MODEL), load_image_processor(MODEL)
    photos = sample_photos()
    for stale in ("images", "gallery", "map"):  # of an earlier run, perhaps of another model
        shutil.rmtree(output / stale, ignore_errors=True)
    images = output / "images"
    write_copies(photos, images)
    source = FolderSource(images)
    with warnings.catch_warnings():
        # Textures and microscope photos are among the samples; the summary tells how many are unusual.
        warnings.simplefilter("ignore", OutsideReferenceWarning)
        return _run(model, processor, photos, source, output)


def _run(
    model: ImageUncertaintyModel,
    processor: BaseImageProcessor,
    photos: ImageSource,
    source: ImageSource,
    output: Path,
) -> Summary:
    from .demo_pictures import ranking_picture, retrieval_picture

    predictions = [p for p in predict(model, processor, source) if isinstance(p, Prediction)]
    ranking_picture(predictions, source, output / "ranking.png")

    gallery = build_gallery(
        model, processor, photos, output / "gallery", model_name=MODEL, show_progress=False
    )
    queries = [p for p in predictions if _kind(p).startswith("crop")]
    answers = SafeRetriever(gallery, gallery.index(), AbstentionPolicy(LEVEL)).query(queries, k=3)
    always = SafeRetriever(gallery, gallery.index(), AbstentionPolicy(1.0, applies_to="gallery")).query(
        queries, k=1
    )
    right = np.array([_stem(a.query.name) == _stem(a.neighbours[0].name) for a in always])
    retrieval_picture(answers, always, right, source, photos, output / "retrieval.png")

    everything = build_gallery(
        model, processor, source, output / "map", model_name=MODEL, show_progress=False
    )
    layout = lay_out(everything, seed=SEED)
    save_page(layout, output / "map.html", source)
    save_picture(layout, output / "map.png")

    summary = _summarise(predictions, answers, right, len(photos), output)
    write_text(output / "summary.json", json.dumps(asdict(summary), indent=2) + "\n")
    return summary


def write_copies(photos: ImageSource, folder: Path) -> None:
    """Each photo as ``<folder>/photo/<name>.png``, copies as ``<folder>/<loss>-<severity>/<name>.png``."""
    for index, name in enumerate(photos.names):
        _write(folder / PHOTO / f"{name}.png", _as_png(read_source_image(photos, index)))
    for label, severity in SEVERITIES.items():
        copies = DegradedCopies(photos, severity)
        for index, copy in enumerate(copies.names):
            name, loss = copy.split(", ")
            _write(folder / f"{loss}-{label}" / f"{name}.png", copies.read_bytes(index))


def _summarise(
    predictions: list[Prediction], answers: list[Neighbours], right: np.ndarray, photos: int, output: Path
) -> Summary:
    percentiles: dict[str, list[float]] = {}
    for p in predictions:
        percentiles.setdefault(_kind(p), []).append(p.percentile or 0.0)
    whole = {_stem(p.name): p.uncertainty for p in predictions if _kind(p) == PHOTO}
    severe = [p.uncertainty > whole[_stem(p.name)] for p in predictions if _kind(p).endswith("severe")]
    answered = np.array([a.abstained is None for a in answers])
    return Summary(
        model=MODEL,
        photos=photos,
        images=len(predictions),
        median_percentile={kind: float(np.median(v)) for kind, v in sorted(percentiles.items())},
        degraded_more_uncertain=float(np.mean(severe)),
        queries=len(answers),
        right=float(right.mean()),
        answered=int(answered.sum()),
        right_when_answered=float(right[answered].mean()) if answered.any() else float("nan"),
        wrong_withheld=int((~right & ~answered).sum()),
        wrong=int((~right).sum()),
        outside_reference=float(np.mean([p.outside_reference for p in predictions if _kind(p) == PHOTO])),
        files={name: str(output / name) for name in ("ranking.png", "retrieval.png", "map.html", "map.png")},
        shield=run_shield_demo(output),
        root_causes=run_root_cause_demo(output),
    )


def _kind(prediction: Prediction) -> str:
    return prediction.name.split("/")[0]


def _stem(name: str) -> str:
    return Path(name).stem


def _as_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _write(path: Path, content: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
