from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from hub_models.errors import FailureNetworkError
from hub_models.modeling_failure_network import FailureNetworkModel
from hub_models.noisy_or import NoisyOr
from hub_models.noisy_or_bif import parse_bif
from hub_models.noisy_or_evidence import Evidence
from hub_models.noisy_or_full_tables import BinaryTable, network_of, tables_of
from hub_models.noisy_or_interchange import present_state
from hub_models.noisy_or_posterior import infer

NOTHING = np.zeros(0, dtype=np.int64)

needs_pgmpy = pytest.mark.skipif(find_spec("pgmpy") is None, reason="pgmpy is not installed")
needs_pyagrum = pytest.mark.skipif(find_spec("pyagrum") is None, reason="pyagrum is not installed")


def model() -> FailureNetworkModel:
    edges = [("a b", "c, d", 0.3), ("a b", "e", 0.5), ("c, d", "e", 0.7), ("x", "e", 1.0)]
    leak = {"a b": 0.02, "x": 1e-6, "c, d": 0.01, "e": 0.0}
    return FailureNetworkModel.from_edges(edges, leak, {"a b": "mixing", "e": 'the "end"'})


def wide(causes: int) -> FailureNetworkModel:
    names = [f"c{i}" for i in range(causes)]
    return FailureNetworkModel.from_edges([(n, "effect", 0.1) for n in names], dict.fromkeys(names, 0.01))


def assert_same(a: NoisyOr, b: NoisyOr, tolerance: float = 1e-12) -> None:
    assert set(a.names) == set(b.names)

    def edges(network: NoisyOr) -> dict[tuple[str, str], float]:
        ends = zip(network.cause, network.effect, network.trigger, strict=True)
        return {(network.names[c], network.names[e]): q for c, e, q in ends}

    assert edges(a) == pytest.approx(edges(b), abs=tolerance)
    for name in a.names:
        assert a.leak[a.index[name]] == pytest.approx(b.leak[b.index[name]], abs=tolerance)
        assert a.stage(a.index[name]) == b.stage(b.index[name])


def example(name: str) -> Path:
    """A network that pgmpy ships, unpacked by the caller."""
    found = find_spec("pgmpy")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "utils" / "example_models" / f"{name}.bif.gz"


def unpacked(name: str, folder: Path) -> Path:
    path = folder / f"{name}.bif"
    path.write_bytes(gzip.decompress(example(name).read_bytes()))
    return path


def as_noisy_or(path: Path) -> NoisyOr:
    """Real structure and strengths: each table's leak and single-cause entries, its first state as absent."""
    variables = parse_bif(path)
    leak, edges = {}, []
    for name, variable in variables.items():
        values = variable.values[1]
        count = len(variable.causes)
        off = float(np.clip(values[(0,) * count], 1e-4, 0.5))
        leak[name] = off
        for k, cause in enumerate(variable.causes):
            alone = float(values[tuple(int(j == k) for j in range(count))])
            edges.append((cause, name, float(np.clip((alone - off) / (1 - off), 0.02, 0.98))))
    return NoisyOr.from_edges(edges, leak)


def test_bif_brings_back_names_stages_and_numbers(tmp_path: Path) -> None:
    model().to_bif(tmp_path / "network.bif")
    assert_same(FailureNetworkModel.from_bif(tmp_path / "network.bif").network, model().network)


@needs_pgmpy
def test_pgmpy_reads_our_bif(tmp_path: Path) -> None:
    from pgmpy.readwrite import BIFReader

    model().to_bif(tmp_path / "network.bif")
    network = BIFReader(str(tmp_path / "network.bif")).get_model()
    assert network.check_model()
    assert len(network.nodes) == 4
    assert len(network.edges) == 4
    assert_same_triggers(FailureNetworkModel.from_pgmpy(network).network, model().network)


@needs_pyagrum
def test_pyagrum_reads_our_bif(tmp_path: Path) -> None:
    import pyagrum

    model().to_bif(tmp_path / "network.bif")
    network = pyagrum.loadBN(str(tmp_path / "network.bif"))
    assert network.sizeArcs() == 4


def assert_same_triggers(a: NoisyOr, b: NoisyOr) -> None:
    np.testing.assert_allclose(np.sort(a.trigger), np.sort(b.trigger), atol=1e-4)
    np.testing.assert_allclose(np.sort(a.leak), np.sort(b.leak), atol=1e-4)


@needs_pgmpy
def test_pgmpy_and_back_is_the_same_network() -> None:
    network = model().to_pgmpy()
    assert network.check_model()
    bare = FailureNetworkModel.from_network(
        NoisyOr(model().network.names, model().network.cause, model().network.effect, *numbers(model()))
    )
    assert_same(FailureNetworkModel.from_pgmpy(network).network, bare.network)


def numbers(of: FailureNetworkModel) -> tuple[np.ndarray, np.ndarray]:
    return of.network.trigger, of.network.leak


@needs_pgmpy
def test_pgmpy_computes_the_same_posterior() -> None:
    from pgmpy.inference import VariableElimination

    engine = VariableElimination(model().to_pgmpy())
    answer = engine.query(["a b"], evidence={"e": "present"}, show_progress=False)
    expected = answer.get_value(**{"a b": "present"})
    assert model().posterior(["e"])["a b"].probability == pytest.approx(expected, abs=1e-12)


@needs_pyagrum
def test_pyagrum_computes_the_same_posterior() -> None:
    import pyagrum

    engine = pyagrum.LazyPropagation(model().to_pyagrum())
    engine.setEvidence({"e": 1})
    engine.makeInference()
    answer = model().posterior(["e"])
    for record in answer:
        assert engine.posterior(record.name)[1] == pytest.approx(record.probability, abs=1e-9)


@needs_pyagrum
def test_pyagrum_takes_as_many_causes_as_there_are() -> None:
    assert wide(40).to_pyagrum().sizeArcs() == 40


def test_networkx_and_back_is_the_same_network() -> None:
    assert_same(FailureNetworkModel.from_networkx(model().to_networkx()).network, model().network)


@pytest.mark.parametrize("lost", ["leak", "trigger"])
def test_a_graph_without_numbers_is_refused(lost: str) -> None:
    graph = model().to_networkx()
    data = graph.nodes["a b"] if lost == "leak" else graph.edges["a b", "e"]
    del data[lost]
    with pytest.raises(FailureNetworkError, match=f"'a b'.*no attribute {lost}"):
        FailureNetworkModel.from_networkx(graph)


def test_too_many_causes_for_tables_are_named(tmp_path: Path) -> None:
    assert len(tables_of(wide(15).network)) == 16
    with pytest.raises(FailureNetworkError, match=r"at most 15 causes .* 'effect \(16 causes\)'"):
        wide(16).to_bif(tmp_path / "network.bif")
    assert not (tmp_path / "network.bif").exists()


def test_a_table_that_is_no_noisy_or_is_named() -> None:
    exclusive = np.array([[0.0, 1.0], [1.0, 0.0]])
    tables = [BinaryTable(n, (), np.array(0.1)) for n in "ab"] + [BinaryTable("xor", ("a", "b"), exclusive)]
    with pytest.raises(FailureNetworkError, match=r"no[t]? a leaky noisy-OR: 'xor \(off by 1\)'"):
        network_of(tables)


@pytest.mark.parametrize(
    ("states", "message"),
    [(["low", "high"], "which state of 'n' means present"), (["a", "b", "c"], "has 3 states")],
)
def test_a_state_that_could_mean_either_is_asked_for(states: list[str], message: str) -> None:
    with pytest.raises(FailureNetworkError, match=message):
        present_state("n", states)
    assert present_state("n", ["low", "high"], {"n": "low"}) == 0
    assert present_state("n", ["True", "False"]) == 0
    with pytest.raises(FailureNetworkError, match="no state 'middle'"):
        present_state("n", ["low", "high"], {"n": "middle"})


@needs_pgmpy
@pytest.mark.parametrize(("name", "nodes", "arcs"), [("win95pts", 76, 112), ("andes", 223, 338)])
def test_real_files_are_read_as_pgmpy_reads_them(name: str, nodes: int, arcs: int, tmp_path: Path) -> None:
    from pgmpy.readwrite import BIFReader

    variables = parse_bif(unpacked(name, tmp_path))
    assert (len(variables), sum(len(v.causes) for v in variables.values())) == (nodes, arcs)
    reference = BIFReader(str(tmp_path / f"{name}.bif")).get_model()
    for cpd in reference.get_cpds()[::7]:
        found = variables[cpd.variable]
        np.testing.assert_allclose(found.values, cpd.values, atol=1e-9)
        assert found.causes == list(cpd.variables[1:])
        assert found.states == cpd.state_names[cpd.variable]


@needs_pgmpy
def test_a_real_network_that_is_no_noisy_or_is_refused_with_names(tmp_path: Path) -> None:
    with pytest.raises(FailureNetworkError, match=r"leaky noisy-OR|which state"):
        FailureNetworkModel.from_bif(unpacked("andes", tmp_path))


@needs_pgmpy
@needs_pyagrum
@pytest.mark.parametrize("name", ["win95pts", "andes"])
def test_on_real_structures_posteriors_are_those_of_pyagrum(name: str, tmp_path: Path) -> None:
    import pyagrum

    network = as_noisy_or(unpacked(name, tmp_path))
    chosen = np.random.default_rng(0).choice(np.flatnonzero(~network.is_root), 4, replace=False)
    evidence = Evidence(np.sort(chosen[:2]), np.sort(chosen[2:]))
    engine = pyagrum.LazyPropagation(FailureNetworkModel.from_network(network).to_pyagrum())
    engine.setEvidence({network.names[i]: int(i in evidence.present) for i in chosen})
    engine.makeInference()
    expected = np.array([engine.posterior(n)[1] for n in network.names])
    exact = np.array([record.probability for record in infer(network, evidence, exact=True)])
    np.testing.assert_allclose(exact, expected, atol=1e-9)
    sampled = infer(network, evidence, precision=0.01, exact=False, compiled=False)
    assert max(abs(r.probability - p) for r, p in zip(sampled, expected, strict=True)) < 0.023


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "declares no variable"),
        ("variable a { type discrete [ 2 ] { absent, present };", "cut short"),
        ("variable a { type discrete [ 2 ] { absent, present }; }", "a has no probabilities"),
        ("variable a { colour red; }", "no line 'type discrete"),
        (
            "variable a { type discrete [ 2 ] { absent, present }; } probability ( a ) { table 0.9; }",
            "1 probabilities in 'table', not 2",
        ),
        (
            "variable a { type discrete [ 2 ] { absent, present }; } probability ( a ) { table 0.9, 0.9; }",
            "do not sum to 1",
        ),
        (
            "variable a { type discrete [ 2 ] { absent, present }; } probability ( a ) { table 0.9, x; }",
            "no number",
        ),
        (
            "variable a { type discrete [ 2 ] { n, y }; } probability ( a | b ) { table 1, 0; }",
            "unknown variables",
        ),
    ],
)
def test_a_broken_file_is_refused_by_name(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.bif"
    path.write_text(text)
    with pytest.raises(FailureNetworkError, match=message) as caught:
        FailureNetworkModel.from_bif(path)
    assert "broken.bif" in str(caught.value) or "a" in str(caught.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.bif").write_bytes(bytes(range(256)))
    with pytest.raises(FailureNetworkError, match="cannot be read as text"):
        FailureNetworkModel.from_bif(tmp_path / "binary.bif")
    with pytest.raises(FailureNetworkError, match="cannot be read as text"):
        FailureNetworkModel.from_bif(tmp_path / "missing.bif")
