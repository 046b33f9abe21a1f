"""The workbook that an engineer fills in: drop-downs, the scales, instructions and one worked example."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

from .ratings import (
    DEFAULT_OCCURRENCE_SCALE,
    DEFAULT_TRIGGER_SCALE,
    OCCURRENCE_SCALES,
    TRIGGER_SCALES,
    RatingScale,
)
from .records import Failure, FailureTable, Opinion, Place, Relation, Semantics
from .table_writing import Sheet, fill_sheet, save_workbook, workbook_of

QUESTIONS: dict[Semantics, str] = {
    "henrion": "If this cause is present and no other cause of the list is, in how many cases does the effect occur?",
    "diez": "If this cause is present, in how many cases does it trigger the effect by itself, all else aside?",
}
_STAGES = ("mixing", "coating", "calendering")
#: (failure, step, occurrence of each of two experts, severity, detection, comment)
_FAILURES = (
    ("Slurry viscosity too high", "mixing", (5, 6), 5, 3, "example: measured once a batch"),
    ("Air bubbles in slurry", "mixing", (4, 4), 4, 6, ""),
    (
        "Coating thickness uneven",
        "coating",
        (6, 6),
        6,
        4,
        "example: all causes together, also those not listed",
    ),
    ("Electrode density out of range", "calendering", (6, 7), 7, 4, ""),
)
_RELATIONS = (
    (
        "Slurry viscosity too high",
        "Coating thickness uneven",
        (8, 7),
        "thick slurry does not level in the die",
    ),
    ("Air bubbles in slurry", "Coating thickness uneven", (6, 6), "bubbles burst and leave craters"),
    (
        "Coating thickness uneven",
        "Electrode density out of range",
        (8, 9),
        "the gap of the rolls is constant",
    ),
)


def write_template(
    path: str | Path, semantics: Semantics, experts: Sequence[str] = ("Expert 1", "Expert 2")
) -> None:
    """Write the XLSX; `read_table` reads it, with the example or with your rows in its place.

    Args:
        semantics: which question the experts are asked, see `QUESTIONS`; it is stored in the sheet Settings.
        experts: names, at least one; each gets its columns.
    """
    workbook = workbook_of(_example(semantics, experts))
    sheet = workbook.create_sheet("Instructions", 0)
    lines: Sheet = [["How to fill in this workbook"]]
    lines += [[line] for line in _instructions(semantics)]
    fill_sheet(sheet, lines)
    sheet.column_dimensions["A"].width = 120
    save_workbook(workbook, Path(path))


def _instructions(semantics: Semantics) -> list[str]:
    return [
        "1. Sheet Failures: one row for each failure, its process step, and how often it occurs, all causes together.",
        "2. Sheet Relations: one row for each cause and effect; the names are offered once they stand in Failures.",
        f"3. The number of a relation answers: {QUESTIONS[semantics]}",
        "4. Each expert has a column and fills it in alone. Leave a cell empty rather than guess.",
        "5. The sheet Ratings says what 1 to 10 mean; change its probabilities if your plant knows better.",
        "6. Instead of a rating a probability can be given, in a column 'occurrence probability (NAME)'.",
        "7. A column 'trust (NAME)', 1 being usual, weighs the numbers of one row.",
        "8. Process steps run in the order in which they stand in Settings; add yours there.",
        "9. The rows that are there are an example: replace them.",
        "Then: hub-models failure check FILE",
    ]


def _example(semantics: Semantics, experts: Sequence[str]) -> FailureTable:
    occurrence = OCCURRENCE_SCALES[DEFAULT_OCCURRENCE_SCALE]
    trigger = TRIGGER_SCALES[DEFAULT_TRIGGER_SCALE]
    nowhere = Place("", 0)

    def opinions(ratings: tuple[int, ...], scale: RatingScale) -> tuple[Opinion, ...]:
        numbers = zip(experts, cycle(ratings), strict=False)
        return tuple(Opinion(who, scale.probability(rating), rating, 1.0, nowhere) for who, rating in numbers)

    return FailureTable(
        failures=tuple(
            Failure(name, step, opinions(ratings, occurrence), severity, detection, "", comment, nowhere)
            for name, step, ratings, severity, detection, comment in _FAILURES
        ),
        relations=tuple(
            Relation(cause, effect, opinions(ratings, trigger), reason, nowhere)
            for cause, effect, ratings, reason in _RELATIONS
        ),
        stages=_STAGES,
        semantics=semantics,
        occurrence_scale=occurrence,
        trigger_scale=trigger,
    )
