from __future__ import annotations

import csv
import io
import json
import shutil
import unicodedata
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openpyxl import Workbook, load_workbook

from hub_models.errors import FailureTableError
from hub_models.failure.records import (
    Failure,
    FailureTable,
    InvalidTableError,
    Opinion,
    Place,
    Problem,
    Relation,
)
from hub_models.failure.repair import opinions_of
from hub_models.failure.table import Reading, examine_table, read_table
from hub_models.failure.table_writing import sheets_of, write_table

from .generated_tables import OCCURRENCE, TRIGGER, plant, random_table, rated

HEADER = (
    "Process step",
    "Failure mode",
    "Effect",
    "Cause",
    "S",
    "O",
    "D",
    "Trigger",
    "Effect trigger",
    "Expert",
)
ROWS = (
    ("coating", "Größe uneven", "cell fails", "die worn", "7", "5", "3", "8", "6", "Anna"),
    ("coating", "Größe uneven", "cell fails", "slurry thick", "7", "4", "4", "6", "6", "Anna"),
    ("mixing", "slurry thick", "", "mixer slow", "", "3", "", "9", "", "Anna"),
)


def flat_csv(separator: str = ",", rows: tuple[tuple[str, ...], ...] = ROWS) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator="\r\n").writerows([HEADER, *rows])
    return text.getvalue()


def numbers(table: FailureTable) -> dict[str, list[tuple[str, int | None, float]]]:
    """Everything that experts said, wherever it stands."""
    found = {}
    for failure in table.failures:
        found[failure.name] = [(each.expert, each.rating, each.probability) for each in failure.occurrence]
    for relation in table.relations:
        key = f"{relation.cause} -> {relation.effect}"
        found[key] = [(each.expert, each.rating, each.probability) for each in relation.trigger]
    return found


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def problems_of(reading: Reading, kind: str) -> list[Problem]:
    return [problem for problem in reading.problems if problem.kind == kind]


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


def test_headers_of_a_public_example(tmp_path: Path) -> None:
    text = (
        "Fault_Root_Cause;Function;Failure_Mode;Fault_Effect;Severity_S;Occurrence_Probability_O;trigger;effect trigger\n"
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


def _workbook(path: Path, merge: bool = False, formula: str | None = None) -> Path:
    workbook = Workbook()
    workbook.active.append(["FMEA of coating"])
    workbook.active.append(list(HEADER))
    for row in ROWS:
        workbook.active.append([int(cell) if cell.isdigit() else cell or None for cell in row])
    if merge:
        for column in "ABC":
            workbook.active.merge_cells(f"{column}3:{column}4")
    if formula:
        workbook.active["F3"] = formula
    workbook.save(path)
    return path


def test_merged_cells_count_for_every_row(tmp_path: Path, reference: FailureTable) -> None:
    path = _workbook(tmp_path / "fmea.xlsx", merge=True)
    assert load_workbook(path).active["A4"].value is None
    assert numbers(read_table(path, "henrion")) == numbers(reference)


def test_a_formula_counts_with_its_stored_value(tmp_path: Path, reference: FailureTable) -> None:
    path = _workbook(tmp_path / "fmea.xlsx", formula="=2+3")
    (problem,) = problems_of(examine_table(path, "henrion"), "formula")
    assert problem.place == Place("Sheet", 3, "O")
    assert "without a stored value" in problem.found
    stored = tmp_path / "stored.xlsx"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(stored, "w") as target:
        for name in source.namelist():
            content = source.read(name).replace(b"<f>2+3</f><v />", b"<f>2+3</f><v>5</v>")
            target.writestr(name, content.replace(b"<f>2+3</f><v></v>", b"<f>2+3</f><v>5</v>"))
    assert numbers(read_table(stored, "henrion")) == numbers(reference)


def test_an_error_value_in_a_cell_is_a_problem(tmp_path: Path) -> None:
    workbook = load_workbook(_workbook(tmp_path / "fmea.xlsx"))
    workbook.active["F3"] = "#REF!"
    workbook.save(tmp_path / "error.xlsx")
    (problem,) = problems_of(examine_table(tmp_path / "error.xlsx", "henrion"), "formula")
    assert "#REF!" in problem.found


@pytest.mark.parametrize("ending", [".csv", ".xlsx", ".json"])
@pytest.mark.parametrize("content", [b"", b"\x00\x01\x02 binary"])
def test_files_that_are_not_tables(tmp_path: Path, ending: str, content: bytes) -> None:
    with pytest.raises(FailureTableError, match=f"fmea{ending}"):
        read_table(write(tmp_path / f"fmea{ending}", content), "diez")


def test_files_cut_short(tmp_path: Path) -> None:
    whole = _workbook(tmp_path / "whole.xlsx").read_bytes()
    with pytest.raises(FailureTableError, match="cut short"):
        read_table(write(tmp_path / "cut.xlsx", whole[: len(whole) // 2]), "diez")
    with pytest.raises(FailureTableError, match="cut short"):
        read_table(write(tmp_path / "cut.json", '[{"cause": "a", "eff'), "diez")
    quoted = 'cause,effect,trigger\na,b,5\nc,"b and'
    with pytest.raises(FailureTableError, match="cut short"):
        read_table(write(tmp_path / "quoted.csv", quoted), "diez")
    with pytest.raises(InvalidTableError, match="ends within this row, after 2 of 3 cells"):
        read_table(write(tmp_path / "cut.csv", "cause,effect,trigger\na,b,5\nc,b"), "diez")


def test_an_unknown_ending_a_missing_file_and_an_incomplete_folder(tmp_path: Path) -> None:
    with pytest.raises(FailureTableError, match="not from"):
        read_table(tmp_path / "fmea.pdf", "diez")
    with pytest.raises(FailureTableError, match="no such file"):
        read_table(tmp_path / "fmea.csv", "diez")
    write(tmp_path / "failures.csv", "failure\na\n")
    with pytest.raises(FailureTableError, match=r"failures\.csv and relations\.csv"):
        read_table(tmp_path, "diez")


@pytest.mark.parametrize("text", ["failure,occurrence\n", "cause,effect,trigger\n", "nothing,of\nuse,here\n"])
def test_tables_without_content(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidTableError):
        read_table(write(tmp_path / "fmea.csv", text), "diez")


BAD_NUMBERS = [
    ("occurrence", "11", "1 to 10"),
    ("occurrence", "0", "1 to 10"),
    ("occurrence", "0,3", "occurrence probability"),
    ("occurrence", "NaN", "a number"),
    ("occurrence", "often", "a number"),
    ("occurrence", "7-8", "a number"),
    ("occurrence", "1_0", "a number"),
    ("trigger", "-1", "1 to 10"),
    ("trigger", "inf", "a number"),
    ("occurrence probability", "1,5", "0 to 1"),
    ("occurrence probability", "-0.1", "0 to 1"),
    ("occurrence probability", "150 %", "0 to 1"),
    ("trigger probability", "nan", "a number"),
    ("trust", "0", "above 0"),
]


@pytest.mark.parametrize(("column", "cell", "expected"), BAD_NUMBERS)
def test_numbers_out_of_range(tmp_path: Path, column: str, cell: str, expected: str) -> None:
    header = ["cause", "effect", "occurrence", "trigger"]
    row = ["a", "b", "5", "5"]
    if column in header:
        row[header.index(column)] = cell
    else:
        header, row = [*header, column], [*row, cell]
    text = ";".join(header) + "\n" + ";".join(row) + "\n"
    (problem,) = problems_of(examine_table(write(tmp_path / "fmea.csv", text), "diez"), "number")
    assert problem.place == Place("fmea.csv", 2, column)
    assert repr(cell) in problem.found
    assert expected in problem.expected


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    write(tmp_path / "failures.csv", "failure,occurrence (A)\na,11\nb,5\n,4\nc,x\n")
    write(tmp_path / "relations.csv", "cause,effect,trigger (A)\na,bb,5\na,a,3\nb,,2\nb,c,0\n")
    with pytest.raises(InvalidTableError) as caught:
        read_table(tmp_path)
    kinds = sorted(problem.kind for problem in caught.value.problems)
    assert kinds == [
        *("no name", "no name", "no trigger", "number", "number", "number"),
        *("self-loop", "semantics", "unknown failure"),
    ]
    assert str(len(kinds)) in str(caught.value)


def test_one_expert_with_two_numbers(tmp_path: Path) -> None:
    text = "cause,effect,trigger,occurrence,expert\na,b,5,4,Anna\na,b,6,4,Anna\na,b,6,3,Ben\n"
    reading = examine_table(write(tmp_path / "fmea.csv", text), "diez")
    (problem,) = [each for each in reading.problems if each.fatal]
    assert problem.kind == "two numbers"
    assert problem.place == Place("fmea.csv", 3, "trigger")
    assert "'Anna' says 6 here, 5 in fmea.csv, row 2" in problem.found


def test_columns_twice_and_out_of_place(tmp_path: Path) -> None:
    text = "cause,effect,trigger,relation,setting,occurrence\na,b,5,6,x,4\n"
    reading = examine_table(write(tmp_path / "fmea.csv", text), "diez")
    assert [problem.fatal for problem in problems_of(reading, "column")] == [True, False]


def test_settings_scales_and_experts(tmp_path: Path) -> None:
    table = rated(random_table(12, 0, causes=1.5))
    write_table(table, tmp_path / "fmea")
    write(
        tmp_path / "fmea" / "settings.csv",
        "setting,value\nsemantics,Diez\noccurrence_scale,nonsense\nsemantic,x\nstages,step 0 > step 1\n",
    )
    write(tmp_path / "fmea" / "experts.csv", "expert,trust\nE0,3\nE1,-1\n")
    write(tmp_path / "fmea" / "ratings.csv", "rating,trigger\n1,0.5\n2,0.4\n")
    reading = examine_table(tmp_path / "fmea")
    kinds = {problem.kind for problem in reading.problems}
    assert {"setting", "trust", "rating scale", "unknown step"} <= kinds
    assert [p.expected for p in reading.problems if "'semantic'" in p.found] == ["'semantics'?"]


def test_own_scales_replace_the_named_ones(tmp_path: Path) -> None:
    write_table(rated(random_table(12, 0, causes=1.5)), tmp_path / "fmea")
    own = "rating;occurrence;trigger\n" + "".join(f"{r};{r / 1000:.3f};{r * 9} %\n" for r in range(1, 11))
    write(tmp_path / "fmea" / "ratings.csv", own.replace(".", ","))
    table = read_table(tmp_path / "fmea")
    assert table.occurrence_scale.probability(7) == pytest.approx(0.007)
    assert table.trigger_scale.probability(10) == pytest.approx(0.9)
    for opinion in table.failures[0].occurrence:
        assert opinion.probability == pytest.approx((opinion.rating or 0) / 1000)


def test_a_hundred_thousand_rows(tmp_path: Path) -> None:
    rows = "".join(f"step {i // 1000},f{i},f{i + 1},{i % 10 + 1},{i % 7 + 1},Anna\n" for i in range(100_000))
    text = "process step,cause,effect,trigger,occurrence,expert\n" + rows
    table = read_table(write(tmp_path / "fmea.csv", text), "diez")
    assert len(table.relations) == 100_000
    assert len(table.failures) == 100_001


FORMULAS = [
    "=1+1",
    '=HYPERLINK("http://x")',
    "+A1",
    "-2+3",
    "@SUM(A1)",
    "'=quoted",
    "'plain",
    "\uff1dcmd",
    "%x",
    "|y",
]


@pytest.mark.parametrize("ending", [".xlsx", ""])
def test_no_name_becomes_a_formula(tmp_path: Path, ending: str) -> None:
    table = random_table(len(FORMULAS), 0, causes=0)
    failures = tuple(replace(each, name=name) for each, name in zip(table.failures, FORMULAS, strict=True))
    relation = Relation(FORMULAS[0], FORMULAS[1], failures[0].occurrence, "=2", Place("", 0))
    table = replace(table, failures=failures, relations=(relation,))
    write_table(table, tmp_path / f"table{ending}")
    if ending:
        book = load_workbook(tmp_path / "table.xlsx")
        assert not [c for sheet in book for row in sheet.iter_rows() for c in row if c.data_type == "f"]
    else:
        cells = [
            cell
            for file in (tmp_path / "table").iterdir()
            for row in csv.reader(file.read_text().splitlines())
            for cell in row
        ]
        assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "%", "|", "\uff1d"))]
    again = read_table(tmp_path / f"table{ending}")
    assert [failure.name for failure in again.failures] == FORMULAS


# ---- hypothesis ----------------------------------------------------------------------------------------------------

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
