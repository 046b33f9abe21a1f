"""``hub-models generate``: images of one of our generators, shielded or kept apart on request."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .expected_errors import expected_errors
from .options import Json, print_json
from .shield_radius import protected_by

Generator = Annotated[str, typer.Argument(help="A generator of the zoo, such as digits-flow, or its folder.")]


def generate(
    name: Generator = "digits-flow",
    classes: Annotated[
        str, typer.Option("--class", help="Class names, comma separated; by default one of each.")
    ] = "",
    count: Annotated[int, typer.Option(min=1, help="Images of each class.")] = 1,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    steps: Annotated[int, typer.Option(min=1)] = 30,
    guidance: Annotated[float, typer.Option(help="Classifier-free guidance; 1 = none.")] = 1.0,
    shield: Annotated[
        str | None,
        typer.Option(help="What to stay away from: the folder of a reference set, or 'training'."),
    ] = None,
    radius: Annotated[float | None, typer.Option(help="Of the ball around each protected image.")] = None,
    intra_batch: Annotated[
        bool, typer.Option("--intra-batch", help="Keep images of one class apart from each other.")
    ] = False,
    output: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("out/generated"),
    json_: Json = False,
) -> None:
    """Generate images; with --shield, steered away from protected ones, and tell how near each came."""
    with expected_errors():
        records = _generate(name, classes, count, seed, steps, guidance, shield, radius, intra_batch, output)
    if json_:
        print_json({"radius": radius, "images": records})
        return
    for record in records:
        near = f", {record['distance']:.2f} from {record['nearest']}" if "distance" in record else ""
        acted = f", shield acted on {record['active_steps']} steps" if "active_steps" in record else ""
        print(f"{record['file']}{near}{acted}")


def _generate(
    name: str,
    classes: str,
    count: int,
    seed: int,
    steps: int,
    guidance: float,
    shield: str | None,
    radius: float | None,
    intra_batch: bool,
    output: Path,
) -> list[dict[str, Any]]:
    import torch

    from ..atomic import atomic_path
    from ..generation.checkpoints import load_pipeline
    from ..spell import attach_spell, report

    pipe = load_pipeline(name)
    known = pipe.config.id2label.values()
    labels = [label for label in (classes.split(",") if classes else known) for _ in range(count)]
    ids = pipe.get_label_ids(labels)
    protected = None if shield is None else protected_by(shield, name)
    if protected is not None or intra_batch:
        attach_spell(pipe, protected, radius, intra_batch=intra_batch, groups=ids if intra_batch else None)
    noises = [torch.Generator().manual_seed(seed + i) for i in range(len(ids))]
    images = pipe(ids, guidance_scale=guidance, num_inference_steps=steps, generator=noises).images
    output.mkdir(parents=True, exist_ok=True)
    reports = report(pipe).images if protected is not None else [None] * len(images)
    records: list[dict[str, Any]] = []
    for i, (label, image, told) in enumerate(zip(labels, images, reports, strict=True)):
        path = output / f"{i:03d}-{label}-seed{seed + i}.png"
        with atomic_path(path) as temporary:
            image.save(temporary, "PNG")
        record: dict[str, Any] = {"file": str(path), "class": label, "seed": seed + i}
        if told is not None:
            record |= {
                "distance": told.distance,
                "nearest": told.name or told.nearest,
                "inside": told.inside or bool(told.decoded_inside),
                "active_steps": told.active_steps,
            }
        records.append(record)
    return records


COMMANDS = {"generate": generate}
