"""A leaky noisy-OR network of failures as a model. Published code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import ModelOutput

# Older loaders of transformers copy only what this file names, so it names every sibling that is needed.
from .atomic import write_text  # noqa: F401
from .configuration_failure_network import FailureNetworkConfig
from .errors import FailureNetworkError
from .noisy_or import NoisyOr
from .noisy_or_backward import Explained  # noqa: F401
from .noisy_or_batch import infer_batch
from .noisy_or_bif import read_bif, write_bif
from .noisy_or_checks import check_names  # noqa: F401
from .noisy_or_compiled import is_available  # noqa: F401
from .noisy_or_elimination import Elimination  # noqa: F401
from .noisy_or_evidence import read_evidence
from .noisy_or_exact import Factors  # noqa: F401
from .noisy_or_explanation import Explanation, explain
from .noisy_or_full_tables import tables_of  # noqa: F401
from .noisy_or_interchange import from_networkx, from_pgmpy, to_networkx, to_pgmpy, to_pyagrum
from .noisy_or_moments import Moments  # noqa: F401
from .noisy_or_posterior import infer
from .noisy_or_proposal import Proposal  # noqa: F401
from .noisy_or_questions import (
    Inspection,
    RiskPriority,
    Sensitivity,
    inspection_values,
    risk_priorities,
    sensitivities,
)
from .noisy_or_records import Posterior
from .noisy_or_sampling import Draws  # noqa: F401
from .noisy_or_tables import Factor  # noqa: F401


@dataclass
class FailureNetworkOutput(ModelOutput):
    """Output of `FailureNetworkModel`.

    Attributes:
        probability: (B, n) P(failure present | evidence), NaN in rows whose evidence has probability zero.
        log_evidence: (B,) log P(evidence), -inf in those rows.
        effective_samples: (B,) what the weighted samples are worth; below about 1000 mistrust the second digit.
    """

    probability: Tensor | None = None
    log_evidence: Tensor | None = None
    effective_samples: Tensor | None = None


class FailureNetworkModel(PreTrainedModel):
    """FMEA-based failure network for root-cause analysis, in the spirit of Kirchhof et al. (2020).

    A reconstruction: the paper's own data and code are not public. Trigger probabilities are those of a cause
    alone, the leak left out (Diez). Numbers are float64 tensors, so that rare failures keep their digits.
    """

    config_class = FailureNetworkConfig
    base_model_prefix = "failure_network"
    main_input_name = "evidence"

    def __init__(self, config: FailureNetworkConfig) -> None:
        super().__init__(config)
        failures, edges = len(config.names or []), config.num_edges
        self.register_buffer("edges", torch.zeros(2, edges, dtype=torch.int64))
        self.trigger = nn.Parameter(torch.zeros(edges, dtype=torch.float64), requires_grad=False)
        self.leak = nn.Parameter(torch.zeros(failures, dtype=torch.float64), requires_grad=False)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing is drawn at random: a network is given, not trained."""

    @classmethod
    def from_edges(
        cls,
        edges: Iterable[tuple[str, str, float]],
        leak: Mapping[str, float],
        stages: Mapping[str, str] | None = None,
        source: str = "",
    ) -> FailureNetworkModel:
        """A model by names.

        Args:
            edges: (cause, effect, trigger probability): that this cause alone triggers the effect, leak excluded.
            leak: name -> probability without any cause in the network; for a failure without causes its prior.
            stages: name -> process stage.
            source: where the numbers come from.

        Raises:
            FailureNetworkError: names what is wrong: a cycle, a probability outside [0, 1], an edge given twice,
                a failure without causes that has no probability.
        """
        return cls.from_network(NoisyOr.from_edges(edges, leak, stages), source)

    @classmethod
    def from_network(cls, network: NoisyOr, source: str = "") -> FailureNetworkModel:
        """A model of a checked network."""
        stages = list(network.stages) if network.stages else None
        config = FailureNetworkConfig(
            names=list(network.names), stages=stages, num_edges=len(network.cause), source=source
        )
        model = cls(config)
        model.edges.copy_(torch.tensor(np.stack([network.cause, network.effect])))
        model.trigger.copy_(torch.tensor(network.trigger))
        model.leak.copy_(torch.tensor(network.leak))
        return model.eval()

    @property
    def network(self) -> NoisyOr:
        """The tensors as a checked network.

        Raises:
            FailureNetworkError: they are malformed, or were cast to a type that loses rare probabilities.
        """
        if self.leak.dtype != torch.float64 or self.trigger.dtype != torch.float64:
            raise FailureNetworkError(
                f"the network was cast to {self.leak.dtype}, in which rare failures lose their digits; load it in "
                "float64 (dtype=torch.float64) and leave it there"
            )
        cause, effect = self.edges.cpu().numpy()
        return NoisyOr(
            names=tuple(self.config.names or ()),
            cause=cause,
            effect=effect,
            trigger=self.trigger.detach().cpu().numpy(),
            leak=self.leak.detach().cpu().numpy(),
            stages=tuple(self.config.stages or ()),
        )

    def forward(
        self, evidence: Tensor, samples: int = 4096, seed: int = 0, **kwargs: object
    ) -> FailureNetworkOutput:
        """Posteriors of many rows of evidence at once, by weighted samples on the model's device.

        Args:
            evidence: (B, n): 1 present, 0 absent, -1 not observed; columns in the order of ``config.names``.
            samples: weighted samples of each row.
            seed: the same seed gives the same numbers on one device.

        Raises:
            FailureNetworkError: evidence of another shape or with other values.
        """
        device = self.leak.device
        answer = infer_batch(self.network, evidence, samples, seed, device)
        parts = (answer.probability, answer.log_evidence, answer.effective_samples)
        return FailureNetworkOutput(*(part.to(device) for part in parts))

    def posterior(
        self,
        present: Iterable[str] = (),
        absent: Iterable[str] = (),
        precision: float = 0.01,
        time_limit: float = 10.0,
        seed: int = 0,
        exact: bool | None = None,
        compiled: bool | None = None,
    ) -> Posterior:
        """Probability of every failure given what was observed, with a 95 % interval each.

        Exact where the network allows it, else weighted samples until every interval is at most ``precision`` on
        either side or ``time_limit`` seconds are over; the answer says which, and what to beware of.

        Args:
            present, absent: names of failures that were observed, or certainly not there.
            exact, compiled: True insists on exact sums or on numba, False forbids them, None chooses.

        Raises:
            FailureNetworkError: unknown names (with the nearest), contradictory evidence.
        """
        network = self.network
        evidence = read_evidence(network, present, absent)
        return infer(network, evidence, precision, time_limit, seed, exact, compiled)

    def most_probable_explanation(
        self, present: Iterable[str] = (), absent: Iterable[str] = (), seed: int = 0
    ) -> Explanation:
        """The single most probable state of the evidence and everything that can cause it."""
        network = self.network
        return explain(network, read_evidence(network, present, absent), seed)

    def do(self, present: Iterable[str] = (), absent: Iterable[str] = ()) -> FailureNetworkModel:
        """The model after an intervention: what if these failures are repaired (absent) or provoked (present)?

        Unlike evidence this says nothing about their causes: the edges into them are cut.
        """
        network = self.network
        evidence = read_evidence(network, present, absent)
        return self.from_network(network.fixed(evidence.present, evidence.absent), self.config.source)

    def inspection_values(
        self,
        present: Iterable[str] = (),
        absent: Iterable[str] = (),
        cost: Mapping[str, float] | None = None,
        seed: int = 0,
    ) -> list[Inspection]:
        """What to look at next: expected information on the root causes per cost, the most telling first."""
        network = self.network
        return inspection_values(network, read_evidence(network, present, absent), cost, seed=seed)

    def sensitivities(
        self,
        present: Iterable[str] = (),
        absent: Iterable[str] = (),
        cause: str | None = None,
        seed: int = 0,
    ) -> list[Sensitivity]:
        """How far the posterior of ``cause`` (the top root cause, if None) hangs on each expert number."""
        network = self.network
        evidence = read_evidence(network, present, absent)
        if cause is None:
            ranked = infer(network, evidence, seed=seed).ranked()
            if not ranked:
                raise FailureNetworkError("every root cause was observed; name the failure in question")
            cause = ranked[0].name
        return sensitivities(network, evidence, cause, seed=seed)

    def risk_priorities(
        self, severity: Mapping[str, float], escape: Mapping[str, float] | None = None
    ) -> list[RiskPriority]:
        """Where to act first: the expected severity that each failure is responsible for, the largest first."""
        return risk_priorities(self.network, severity, escape)

    def to_pgmpy(self) -> Any:
        """A pgmpy ``DiscreteBayesianNetwork``: full tables, so at most 15 causes a failure (else an error)."""
        return to_pgmpy(self.network)

    @classmethod
    def from_pgmpy(cls, bayes: Any, present: Mapping[str, str] | None = None) -> FailureNetworkModel:
        """A model of a pgmpy network whose tables are leaky noisy-ORs (else an error); see `noisy_or_interchange`."""
        return cls.from_network(from_pgmpy(bayes, present))

    def to_bif(self, path: str | Path) -> None:
        """Write a BIF file: full tables, so at most 15 causes a failure (else an error)."""
        write_bif(self.network, path)

    @classmethod
    def from_bif(cls, path: str | Path, present: Mapping[str, str] | None = None) -> FailureNetworkModel:
        """A model of a BIF file whose tables are leaky noisy-ORs (else an error); see `noisy_or_bif`."""
        return cls.from_network(read_bif(path, present))

    def to_pyagrum(self) -> Any:
        """A pyAgrum ``BayesNet`` with noisy-OR nodes (``addNoisyORNet``), whatever the number of causes."""
        return to_pyagrum(self.network)

    def to_networkx(self) -> Any:
        """A networkx ``DiGraph``: nodes carry ``leak`` and ``stage``, edges ``trigger``."""
        return to_networkx(self.network)

    @classmethod
    def from_networkx(cls, graph: Any) -> FailureNetworkModel:
        """A model of a directed graph with the attributes that `to_networkx` writes; ``stage`` may be missing."""
        return cls.from_network(from_networkx(graph))


FailureNetworkModel.register_for_auto_class("AutoModel")
