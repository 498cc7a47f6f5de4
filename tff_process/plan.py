"""What a training is to do, as data."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from pfrec import errors
from pfrec.models.config import ModelConfig
from tff_process.algorithms import pf_msmtrec
from tff_process.algorithms import rivals as rivals_lib

LOSS, METRICS, ROW_COUNTS = "loss", "metrics", "row_counts"
WITHHELD = (LOSS, METRICS, ROW_COUNTS)
_BATCHES = 20


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a training is to do.

        >>> import pfrec
        >>> plan = pfrec.Plan("fedavg", rounds=5)
        >>> plan.batch_size, pfrec.Plan.from_json(plan.to_json()) == plan
        (256, True)
        >>> pfrec.Plan("fedavg", rounds=0)
        Traceback (most recent call last):
        pfrec.errors.PfrecError: rounds is 0; it must be at least 1

    Attributes:
      algorithm: by name, see `algorithms.registry`.
      rounds: of federated training; epochs of pooled training times `local_epochs`.
      patience: the training stops after so many rounds without a better one on `valid`; 0 for all
        rounds.
      local_epochs: how much of its training rows a client sees in a round; may be a fraction.
      aggregations: how often a federated round aggregates at least: its local training is cut into
        as many aggregation steps.
      aggregate_every: the most batches between two aggregations, for the mean client; more
        aggregation steps than `aggregations` where a round is long.
      average_over: what is evaluated, saved and exported is averaged over this share of the
        aggregations so far, the last ones (`averaging`); 0 for the last alone.
      max_steps: rounds end once the client with most rows has trained so many batches; 0 for all
        `rounds`.
      batch_size: rows of a batch; 0 for as many as fit the scenarios, see `fitting`.
      learning_rate: of Adam.
      lazy_adam: whether federated clients leave rows of large tables alone in steps whose batch did
        not hold them (`adam.Adam`).
      precision: of federated clients' large products in training, `float32` or `bfloat16`
        (`models.precision`).
      participation: share of the clients that take part in a round.
      seed: of initial values, row order, dropout and participation.
      model: shape of the model.
      pf: settings of pf_msmtrec.
      fedprox_mu: weight of FedProx's proximal term.
      rivals: settings of the other rivals.
      sharing: rules that go over the algorithm's sharing policy.
      robust: how clients' updates are limited by what is usual among them, see
        `algorithms.robust`.
      withhold: what clients do not say: `loss` of their training, `metrics` (the last round is then
        the chosen one, and nothing is known of it on test), `row_counts` (ids of shared tables then
        count alike).
      init_from: a finished run whose common values the scenarios start from (see `joining`); empty
        for a start from `seed`.
    """

    algorithm: str
    rounds: int = 20
    patience: int = 0
    local_epochs: float = 1.0
    aggregations: int = 4
    aggregate_every: int = 64
    average_over: float = 0.25
    max_steps: int = 0
    batch_size: int = 0
    learning_rate: float = 2e-2
    lazy_adam: bool = False
    precision: str = "float32"
    participation: float = 1.0
    seed: int = 0
    model: ModelConfig = ModelConfig()
    pf: pf_msmtrec.Settings = pf_msmtrec.Settings()
    fedprox_mu: float = 0.01
    rivals: rivals_lib.Rivals = rivals_lib.Rivals()
    sharing: tuple[tuple[str, str], ...] = ()
    robust: str = "none"
    withhold: tuple[str, ...] = ()
    init_from: str = ""

    def __post_init__(self) -> None:
        for name in ("rounds", "aggregations", "aggregate_every"):
            if getattr(self, name) < 1:
                raise errors.PfrecError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("seed", "patience", "max_steps", "batch_size"):
            if getattr(self, name) < 0:
                raise errors.PfrecError(f"{name} is {getattr(self, name)}; it must not be negative")
        for name in ("local_epochs", "learning_rate"):
            if not 0.0 < getattr(self, name) < float("inf"):
                raise errors.PfrecError(f"{name} is {getattr(self, name)}; it must be above 0")
        if not 0.0 <= self.fedprox_mu < float("inf"):
            raise errors.PfrecError(f"fedprox_mu is {self.fedprox_mu}; it must not be negative")
        for name in self.withhold:
            if name not in WITHHELD:
                raise errors.PfrecError(f"withhold: {name!r} is not one of {', '.join(WITHHELD)}")
        if not 0.0 <= self.average_over <= 1.0:
            raise errors.PfrecError(
                f"average_over is {self.average_over}; it must be between 0 and 1"
            )
        if not 0.0 < self.participation <= 1.0:
            raise errors.PfrecError(
                f"participation is {self.participation}; it must be above 0 and at most 1"
            )

    def fitting(self, rows: "Sequence[int]") -> "Plan":
        """The plan with a batch size: where it has none, the largest power of two from 32 to 256 of
        which the mean scenario has at least 20 batches.

        With fewer batches an epoch is too few steps, and aggregation has nothing to aggregate
        often; smaller ones cost time.

        Args:
          rows: each scenario's training rows.
        """
        if self.batch_size:
            return self
        bearable = sum(rows) / len(rows) / _BATCHES
        return dataclasses.replace(
            self, batch_size=next((size for size in (256, 128, 64) if size <= bearable), 32)
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data for config.json."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Plan":
        """The inverse of `to_json`, also after a trip through JSON."""
        return cls(
            **{
                **value,
                "model": ModelConfig.from_json(value["model"]),
                "pf": pf_msmtrec.Settings(**value["pf"]),
                "rivals": rivals_lib.Rivals.from_json(value["rivals"]),
                "withhold": tuple(value.get("withhold", ())),
                "sharing": tuple((pattern, rule) for pattern, rule in value["sharing"]),
            }
        )
