from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from openpyxl import load_workbook

from hub_models.failure.table_writing import write_table

from ..failure.generated_tables import plant, random_table, rated
from .test_retrieve import invoke, run


@pytest.fixture(scope="module")
def workbook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table with contradictions. Read only."""
    path = tmp_path_factory.mktemp("failure") / "fmea.xlsx"
    write_table(plant(random_table(25, 2), 2, 2)[0], path)
    return path


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that was built. Read only."""
    folder = tmp_path_factory.mktemp("network")
    write_table(rated(random_table(25, 2)), folder / "table")
    run("failure", "build", folder / "table", "--output", folder / "net")
    return folder / "net"


def test_from_template_to_network(tmp_path: Path) -> None:
    path = tmp_path / "fmea.xlsx"
    head = invoke(
        "failure", "template", path, "--semantics", "henrion", "--expert", "Anna", "--expert", "Ben"
    )
    assert head["experts"] == ["Anna", "Ben"]
    out, _ = run("failure", "check", path)
    assert "0 contradictions" in out
    assert invoke("failure", "build", path, "--output", tmp_path / "net")["failures"] == 4
    answer = invoke("failure", "query", tmp_path / "net", "--present", "Electrode density out of range")
    assert answer["ranked"][0]["probability"] > answer["ranked"][0]["prior"]
    again = invoke("failure", "build", path, "--output", tmp_path / "net")  # a network is replaced
    assert again["relations"] == 3


def test_check_lists_contradictions_and_exits_with_one(workbook: Path) -> None:
    out, _ = run("failure", "check", workbook, status=1)
    assert out.count("contradiction: ") == 2
    assert "hub-models failure repair" in out
    found = json.loads(run("failure", "check", workbook, "--json", status=1)[0])
    assert found["usable"]
    assert len(found["consistency"]["findings"]) == 2
    assert {"stated", "implied", "low", "high", "method", "places"} <= found["consistency"]["findings"][
        0
    ].keys()


def test_check_lists_problems(tmp_path: Path) -> None:
    (tmp_path / "fmea.csv").write_text("cause,effect,trigger,occurrence\na,b,11,3\nb,a,2,3\n")
    out, _ = run("failure", "check", tmp_path / "fmea.csv", status=1)
    assert "fmea.csv, row 2, column 'trigger': '11'; expected a whole number from 1 to 10" in out
    assert "a cycle" in out
    assert "not stated" in out
    out, _ = run("failure", "check", tmp_path / "fmea.csv", "--semantics", "diez", status=1)
    assert "not stated" not in out


@pytest.mark.parametrize("method", ["optimised", "genetic"])
def test_repair_writes_a_consistent_copy_and_a_report(workbook: Path, tmp_path: Path, method: str) -> None:
    report, output = tmp_path / "report.html", tmp_path / "new.xlsx"
    arguments = ("--output", output, "--report", report, "--method", method)
    done = invoke("failure", "repair", workbook, *arguments)
    assert done["changes"]
    assert {"old", "new", "expert", "reason", "place"} <= done["changes"][0].keys()
    assert report.read_text().count("<tr>") == 1 + len(done["changes"])
    assert "Repair report" in load_workbook(output).sheetnames
    run("failure", "check", output)
    assert invoke("failure", "repair", output, "--output", tmp_path / "again.xlsx")["changes"] == []
    run("failure", "repair", workbook, "--output", tmp_path / "folder")
    run("failure", "check", tmp_path / "folder")


@pytest.mark.parametrize("method", ["optimised", "genetic"])
def test_repair_leaves_alone_what_is_to_be_kept(workbook: Path, tmp_path: Path, method: str) -> None:
    how = ("--method", method, "--output", tmp_path / "new.xlsx")
    rejected = invoke("failure", "repair", workbook, *how)["changes"][0]["what"]
    done = invoke("failure", "repair", workbook, *how, "--keep", rejected)
    assert done["kept"] == [rejected]
    assert rejected not in [change["what"] for change in done["changes"]]
    run("failure", "check", tmp_path / "new.xlsx")
    _, err = run("failure", "repair", workbook, *how, "--keep", "failure 999", status=2)
    assert "not in the table" in err


def test_build_refuses_contradictions_and_other_folders(workbook: Path, tmp_path: Path) -> None:
    _, err = run("failure", "build", workbook, "--output", tmp_path / "net", status=2)
    assert "hub-models failure repair" in err
    assert not (tmp_path / "net").exists()
    (tmp_path / "mine").mkdir()
    write_table(rated(random_table(10, 0)), tmp_path / "table")
    _, err = run("failure", "build", tmp_path / "table", "--output", tmp_path / "mine", status=2)
    assert "choose another folder" in err


def test_query_and_explain(network: Path) -> None:
    ranked = invoke("failure", "query", network, "--effects")["ranked"]
    observed = ranked[-1]["name"]
    answer = invoke("failure", "query", network, "--present", observed, "--precision", "0.05")
    assert answer["method"] == "exact"
    assert all(each["low"] <= each["probability"] <= each["high"] for each in answer["ranked"])
    out, _ = run("failure", "query", network, "--present", observed, "--top", "3")
    assert len(out.splitlines()) == 4
    told = invoke("failure", "explain", network, "--present", observed)
    assert observed in told["most_probable"]["present"]
    assert told["inspect_next"]
    assert told["hangs_on"]
    out, _ = run("failure", "explain", network, "--present", observed)
    assert "inspect next:" in out


def test_questions_that_have_no_answer(network: Path, tmp_path: Path) -> None:
    _, err = run("failure", "query", network, "--present", "failure 111", status=2)
    assert "nearest" in err
    _, err = run("failure", "query", network, "--present", "failure 1", "--absent", "failure 1", status=2)
    assert "error:" in err
    _, err = run("failure", "query", tmp_path / "nowhere", "--present", "x", status=2)
    assert "error:" in err


def test_help_needs_no_heavy_import() -> None:
    code = (
        "import sys; from hub_models import cli; "
        "sys.exit(bool({'torch', 'pandas', 'transformers', 'openpyxl'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
