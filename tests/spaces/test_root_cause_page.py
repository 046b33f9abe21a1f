from __future__ import annotations

import importlib.util
import itertools
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from cause_graph import Node, draw_graph
from cause_page import diagnosis_page, nothing_left, paths_page, percent, problem_list
from cause_paths import MOST_FAILURES, Link, find_links, strongest_paths
from consistency_page import changes_page, findings_page, repair_labels, state_page
from failure_session import NothingLeftError, Session, stage_order
from openpyxl import load_workbook

from hub_models.errors import FailureNetworkError, FailureTableError
from hub_models.failure.records import InvalidTableError, Place, Problem
from hub_models.failure.table import read_table
from hub_models.failure.table_writing import write_table
from hub_models.modeling_failure_network import FailureNetworkModel
from hub_models.noisy_or import NoisyOr
from hub_models.noisy_or_evidence import read_evidence

from .conftest import SPACES

STAGES = {"wear": "slitting", "dust": "slitting", "burr": "slitting", "short": "ageing", "drop": "test"}
EDGES = [
    ("wear", "burr", 0.6),
    ("dust", "burr", 0.2),
    ("burr", "short", 0.5),
    ("dust", "short", 0.3),
    ("short", "drop", 0.8),
]
LEAK = {"wear": 0.1, "dust": 0.2, "burr": 0.05, "short": 0.02, "drop": 0.01}
TABLE = """\
failure,process step,occurrence probability (Anna)
wear,slitting,0.1
burr,slitting,{burr}
short,ageing,0.05
"""
RELATIONS = """\
cause,effect,trigger probability (Anna)
wear,burr,0.5
burr,short,0.3
"""
SETTINGS = "setting,value\nsemantics,diez\nstages,slitting > ageing\n"


@pytest.fixture
def session() -> Session:
    network = NoisyOr.from_edges(EDGES, LEAK, STAGES)
    return Session("small", network, stage_order(network), None)


def write_parts(folder: Path, burr: float = 0.01) -> Path:
    folder.mkdir()
    parts = {"failures": TABLE.format(burr=burr), "relations": RELATIONS, "settings": SETTINGS}
    for name, text in parts.items():
        (folder / f"{name}.csv").write_text(text)
    return folder


def by_enumeration(network: NoisyOr, observed: str) -> tuple[dict[tuple[str, str], float], dict[str, float]]:
    """P(cause triggered effect | observed) over all states and all ways in which each state can arise."""
    states = np.array(list(itertools.product([False, True], repeat=len(network))))
    states = states[states[:, network.index[observed]]]
    weight = np.exp(network.log_probability(states))
    weight /= weight.sum()
    links, unnamed = {}, {}
    for i, name in enumerate(network.names):
        edges = range(network.first[i], network.first[i + 1])
        total = dict.fromkeys([*edges, "leak"], 0.0)
        for state, w in zip(states, weight, strict=True):
            if not state[i]:
                continue
            ways = [(e, network.trigger[e]) for e in edges if state[network.cause[e]]]
            ways.append(("leak", network.leak[i]))
            on = 0.0
            fired_in = dict.fromkeys([way for way, _ in ways], 0.0)
            for fired in itertools.product([False, True], repeat=len(ways)):
                chance = np.prod([q if f else 1 - q for f, (_, q) in zip(fired, ways, strict=True)])
                if any(fired):
                    on += chance
                    for f, (way, _) in zip(fired, ways, strict=True):
                        fired_in[way] += chance if f else 0.0
            for way, chance in fired_in.items():
                total[way] += w * chance / on
        for e in edges:
            links[network.names[network.cause[e]], name] = total[e]
        if edges:
            unnamed[name] = total["leak"]
    return links, unnamed


def test_links_are_weighed_as_by_enumeration(session: Session):
    found = find_links(session.network, read_evidence(session.network, ["drop"], []), samples=40_000)
    links, unnamed = by_enumeration(session.network, "drop")
    assert {(link.cause, link.effect): link.probability for link in found.links} == pytest.approx(
        links, abs=0.015
    )
    assert found.unnamed == pytest.approx(unnamed, abs=0.015)


def test_paths_start_at_the_roots_and_end_at_what_was_observed():
    links = [
        Link("a", "m", 0.5, 0.5),
        Link("b", "m", 0.4, 0.4),
        Link("m", "end", 0.9, 0.9),
        Link("a", "end", 0.1, 0.1),
        Link("c", "other", 0.7, 0.7),
    ]
    paths = strongest_paths(links, ["a", "b"], ["end", "other", "lonely"])
    ways = [[path[0].cause, *(link.effect for link in path)] for path in paths]
    # "other" is reached by c, though that is not among the roots asked for
    assert sorted(ways) == [["a", "m", "end"], ["b", "m", "end"], ["c", "other"]]


def test_no_more_failures_are_drawn_than_can_be_read():
    links = [Link(f"cause {i}", "end", 0.02, 0.02) for i in range(60)]
    paths = strongest_paths(links, [f"cause {i}" for i in range(60)], ["end"])
    assert len(paths) == MOST_FAILURES - 1


def test_a_diagnosis_tells_cause_method_and_next_inspection(session: Session):
    diagnosis = session.diagnose(["drop"], ["burr"])
    assert [cause.name for cause in diagnosis.causes] == ["dust", "wear"]
    page = diagnosis_page(diagnosis)
    assert "Most probable root cause: dust" in page
    assert "Exact: summed over all states" in page
    assert "Look at next" in page
    assert diagnosis.remaining is None


def test_fixing_a_cause_tells_how_much_rarer_it_becomes(session: Session):
    fixed = session.diagnose(["drop"], fixed=["dust"])
    network = session.network
    before = session.diagnose(["drop"]).posterior.log_evidence
    states = np.array(list(itertools.product([False, True], repeat=len(network))))
    states = states[states[:, network.index["drop"]] & ~states[:, network.index["dust"]]]
    without = NoisyOr.from_edges(EDGES, LEAK | {"dust": 0.0})
    expected = np.exp(without.log_probability(states)).sum() / np.exp(before)
    assert fixed.remaining == pytest.approx((expected,) * 3)
    assert "dust" not in [cause.name for cause in fixed.causes]
    assert f"{1 - expected:.0%} less often" in diagnosis_page(fixed)


def test_a_fix_that_prevents_everything_is_good_news_and_contradictions_are_not():
    network = NoisyOr.from_edges([("a", "b", 0.5)], {"a": 0.1})
    session = Session("two", network, (), None)
    with pytest.raises(NothingLeftError):
        session.diagnose(["b"], fixed=["a"])
    assert "could not occur at all" in nothing_left(["<a>"])
    assert "<a>" not in nothing_left(["<a>"])
    with pytest.raises(FailureNetworkError, match="probability zero"):
        session.diagnose(["b"], ["a"], ["a"])
    with pytest.raises(FailureNetworkError, match="present and as absent"):
        session.diagnose(["b"], ["b"])
    with pytest.raises(FailureNetworkError, match="unknown"):
        session.diagnose(["c"])


def test_stages_run_from_left_to_right_and_no_box_covers_another(session: Session):
    assert session.stages == ("slitting", "ageing", "test")
    page = paths_page(session.diagnose(["drop"]), session)
    svg = ElementTree.fromstring(re.search(r"<svg.*</svg>", page)[0])
    assert "wear leads to burr leads to short leads to drop" in svg.attrib["aria-label"]
    boxes = {
        group.find("title").text.split(":")[0]: [
            float(group.find("rect").attrib[k]) for k in ("x", "y", "height")
        ]
        for group in svg.iter("g")
    }
    assert boxes["wear"][0] < boxes["burr"][0] < boxes["short"][0] < boxes["drop"][0]
    for (x, y, height), (x2, y2, _) in itertools.permutations(boxes.values(), 2):
        assert x != x2 or y2 < y or y2 >= y + height
    headings = [text.text for text in svg.iter("text") if text.attrib["class"] == "stage"]
    assert headings == ["slitting", "ageing", "test"]


def test_likelier_lines_are_wider_and_names_are_escaped():
    nodes = [Node(name, "", "between", "1%") for name in ("<a>", "b", "c")]
    svg = draw_graph(nodes, [Link("<a>", "c", 0.9, 1), Link("b", "c", 0.1, 1)], [], "a & b")
    widths = {
        line.find("title").text[:3]: float(line.attrib["stroke-width"])
        for line in ElementTree.fromstring(svg).iter("path")
    }
    assert widths["<a>"] > 3 * widths["b t"]
    assert "<a>" not in svg


def test_a_saved_network_is_opened_without_a_table(session: Session, tmp_path: Path):
    FailureNetworkModel.from_network(session.network).save_pretrained(tmp_path / "saved")
    opened = Session.open(tmp_path / "saved")
    assert opened.review is None
    assert opened.stages == session.stages
    assert opened.keeping([]) is opened
    before, after = (each.diagnose(["drop"]).posterior for each in (session, opened))
    assert [r.probability for r in after] == [r.probability for r in before]


def test_the_page_does_without_a_table(session: Session):
    spec = importlib.util.spec_from_file_location("root_cause_app", SPACES / "root_cause/app.py")
    app = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(app)
    config = str(app.build(session).config)
    assert "No table to check" in config
    assert "drop (test)" in config


def test_what_is_neither_table_nor_network_is_refused(tmp_path: Path):
    with pytest.raises(FailureTableError, match="no such file"):
        Session.open(tmp_path / "gone.csv")
    with pytest.raises(FailureTableError, match=r"\.pdf"):
        Session.open(tmp_path / "table.pdf")


def test_a_contradiction_is_shown_mended_rejected_and_written(tmp_path: Path):
    session = Session.open(write_parts(tmp_path / "table"))
    review = session.review
    assert review is not None
    assert "1 contradiction in table" in findings_page(review)
    assert "Already forced by: wear" in findings_page(review)
    assert [name for _, name in repair_labels(review)] == [each.what for each in review.repairs]
    assert "No contradiction is left" in state_page(review)
    assert "burr is stated at" in changes_page(review)
    again = read_table(review.write(tmp_path))
    assert again.failures[1].occurrence[0].probability == pytest.approx(
        review.repaired.failures[1].occurrence[0].probability
    )


def test_a_rejected_repair_is_kept_and_others_give_way(tmp_path: Path):
    session = Session.open(write_parts(tmp_path / "table"))
    assert session.review is not None
    assert "burr" in [each.what for each in session.review.repairs]
    without = session.keeping(["burr"])
    review = without.review
    assert review is not None
    assert ("kept: burr", "burr") in repair_labels(review)
    assert "burr" not in [each.what for each in review.repairs]
    assert "1 number is kept" in state_page(review)
    assert review.repaired.failures[1].occurrence == review.table.failures[1].occurrence
    moved = {each.what: abs(np.log(each.changes[0].new / each.changes[0].old)) for each in review.repairs}
    for each in session.review.repairs:
        if each.what != "burr":
            assert moved[each.what] > abs(np.log(each.changes[0].new / each.changes[0].old))
    before, after = (each.network.leak for each in (session, without))
    assert not np.array_equal(before, after)
    assert [each.what for each in without.keeping([]).review.repairs] == [
        each.what for each in session.review.repairs
    ]


def test_where_too_much_is_kept_the_last_network_stays(tmp_path: Path):
    session = Session.open(write_parts(tmp_path / "table"))
    stuck = session.keeping(["burr", "wear", "wear -> burr"])
    assert stuck.network is session.network
    assert stuck.review is not None
    assert "Not all contradictions can be mended" in state_page(stuck.review)
    assert "&#x27;burr&#x27;" in state_page(stuck.review)
    assert [label for label, _ in repair_labels(stuck.review)] == [
        "kept: burr",
        "kept: wear",
        "kept: wear -> burr",
    ]
    assert changes_page(stuck.review) == ""
    assert stuck.keeping(["burr"]).network is not session.network


def test_a_workbook_comes_back_marked_and_a_deleted_one_is_asked_for(tmp_path: Path):
    source = tmp_path / "mine.xlsx"
    write_table(read_table(write_parts(tmp_path / "parts")), source)
    review = Session.open(source).review
    assert review is not None
    folder = tmp_path / "out"
    folder.mkdir()
    workbook = load_workbook(review.write(folder))
    assert "Repair report" in workbook.sheetnames
    source.unlink()
    with pytest.raises(FailureTableError, match="upload it again"):
        review.write(folder)


def test_a_consistent_table_needs_no_repair(tmp_path: Path):
    review = Session.open(write_parts(tmp_path / "table", burr=0.1)).review
    assert review is not None
    assert "contradicts another" in findings_page(review)
    assert state_page(review) == changes_page(review) == ""


def test_all_problems_of_a_table_are_listed_and_escaped(tmp_path: Path):
    folder = write_parts(tmp_path / "table")
    with (folder / "relations.csv").open("a") as file:
        file.write("short,wear,0.1\nbur,short,0.2\n")
    with pytest.raises(InvalidTableError) as refused:
        Session.open(folder)
    page = problem_list("table", refused.value.problems)
    assert "wear -&gt; burr -&gt; short" in page or "cycle" in page
    assert "unknown failure &#x27;bur&#x27;" in page
    assert "<script>" not in problem_list("<script>", [Problem("x", Place("s", 1), "<script>", "<script>")])


@pytest.mark.parametrize(
    ("probability", "text"),
    [(0, "0.0%"), (1e-5, "&lt;0.1%"), (0.042, "4.2%"), (0.42, "42%"), (0.9999, "&gt;99.9%"), (1, "100%")],
)
def test_probabilities_get_as_many_digits_as_can_be_read(probability: float, text: str):
    assert percent(probability) == text


def test_choices_put_the_end_of_the_process_first(session: Session):
    assert session.choices()[0] == ("drop (test)", "drop")
    assert session.example() == ["drop"]
