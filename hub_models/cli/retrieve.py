"""``hub-models predict``, ``index``, ``retrieve``, ``map`` and ``recalibrate``."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import zoo
from ..errors import ImageSourceError
from .options import Json, Name, print_json
from .output import plain_warnings, report_skipped, skipped_records, stream_json

if TYPE_CHECKING:
    from transformers import BaseImageProcessor

    from ..image_sources import ImageSource
    from ..prediction import ImageModel, Skipped
    from ..retrieval import Gallery

Images = Annotated[Path, typer.Option(help="Folder of images, tar, or folder of a Parquet data set.")]
Queries = Annotated[list[Path], typer.Argument(help="Images, or folders of images.")]


class Kind(StrEnum):
    """Of an index; what they mean stands in `hub_models.retrieval.Index`."""

    exact = "exact"
    ivf = "ivf"
    hnsw = "hnsw"


def predict(
    name: Name,
    images: Queries,
    output: Annotated[
        Path | None,
        typer.Option(help="Write JSON lines to this file; run again to go on after an interruption."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Tell how uncertain a model is about images; any number of them, streamed."""
    from .. import prediction
    from .prediction_output import HEADER, as_line, as_record

    source = _open(images)
    model, processor = _load(name)
    if output is not None:
        _predict_to_file(name, model, processor, source, output, as_json)
        return
    skipped: list[Skipped] = []
    with plain_warnings():
        predictions = report_skipped(prediction.predict(model, processor, source), skipped)
        if as_json:
            records = (as_record(each, model) for each in predictions)
            stream_json({"model": name}, "images", records, lambda: {"skipped": skipped_records(skipped)})
        else:
            print(HEADER)
            for each in predictions:
                print(as_line(each, model))
    _require_some(len(source) - len(skipped), len(source))


def index(
    name: Name,
    images: Images,
    output: Annotated[Path, typer.Option(help="Folder of the gallery; an unfinished one is continued.")],
    kind: Annotated[
        Kind, typer.Option(help="exact; or ivf, hnsw: faster on large galleries, with measured recall.")
    ] = Kind.exact,
    as_json: Json = False,
) -> None:
    """Build a gallery of images for `hub-models retrieve`."""
    source = _open([images])
    model, processor = _load(name)
    gallery = _build(name, model, processor, source, output, kind)
    if as_json:
        print_json(
            {
                "gallery": output,
                "model": name,
                "images": len(gallery),
                "kind": gallery.kind,
                "recall_at_10": gallery.recall,
                "skipped": _skipped_of(gallery),
            }
        )
        return
    measured = "" if gallery.kind == "exact" else f", recall@10 {gallery.recall:.3f} of exact search"
    print(f"{output}: {len(gallery):,} images, {gallery.kind} index{measured}")
    print(f"next: hub-models retrieve {name} --gallery {output} IMAGE...")


def retrieve(
    name: Name,
    queries: Queries,
    gallery: Annotated[Path, typer.Option(help="Folder that `hub-models index` made.")],
    k: Annotated[int, typer.Option("-k", help="Neighbours of each query.")] = 5,
    abstain: Annotated[
        float | None,
        typer.Option(
            help="Withhold what is more uncertain than this share of the reference images; 0.9 if nothing is said."
        ),
    ] = None,
    per_class: Annotated[
        bool, typer.Option("--per-class", help="Measure by the gallery's images of the same class instead.")
    ] = False,
    credible: Annotated[
        float | None,
        typer.Option(
            help="Instead: all images in each query's credible region of this probability, such as 0.95; "
            "needs a probabilistic embedding. Without --json the first k are shown."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Find the nearest images of a gallery, and withhold what is too uncertain."""
    from .. import prediction
    from ..retrieval import Gallery
    from .answer_output import abstaining, credible_answers

    if credible is not None and (abstain is not None or per_class):
        raise typer.BadParameter(
            "--credible withholds nothing: an uncertain query gets a large set; leave out --abstain and --per-class"
        )
    opened = Gallery.open(gallery)
    source = _open(queries)
    model, processor = _load(name)
    opened.require_model(model, processor)
    answer = (
        abstaining(opened, model, k, 0.9 if abstain is None else abstain, per_class)
        if credible is None
        else credible_answers(opened, model, k, credible)
    )
    skipped: list[Skipped] = []
    with plain_warnings():
        predictions = report_skipped(prediction.predict(model, processor, source), skipped)
        if as_json:
            head = {"model": name, "gallery": str(gallery), **answer.settings}
            records = map(answer.record, predictions)
            stream_json(head, "queries", records, lambda: {"skipped": skipped_records(skipped)})
        else:
            for each in predictions:
                answer.show(each)
    _require_some(len(source) - len(skipped), len(source))


def draw_map(
    name: Name,
    images: Images,
    output: Annotated[Path, typer.Option(help="Folder for the page, the picture and the gallery.")],
    as_json: Json = False,
) -> None:
    """Draw a data set: similar images together, certain ones large and opaque."""
    from ..retrieval.map import lay_out
    from ..retrieval.map_page import save_page
    from ..retrieval.map_picture import save_picture

    source = _open([images])
    model, processor = _load(name)
    gallery = _build(name, model, processor, source, output / "gallery", Kind.exact)
    gallery_map = lay_out(gallery)
    page, picture = output / "map.html", output / "map.png"
    save_page(gallery_map, page, source)
    save_picture(gallery_map, picture)
    if as_json:
        print_json(
            {
                "page": page,
                "picture": picture,
                "shown": len(gallery_map.items),
                "images": len(gallery),
                "skipped": _skipped_of(gallery),
            }
        )
    else:
        print(f"shows {gallery_map.note}\n{page}\n{picture}")


def recalibrate(
    name: Name,
    images: Images,
    output: Annotated[
        Path | None, typer.Option(help="Folder for the new model; by default dist/hub/NAME-recalibrated.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a copy of a model whose percentiles refer to your own images."""
    from .. import recalibration

    source = _open([images])
    model, processor = _load(name)
    skipped = recalibration.recalibrate(model, processor, source, images.resolve().name)
    for item in skipped:
        print(f"skipped: {item.reason}", file=sys.stderr)
    target = output or zoo.DIST / f"{Path(name).resolve().name}-recalibrated"
    recalibration.save_recalibrated(model, zoo.resolve(name), target)
    size = model.config.reference_size
    if as_json:
        print_json(
            {
                "model": target,
                "reference_name": model.config.reference_name,
                "reference_size": size,
                "skipped": skipped_records(skipped),
            }
        )
    else:
        print(f"{target}: percentiles refer to {size:,} images of {images}")
        print(f"next: hub-models predict {target} IMAGE...")


def _load(name: str) -> tuple[ImageModel, BaseImageProcessor]:
    return zoo.load(name), zoo.load_image_processor(name)


def _open(paths: list[Path]) -> ImageSource:
    """One folder, tar or data set as it is; else every file that was named or lies in a named folder."""
    from ..image_sources import FileListSource, FolderSource, open_images

    if len(paths) == 1 and (paths[0].is_dir() or paths[0].suffix == ".tar"):
        return open_images(paths[0])
    files: list[Path] = []
    for path in paths:
        files += [path / inside for inside in FolderSource(path).names] if path.is_dir() else [path]
    return FileListSource(files)


def _predict_to_file(
    name: str,
    model: ImageModel,
    processor: BaseImageProcessor,
    source: ImageSource,
    output: Path,
    as_json: bool,
) -> None:
    from ..prediction import Skipped, predict
    from ..progress import progress_bar
    from .prediction_output import LinesFile, as_record

    lines = LinesFile(output, name, source.names)
    done = lines.resume()
    skipped = 0
    with plain_warnings(), progress_bar("predicting", len(source) - done) as advance:
        for item in predict(model, processor, source, start=done):
            if isinstance(item, Skipped):
                print(f"skipped: {item.reason}", file=sys.stderr)
                lines.append({"name": item.name, "skipped": item.reason})
                skipped += 1
            else:
                lines.append(as_record(item, model))
            advance(1)
    if as_json:
        print_json({"output": output, "images": len(source), "resumed_at": done, "skipped_now": skipped})
    else:
        new = len(source) - done
        print(f"{output}: {len(source):,} lines, {new:,} of them new, {skipped:,} of these skipped")


def _build(
    name: str,
    model: ImageModel,
    processor: BaseImageProcessor,
    source: ImageSource,
    directory: Path,
    kind: Kind,
) -> Gallery:
    from ..retrieval import build_gallery

    with plain_warnings():
        gallery = build_gallery(model, processor, source, directory, model_name=name, kind=kind.value)
    for reason in gallery.skipped.values():
        print(f"skipped: {reason}", file=sys.stderr)
    return gallery


def _skipped_of(gallery: Gallery) -> list[dict[str, str]]:
    return [{"name": name, "reason": reason} for name, reason in gallery.skipped.items()]


def _require_some(readable: int, total: int) -> None:
    if not readable:
        raise ImageSourceError(f"none of the {total} images can be read; see the reasons above")


COMMANDS = {
    "predict": predict,
    "index": index,
    "retrieve": retrieve,
    "map": draw_map,
    "recalibrate": recalibrate,
}
