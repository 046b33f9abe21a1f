from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hub_models.configuration_failure_network import FailureNetworkConfig
from hub_models.errors import FailureNetworkError
from hub_models.modeling_failure_network import FailureNetworkModel

from .random_failure_networks import enumerated, random_evidence, random_network

EDGES = [
    ("slurry too thick", "coating uneven", 0.4),
    ("pump worn", "slurry too thick", 0.3),
    ("pump worn", "coating uneven", 0.1),
    ("coating uneven", "low capacity", 0.7),
]
LEAK = {"pump worn": 0.02, "slurry too thick": 0.01, "coating uneven": 1e-3, "low capacity": 5e-6}
STAGES = {"pump worn": "mixing", "slurry too thick": "mixing", "coating uneven": "coating"}


def battery() -> FailureNetworkModel:
    return FailureNetworkModel.from_edges(EDGES, LEAK, STAGES, source="a test")


def test_saved_and_loaded_it_is_the_same_to_the_last_bit(tmp_path: Path) -> None:
    model = battery()
    model.save_pretrained(tmp_path)
    loaded = FailureNetworkModel.from_pretrained(tmp_path)
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == loaded.state_dict()[name].dtype
        assert torch.equal(tensor, loaded.state_dict()[name])
    assert loaded.network.names == model.network.names
    assert loaded.network.stages == ("mixing", "mixing", "coating", "")
    assert loaded.config.source == "a test"
    assert loaded.posterior(["low capacity"]).records == model.posterior(["low capacity"]).records


def test_records_answer_what_caused_it() -> None:
    answer = battery().posterior(present=["low capacity"], absent=["slurry too thick"])
    truth, chance = enumerated(
        battery().network,
        type(random_evidence(battery().network, 0, 0, 0))(np.array([3]), np.array([1])),
    )
    assert answer.method == "exact"
    assert answer.log_evidence == pytest.approx(np.log(chance))
    np.testing.assert_allclose([record.probability for record in answer], truth, atol=1e-12)
    assert answer.ranked()[0].name == "pump worn"
    table = answer.to_pandas()
    assert list(table.columns[:5]) == ["name", "probability", "low", "high", "stage"]
    assert table.set_index("name").probability["pump worn"] == pytest.approx(truth[0])


def test_forward_answers_many_rows_at_once() -> None:
    network = random_network(10, 2)
    model = FailureNetworkModel.from_network(network)
    evidence = random_evidence(network, 2, 2, 0)
    rows = torch.full((2, 10), -1)
    rows[0, evidence.present], rows[0, evidence.absent] = 1, 0
    output = model(rows, samples=20_000)
    assert {name: tuple(value.shape) for name, value in output.items()} == {
        "probability": (2, 10),
        "log_evidence": (2,),
        "effective_samples": (2,),
    }
    truth, chance = enumerated(network, evidence)
    np.testing.assert_allclose(output.probability[0].numpy(), truth, atol=0.03)
    assert float(output.log_evidence[0]) == pytest.approx(np.log(chance), abs=0.05)
    assert torch.equal(output.probability, model(rows, samples=20_000).probability)


@pytest.mark.parametrize("rows", [torch.zeros(4), torch.zeros(2, 3), torch.full((1, 4), 2)])
def test_forward_refuses_evidence_that_does_not_fit(rows: torch.Tensor) -> None:
    with pytest.raises(FailureNetworkError, match="evidence"):
        battery()(rows)


def test_interventions_differ_from_observations() -> None:
    model = battery()
    repaired = model.do(absent=["slurry too thick"])
    seen = model.posterior(absent=["slurry too thick"])["pump worn"].probability
    assert seen < 0.02
    assert repaired.posterior()["pump worn"].probability == pytest.approx(0.02)
    assert repaired.posterior()["coating uneven"].probability == pytest.approx(1 - 0.999 * (1 - 0.002))
    assert model.do(present=["pump worn"]).posterior()["pump worn"].probability == 1
    assert model.posterior()["slurry too thick"].probability > 0.01


def test_the_other_questions_are_answered_by_name() -> None:
    model = battery()
    explanation = model.most_probable_explanation(["low capacity"])
    assert explanation.exact
    assert {"coating uneven", "low capacity"} <= set(explanation.present)
    assert model.inspection_values(["low capacity"])[0].name in {"pump worn", "slurry too thick"}
    slopes = model.sensitivities(["low capacity"])
    assert (slopes[0].cause, slopes[0].failure) == (None, "pump worn")
    assert model.risk_priorities({"low capacity": 9})[0].name in {"low capacity", "coating uneven"}
    with pytest.raises(FailureNetworkError, match="every root cause was observed"):
        model.sensitivities(["pump worn"])


@pytest.mark.parametrize(
    ("present", "absent", "message"),
    [
        (["low capacty"], [], "'low capacty' .nearest: 'low capacity'"),
        (["pump worn"], ["pump worn"], "present and as absent"),
    ],
)
def test_bad_evidence_is_refused(present: list[str], absent: list[str], message: str) -> None:
    with pytest.raises(FailureNetworkError, match=message):
        battery().posterior(present, absent)


def test_evidence_of_probability_zero_is_said_plainly() -> None:
    model = FailureNetworkModel.from_edges([("a", "b", 1.0)], {"a": 0.1, "never": 0.0, "always": 1.0})
    for present, absent, named in (
        (["a"], ["b"], "'a'"),
        (["never"], [], "'never'"),
        ([], ["always"], "'always'"),
    ):
        with pytest.raises(FailureNetworkError, match=f"probability zero: {named}"):
            model.posterior(present, absent)
    assert model.posterior(["b"])["a"].probability == 1
    assert model.posterior(absent=["b"])["a"].probability == 0


def test_a_cast_that_loses_rare_failures_is_refused() -> None:
    with pytest.raises(FailureNetworkError, match="float16, in which rare failures"):
        battery().half().posterior()


def test_a_configuration_that_contradicts_itself_is_refused() -> None:
    for fields, message in (
        ({"names": ["a", "a"]}, "name twice"),
        ({"names": ["a"], "stages": ["x", "y"]}, "2 values for 1 names"),
        ({"num_edges": -1}, "at least 0"),
    ):
        with pytest.raises(Exception, match=message):
            FailureNetworkConfig(**fields)
