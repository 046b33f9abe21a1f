from __future__ import annotations

import csv
import io
import json
import shutil
import unicodedata
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub_models.errors import FailureTableError
from hub_models.failure.records import (
    Failure,
    FailureTable,
    Opinion,
    Place,
    Relation,
)
from hub_models.failure.repair import opinions_of
from hub_models.failure.table import examine_table, read_table
from hub_models.failure.table_writing import sheets_of, write_table

from .generated_tables import OCCURRENCE, TRIGGER
from .worksheets import write

cells = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["5", "0,5", "70 %", "NaN", "1e999", "=A1", '"', "\n", ";", "a", "b", "1/0", "Anna", "10 - high"]
    ),
    st.integers(-5, 15).map(str),
)
headers = st.sampled_from(
    [
        "cause",
        "effect",
        "failure",
        "occurrence",
        "O (Anna)",
        "trigger",
        "trigger probability",
        "expert",
        "trust",
        "x",
    ]
)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_cells_give_a_table_or_reasons(tmp_path: Path, data: st.DataObject) -> None:
    width = data.draw(st.integers(1, 6))
    head = data.draw(st.lists(headers, min_size=width, max_size=width))
    rows = data.draw(st.lists(st.lists(cells, min_size=0, max_size=width + 1), max_size=6))
    separator = data.draw(st.sampled_from([",", ";", "\t"]))
    text = io.StringIO()
    csv.writer(text, delimiter=separator).writerows([head, *rows])
    path = write(tmp_path / "fmea.csv", text.getvalue().encode("utf-8", "surrogatepass"))
    _must_read_or_explain(path)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200), ending=st.sampled_from([".csv", ".json", ".xlsx"]))
def test_any_bytes_give_a_table_or_reasons(tmp_path: Path, content: bytes, ending: str) -> None:
    _must_read_or_explain(write(tmp_path / f"fmea{ending}", content))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
json_rows = st.lists(st.dictionaries(headers, values, max_size=5), max_size=4)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=json_rows | st.fixed_dictionaries({"failures": json_rows, "relations": json_rows}) | values)
def test_any_json_gives_a_table_or_reasons(tmp_path: Path, content: object) -> None:
    _must_read_or_explain(write(tmp_path / "fmea.json", json.dumps(content)))


def _must_read_or_explain(path: Path) -> None:
    try:
        reading = examine_table(path, "diez")
    except FailureTableError:
        return  # said in words; anything else fails the test
    assert reading.usable or all(problem.found and problem.expected for problem in reading.problems)
    if reading.usable:
        for opinion in opinions_of(reading.table):
            assert 0 <= opinion.probability <= 1
            assert opinion.rating is None or 1 <= opinion.rating <= 10
            assert opinion.trust > 0


printable = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn", "Co"]), min_size=1, max_size=15)
clean = printable.map(lambda text: " ".join(unicodedata.normalize("NFC", text).split())).filter(bool)


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    chosen=st.lists(clean, min_size=2, max_size=5, unique_by=str.casefold),
    given_ratings=st.lists(st.integers(1, 10), min_size=10, max_size=10),
    comment=clean | st.just(""),
    ending=st.sampled_from([".xlsx", ""]),
)
def test_valid_tables_come_back_as_they_were(
    tmp_path: Path, chosen: list[str], given_ratings: list[int], comment: str, ending: str
) -> None:
    def opinions(rating: int, kind: str) -> tuple[Opinion, ...]:
        scale = OCCURRENCE if kind == "occurrence" else TRIGGER
        place = Place("", 0)
        rated_one = Opinion("Anna", scale.probability(rating), rating, 1.0, place)
        return (rated_one, Opinion("Ben", rating / 16, None, rating / 4, place))

    failures = tuple(
        Failure(
            name,
            f"step > {k}",
            opinions(given_ratings[k], "occurrence"),
            k + 1,
            None,
            "",
            comment,
            Place("", 0),
        )
        for k, name in enumerate(chosen)
    )
    relations = tuple(
        Relation(chosen[0], name, opinions(given_ratings[5 + k], "trigger"), comment, Place("", 0))
        for k, name in enumerate(chosen[1:])
    )
    stages = tuple(failure.stage for failure in failures)
    table = FailureTable(failures, relations, stages, "henrion", OCCURRENCE, TRIGGER)
    path = tmp_path / f"table{ending}"
    shutil.rmtree(path, ignore_errors=True)
    write_table(table, path)
    again = read_table(path)
    assert sheets_of(again) == sheets_of(table)
