"""A teaching FMEA of lithium-ion cell production, its planted contradictions, and a version grown for scale."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

from hub_models.failure.build import build_network
from hub_models.failure.records import FailureTable
from hub_models.failure.repair import repair
from hub_models.failure.synthetic import grow
from hub_models.failure.synthetic_tables import elicited
from hub_models.failure.table import read_table
from hub_models.failure.table_writing import sheets_of

HERE = Path(__file__).parent
FEATURES = None  # each table has columns of its own: they follow from its rows
GROWN_FAILURES, GROWN_RELATIONS, SEED = 600, 2_100, 4


def splits(data: Path) -> dict[str, Callable[[], Iterator[dict]]]:
    """All is in this folder; ``data``, where other sets find their images, is not looked at."""
    return {
        "failures": lambda: _rows(read_table(HERE), "Failures"),
        "relations": lambda: _rows(read_table(HERE), "Relations"),
        "contradictions": _contradictions,
        "grown_600_failures": lambda: _rows(grown(), "Failures"),
        "grown_600_relations": lambda: _rows(grown(), "Relations"),
    }


def grown() -> FailureTable:
    """The repaired network, grown to the order of the paper's, rated anew without contradictions."""
    network = build_network(repair(read_table(HERE)).after)
    return elicited(grow(network, GROWN_FAILURES, GROWN_RELATIONS, SEED), seed=SEED)


def _rows(table: FailureTable, sheet: str) -> Iterator[dict]:
    """A sheet in the columns that `read_table` knows, without those that are empty."""
    headers, *rows = sheets_of(table)[sheet]
    columns = zip(*rows, strict=True)
    used = [header for header, column in zip(headers, columns, strict=True) if any(column)]
    for row in rows:
        cells = dict(zip(headers, row, strict=True))
        yield {header: cells[header] for header in used}


def _contradictions() -> Iterator[dict]:
    with (HERE / "contradictions.csv").open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)
