"""What a table says about itself: meaning of its numbers, scales, order of the process, trust in its experts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import cast, get_args

from ..errors import FailureTableError
from .cells import as_probability, as_rating, as_trust, text_of
from .columns import recognise
from .grids import Cell, Grid, Grids
from .ratings import (
    DEFAULT_OCCURRENCE_SCALE,
    DEFAULT_TRIGGER_SCALE,
    OCCURRENCE_SCALES,
    RATINGS,
    TRIGGER_SCALES,
    RatingScale,
    own_scale,
)
from .records import Place, Problem, Semantics

_KEYS = ("semantics", "occurrence scale", "trigger scale", "stages", "stage")
MEANINGS = (
    "'diez' (this cause alone triggers the effect, all else left out) or "
    "'henrion' (how often the effect occurs if this cause is present, unnamed causes included)"
)


@dataclass(frozen=True)
class Settings:
    """Of one table.

    Attributes:
        semantics: as stated, or None.
        stages: process steps in order; empty if the table does not list them. Listed as one setting ``stages``,
            "mixing > coating", or as one setting ``stage`` for each.
        occurrence_scale, trigger_scale: what ratings mean.
        trust: of experts by name; 1 for those not named.
    """

    semantics: str | None
    stages: tuple[str, ...]
    occurrence_scale: RatingScale
    trigger_scale: RatingScale
    trust: dict[str, float]


def read_settings(grids: Grids, problems: list[Problem]) -> Settings:
    """Collect the settings of a file; what is wrong with them is added to ``problems``."""
    stated: dict[str, tuple[str, Place | None]] = {
        _key(key): (value, None) for key, value in grids.settings.items()
    }
    stages = stated["stages"][0].split(">") if "stages" in stated else []
    for key, value, where in _stated(grids.named["settings"]) if "settings" in grids.named else ():
        stated[key] = (value, where)
        stages += [value] if key == "stage" else value.split(">") if key == "stages" else []
    for key, (_, place) in stated.items():
        if key not in _KEYS:
            near = get_close_matches(key, _KEYS, 1)
            expected = f"{near[0]!r}?" if near else "one of " + ", ".join(_KEYS)
            problems.append(Problem("setting", place, f"unknown setting {key!r}", expected, fatal=False))
    semantics = stated["semantics"][0].casefold() if "semantics" in stated else None
    own = _own_scales(grids.named["ratings"], problems) if "ratings" in grids.named else {}
    scales = {
        kind: own.get(kind) or _scale(kind, stated, known, default, problems)
        for kind, known, default in (
            ("occurrence", OCCURRENCE_SCALES, DEFAULT_OCCURRENCE_SCALE),
            ("trigger", TRIGGER_SCALES, DEFAULT_TRIGGER_SCALE),
        )
    }
    trust = _trust(grids.named["experts"], problems) if "experts" in grids.named else {}
    return Settings(
        semantics,
        tuple(dict.fromkeys(filter(None, map(text_of, stages)))),
        scales["occurrence"],
        scales["trigger"],
        trust,
    )


def decide_semantics(settings: Settings, given: str | None, problems: list[Problem]) -> Semantics:
    """What file and caller state; where they state nothing, or not the same, that is a fatal problem."""
    known = get_args(Semantics)
    if given is not None and given not in known:
        raise FailureTableError(f"semantics {given!r} is unknown; give {MEANINGS}")
    stated = settings.semantics
    if stated is not None and stated not in known:
        problems.append(Problem("semantics", None, f"setting semantics is {stated!r}", MEANINGS))
    elif stated is None and given is None:
        found = "the meaning of the relations' numbers is not stated"
        problems.append(
            Problem("semantics", None, found, f"the setting semantics (or --semantics): {MEANINGS}")
        )
    elif stated is not None and given is not None and stated != given:
        found = f"the file states the semantics {stated!r}, the call {given!r}"
        problems.append(Problem("semantics", None, found, "the same, or only one of them"))
    choice = given or stated
    return cast(Semantics, choice) if choice in known else "henrion"


def _stated(grid: Grid) -> Iterator[tuple[str, str, Place]]:
    index = {column.meaning: column.index for column in recognise(grid.headers)}
    key, value = index.get("setting", 0), index.get("value", 1)
    for number, row in grid.rows:
        if value < len(row) and text_of(row[key]) and text_of(row[value]):
            yield _key(text_of(row[key])), text_of(row[value]), Place(grid.name, number)


def _key(text: str) -> str:
    return " ".join(text.casefold().replace("_", " ").split())


def _scale(
    kind: str,
    stated: dict[str, tuple[str, Place | None]],
    known: dict[str, RatingScale],
    default: str,
    problems: list[Problem],
) -> RatingScale:
    name, place = stated.get(f"{kind} scale", (default, None))
    if name.casefold() not in known:
        found = f"unknown {kind} scale {name!r}"
        problems.append(Problem("setting", place, found, "one of " + ", ".join(known)))
    return known.get(name.casefold(), known[default])


def _own_scales(grid: Grid, problems: list[Problem]) -> dict[str, RatingScale]:
    """The scales of the sheet ``ratings``; a column that is left empty keeps the named scale."""
    columns = {column.meaning: column for column in recognise(grid.headers)}
    scales: dict[str, RatingScale] = {}
    for kind in ("occurrence", "trigger"):
        if kind not in columns or "rating" not in columns:
            continue
        values: dict[int, float] = {}
        place = Place(grid.name, grid.rows[0][0] if grid.rows else 1, columns[kind].header)
        try:
            for number, row in grid.rows:
                place = Place(grid.name, number, columns[kind].header)
                if row[columns[kind].index] is not None:
                    values[as_rating(row[columns["rating"].index])] = as_probability(row[columns[kind].index])
            if values:
                scales[kind] = own_scale(kind, [values[rating] for rating in RATINGS if rating in values])
        except (ValueError, FailureTableError) as error:
            problems.append(
                Problem(
                    "rating scale",
                    place,
                    f"no {kind} scale: {error}",
                    "probabilities increasing with 1 to 10",
                )
            )
    return scales


def _trust(grid: Grid, problems: list[Problem]) -> dict[str, float]:
    columns = {column.meaning: column for column in recognise(grid.headers)}
    trust: dict[str, float] = {}
    if "expert" not in columns:
        problems.append(Problem("missing column", Place(grid.name, 1), "no column 'expert'", "expert, trust"))
        return trust
    for number, row in grid.rows:
        value: Cell = row[columns["trust"].index] if "trust" in columns else None
        name = text_of(row[columns["expert"].index])
        try:
            trust[name] = 1.0 if value is None else as_trust(value)
        except ValueError as error:
            place = Place(grid.name, number, columns["trust"].header)
            problems.append(Problem("trust", place, f"{text_of(value)!r} is no trust", str(error)))
    return trust
