from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hub_models.evaluation import root_causes as suite
from hub_models.evaluation.results import Run
from hub_models.evaluation.suites import SUITES, run_suite
from hub_models.failure.checkpoint import train_failure_network
from hub_models.failure.table import read_table
from hub_models.noisy_or import NoisyOr
from hub_models.noisy_or_evidence import Evidence

#: Rare "dust" explains "drop" far better than frequent "wear"; "idle" can lead nowhere that is seen.
NETWORK = NoisyOr.from_edges(
    [("wear", "burr", 0.5), ("burr", "drop", 0.01), ("dust", "drop", 0.9), ("wear", "scratch", 0.9)],
    {"wear": 0.2, "dust": 0.05, "idle": 0.5, "burr": 0.01, "drop": 0.001, "scratch": 0.001},
)
PARTS = {
    "failures": "failure,process step,occurrence (Anna),severity,detection\n"
    "wear,slitting,8,2,2\ndust,slitting,6,9,9\nburr,slitting,8,4,4\ndrop,test,6,8,3\n",
    "relations": "cause,effect,trigger (Anna)\nwear,burr,5\nburr,drop,2\ndust,drop,9\n",
    "settings": "setting,value\nsemantics,diez\nstages,slitting > test\n",
}
RECIPE = 'name = "small"\ntask = "failure-network"\nsummary = "s"\nlicence = "apache-2.0"\n[data]\ntable = "table"\n'


def evidence(present: list[str], absent: list[str]) -> Evidence:
    return Evidence(NETWORK.positions(present), NETWORK.positions(absent))


def test_cascades_lead_from_root_causes_to_the_end() -> None:
    cascades = suite.draw_cascades(NETWORK, 200, 3)
    assert len(cascades) == 200
    last = {NETWORK.index["drop"], NETWORK.index["scratch"]}
    for each in cascades:
        assert len(each.seen.present) >= 1
        assert {*each.seen.present.tolist(), *each.seen.absent.tolist()} == last
        assert each.causes
        assert all(NETWORK.is_root[i] for i in each.causes)
        assert NETWORK.index["idle"] not in each.causes
    again = suite.draw_cascades(NETWORK, 200, 3)
    assert [each.causes for each in again] == [each.causes for each in cascades]


def test_only_causes_with_a_present_chain_are_right() -> None:
    state = np.isin(NETWORK.names, ["wear", "dust", "drop"])  # burr is absent: wear did not lead to drop
    seen = NETWORK.positions(["drop"])
    assert suite._led_to(NETWORK, state, seen) == {NETWORK.index["dust"]}
    state |= np.isin(NETWORK.names, ["burr"])
    assert suite._led_to(NETWORK, state, seen) == {NETWORK.index["dust"], NETWORK.index["wear"]}


def test_the_posterior_finds_what_the_prior_does_not() -> None:
    seen = evidence(["drop"], ["scratch"])
    assert suite.by_posterior(NETWORK, seen)[0] == NETWORK.index["dust"]
    assert [NETWORK.names[i] for i in suite.by_score(NETWORK, seen, NETWORK.leak)] == ["wear", "dust"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("root-causes")
    (folder / "table").mkdir()
    for name, text in PARTS.items():
        (folder / "table" / f"{name}.csv").write_text(text)
    (folder / "recipe.toml").write_text(RECIPE.replace('"table"', '"../table"'))
    train_failure_network(_recipe_in(folder), folder / "small")
    return folder / "small"


def _recipe_in(folder: Path) -> Path:
    """The recipe lies in a folder of its own, from which the table is one level up."""
    place = folder / "recipes"
    place.mkdir()
    return (folder / "recipe.toml").rename(place / "recipe.toml")


def test_risk_priority_numbers_are_products_of_the_ratings(checkpoint: Path) -> None:
    table = read_table(checkpoint.parent / "table")
    names = ("drop", "wear", "dust", "burr")
    network = NoisyOr.from_edges([], dict.fromkeys(names, 0.1))
    assert suite.risk_priority_numbers(network, table).tolist() == [
        8 * 6 * 3,
        2 * 8 * 2,
        9 * 6 * 9,
        4 * 8 * 4,
    ]


def test_the_suite_beats_the_rankings_without_inference(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "CASCADES", 60)
    assert SUITES["root-causes"].task == "failure-network"
    rounds = list(run_suite("root-causes", checkpoint, 2, "the command"))
    assert [results[0].seed for results in rounds] == [0, 1]
    for results in rounds:
        figures = {(each.metric, each.read_out): each for each in results}
        ours = figures["top cause right", ""]
        assert ours.n == 60
        assert ours.low < ours.value <= ours.high
        assert ours.value >= figures["top cause right", "prior"].value
        assert figures["right cause in top five", ""].value == 1.0
        lead = figures["top cause right minus prior", ""]
        assert lead.value == pytest.approx(ours.value - figures["top cause right", "prior"].value)


def test_a_certain_network_is_always_right() -> None:
    network = NoisyOr.from_edges(
        [(f"cause {i}", f"effect {i}", 1.0) for i in range(8)], {f"cause {i}": 0.1 for i in range(8)}
    )
    table = read_table_of_nothing()
    results = suite.root_cause_results(
        network, table, suite.draw_cascades(network, 40, 0), Run("m", "r", 0, "c")
    )
    figures = {(each.metric, each.read_out): each.value for each in results}
    assert figures["top cause right", ""] == 1.0


def read_table_of_nothing():  # type: ignore[no-untyped-def]
    """A table that rates none of the network's failures."""
    from ..failure.generated_tables import random_table

    return random_table(3, 0)
