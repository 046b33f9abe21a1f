from __future__ import annotations

import json
from pathlib import Path

import pytest

from hub_models.errors import FailureTableError
from hub_models.failure.records import (
    FailureTable,
    InvalidTableError,
    Place,
)
from hub_models.failure.repair import opinions_of
from hub_models.failure.table import examine_table, read_table
from hub_models.failure.table_writing import write_table

from .generated_tables import plant, random_table, rated
from .worksheets import HEADER, ROWS, flat_csv, numbers, problems_of, write


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> FailureTable:
    return read_table(write(tmp_path_factory.mktemp("reference") / "fmea.csv", flat_csv()), "henrion")


def test_a_classic_worksheet_becomes_failures_and_relations(reference: FailureTable) -> None:
    assert [failure.name for failure in reference.failures] == [
        "die worn",
        "Größe uneven",
        "cell fails",
        "slurry thick",
        "mixer slow",
    ]
    assert {(each.cause, each.effect): each.trigger[0].rating for each in reference.relations} == {
        ("die worn", "Größe uneven"): 8,
        ("slurry thick", "Größe uneven"): 6,
        ("mixer slow", "slurry thick"): 9,
        ("Größe uneven", "cell fails"): 6,
    }
    by_name = {failure.name: failure for failure in reference.failures}
    assert by_name["die worn"].occurrence[0].rating == 5  # of the cause
    assert by_name["die worn"].detection == 3  # of the cause
    assert by_name["cell fails"].severity == 7  # of the effect
    assert by_name["slurry thick"].stage == "mixing"  # its own row says so
    assert by_name["cell fails"].stage == "coating"  # known only from the row of its cause
    assert reference.semantics == "henrion"
    (repeated,) = [each for each in reference.relations if each.effect == "cell fails"]
    assert repeated.trigger[0].place == Place("fmea.csv", 2, "Effect trigger")
    assert repeated.trigger[0].repeated == (Place("fmea.csv", 3, "Effect trigger"),)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_separators_and_encodings(
    tmp_path: Path, reference: FailureTable, separator: str, encoding: str
) -> None:
    path = write(tmp_path / "fmea.csv", flat_csv(separator).encode(encoding))
    reading = examine_table(path, "henrion")
    assert numbers(reading.table) == numbers(reference)
    assert bool(problems_of(reading, "encoding")) == (encoding == "cp1252")


def test_two_encodings_in_one_file(tmp_path: Path, reference: FailureTable) -> None:
    first, second, *rest = flat_csv().encode().split(b"\r\n")
    foreign = second.decode().encode("cp1252")
    reading = examine_table(write(tmp_path / "fmea.csv", b"\r\n".join([first, foreign, *rest])), "henrion")
    assert numbers(reading.table) == numbers(reference)
    (problem,) = problems_of(reading, "encoding")
    assert problem.place == Place("fmea.csv", 2)
    assert not problem.fatal


def test_a_title_above_the_header_and_settings(tmp_path: Path, reference: FailureTable) -> None:
    text = "# semantics: henrion\r\nProcess FMEA;;;\r\nTeam: Anna, Ben;;;\r\n\r\n" + flat_csv(";")
    assert numbers(read_table(write(tmp_path / "fmea.csv", text))) == numbers(reference)


def test_aiag_vda_headers(tmp_path: Path, reference: FailureTable) -> None:
    vda = (
        "2. Process Step",
        "2. Failure Mode (FM)",
        "1. Failure Effects (FE)",
        "3. Failure Cause (FC)",
        "Severity (S) of FE",
        "Occurrence (O) of FC",
        "Detection (D) of FC/FM",
        "trigger rating",
        "effect_trigger",
        "Rated by",
    )
    text = flat_csv().replace(",".join(HEADER), ",".join(vda))
    plain = text.replace("1. ", "").replace("2. ", "").replace("3. ", "")
    assert numbers(read_table(write(tmp_path / "vda.csv", plain), "henrion")) == numbers(reference)


def test_cells_of_several_lines_and_rows_below_them(tmp_path: Path) -> None:
    text = 'cause,effect,trigger,occurrence\n"worn\nblade",burr,5,4\n\n"a, b",burr,6,44\n'
    reading = examine_table(write(tmp_path / "fmea.csv", text), "diez")
    assert [failure.name for failure in reading.table.failures] == ["worn blade", "burr", "a, b"]
    (problem,) = problems_of(reading, "number")
    assert problem.place == Place("fmea.csv", 4, "occurrence")  # as a spreadsheet counts


def test_headers_of_a_public_example(tmp_path: Path) -> None:
    text = (
        "Fault_Root_Cause;Function;Failure_Mode;Fault_Effect;Severity_S;Occurrence_Probability_O;"
        "trigger;effect trigger\n"
        "worn;coats;uneven;fails;7;3;5;6\n"
    )
    table = read_table(write(tmp_path / "peer.csv", text), "diez")
    assert table.failures[0].occurrence[0].rating == 3
    assert [each.effect for each in table.relations] == ["uneven", "fails"]


def test_german_decimal_commas_numbers_as_text_and_per_cent(tmp_path: Path) -> None:
    text = (
        "Ursache;Fehlerfolge;occurrence probability (Anna);trigger probability (Anna)\n"
        "a;b;0,002;70 %\n"
        "c;b;'0,5 %;1 in 2000\n"
        "b;;1/50;\n"
    )
    table = read_table(write(tmp_path / "fmea.csv", text), "diez")
    found = numbers(table)
    assert found["a"][0][2] == 0.002
    assert found["c"][0][2] == pytest.approx(0.005)
    assert found["a -> b"][0][2] == pytest.approx(0.7)
    assert found["c -> b"][0][2] == pytest.approx(0.0005)
    assert found["b"][0][2] == pytest.approx(0.02)


def test_the_meaning_of_numbers_is_never_guessed(tmp_path: Path) -> None:
    path = write(tmp_path / "fmea.csv", flat_csv())
    with pytest.raises(InvalidTableError, match="not stated"):
        read_table(path)
    stated = write(tmp_path / "stated.csv", "# semantics: diez\n" + flat_csv())
    assert read_table(stated).semantics == "diez"
    assert read_table(stated, "diez").semantics == "diez"
    with pytest.raises(InvalidTableError, match="'diez', the call 'henrion'"):
        read_table(stated, "henrion")
    with pytest.raises(InvalidTableError, match="setting semantics is 'both'"):
        read_table(write(tmp_path / "odd.csv", "# semantics: both\n" + flat_csv()))
    with pytest.raises(FailureTableError, match="unknown; give 'diez'"):
        read_table(path, "other")  # type: ignore[arg-type]


@pytest.mark.parametrize("semantics", ["diez", "henrion"])
@pytest.mark.parametrize("ending", [".xlsx", ""])
@pytest.mark.parametrize("ratings", [False, True])
def test_what_is_written_is_read(tmp_path: Path, ending: str, ratings: bool, semantics: str) -> None:
    table = plant(random_table(30, 0, semantics=semantics), 3, 0)[0]  # type: ignore[arg-type]
    table = rated(table) if ratings else table
    write_table(table, tmp_path / f"table{ending}")
    again = read_table(tmp_path / f"table{ending}")
    for old, new in zip(opinions_of(table), opinions_of(again), strict=True):
        assert new.probability == pytest.approx(old.probability, rel=1e-15)
        assert (new.expert, new.rating, new.trust) == (old.expert, old.rating, old.trust)
    assert again.semantics == table.semantics
    assert again.stages == table.stages
    assert [each.stage for each in again.failures] == [each.stage for each in table.failures]
    assert again.occurrence_scale == table.occurrence_scale
    assert again.trigger_scale == table.trigger_scale


def test_json_with_experts_as_objects_and_flat(tmp_path: Path, reference: FailureTable) -> None:
    content = {
        "settings": {"semantics": "henrion", "stages": ["mixing", "coating"]},
        "experts": [{"expert": "Anna", "trust": 2}],
        "failures": [
            {"failure": "a", "process step": "mixing", "occurrence": {"Anna": 5, "Ben": 6}},
            {"failure": "b", "process step": "coating", "occurrence": {"Anna": 6}, "severity": 7},
        ],
        "relations": [{"cause": "a", "effect": "b", "trigger probability": {"Ben": 0.25}, "reason": "why"}],
    }
    table = read_table(write(tmp_path / "fmea.json", json.dumps(content)))
    assert numbers(table) == {
        "a": [("Anna", 5, 5e-4), ("Ben", 6, 2e-3)],
        "b": [("Anna", 6, 2e-3)],
        "a -> b": [("Ben", None, 0.25)],
    }
    assert [each.trust for each in table.failures[0].occurrence] == [2.0, 1.0]
    rows = [dict(zip(HEADER, row, strict=True)) for row in ROWS]
    flat = read_table(write(tmp_path / "flat.json", json.dumps(rows)), "henrion")
    assert numbers(flat) == numbers(reference)
