"""`hub-models demo`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from .options import Json, print_json


def demo(
    output: Annotated[Path, typer.Option(help="Folder for pictures and summary.json.")] = Path("out/demo"),
    json_: Json = False,
) -> None:
    """Photos ranked by uncertainty and safe retrieval, a shielded generator, root causes of a fault."""
    from ..demo import run_demo

    summary = run_demo(output)
    if json_:
        print_json(dataclasses.asdict(summary))
        return
    median = summary.median_percentile
    shield, causes = summary.shield, summary.root_causes
    ranked = "\n".join(
        f"    {p:5.1%} [{low:.1%}, {high:.1%}]  {name}" for name, p, low, high in causes.causes[:3]
    )
    print(
        f"""
{summary.model} looked at {summary.images} images: {summary.photos} photos and degraded copies of each.

Median uncertainty, as the share of ordinary photos that are more certain:
    photos {median["photo"]:.0%}
    cropped {median["crop-mild"]:.0%} (mildly), {median["crop-severe"]:.0%} (severely)
    blurred {median["blur-mild"]:.0%}, {median["blur-severe"]:.0%}
    noisy   {median["noise-mild"]:.0%}, {median["noise-severe"]:.0%}
{summary.degraded_more_uncertain:.0%} of the severe copies are more uncertain than their own photo.
{summary.outside_reference:.0%} of the photos (textures, microscope, sky) are unlike ordinary ones, and flagged.

Which photo was a crop cut from? {summary.queries} queries:
    answering all of them:                  {summary.right:.0%} right
    answering the {summary.answered} that are certain enough: {summary.right_when_answered:.0%} right
    {summary.wrong_withheld} of the {summary.wrong} wrong answers were withheld.

{shield.model} learnt 64 digits by heart. The {shield.protected} that it would copy are protected:
    {shield.copies} of {shield.samples} images lie within the radius without it, {shield.copies_shielded} with it
    (nearest {shield.nearest:.2f} and {shield.nearest_shielded:.2f}, radius {shield.radius:.1f}; all pairs compared).

{causes.model}: {causes.failures} failures, {causes.relations} relations. Seen: {", ".join(causes.observed)}.
Root causes ({causes.method}, with 95 % intervals):
{ranked}
    Look next at: {causes.inspect_next}

Look at  {summary.files["ranking.png"]}
         {summary.files["retrieval.png"]}
         {summary.files["map.html"]}   (open in a browser)
         {shield.picture}
         {causes.picture}

Next:    .venv/bin/hub-models list
         .venv/bin/hub-models predict {summary.model} YOUR_PHOTO.jpg
         .venv/bin/hub-models map {summary.model} --images YOUR_FOLDER --output out/map
         .venv/bin/hub-models generate digits-flow --shield training --radius 6
         .venv/bin/hub-models failure template my_fmea.xlsx --semantics diez
"""
    )


COMMANDS = {"demo": demo}
