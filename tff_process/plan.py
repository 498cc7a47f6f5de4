"""What a training is to do, as data."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from pfrec import errors
from pfrec.models.config import ModelConfig
from tff_process.algorithms import pf_msmtrec
from tff_process.algorithms import rivals as rivals_lib

LOSS, METRICS, ROW_COUNTS = "loss", "metrics", "row_counts"
WITHHELD = (LOSS, METRICS, ROW_COUNTS)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a training is to do.

    Attributes:
      algorithm: by name, see `algorithms.registry`.
      rounds: of federated training; epochs of pooled training times `local_epochs`.
      patience: the training stops after so many rounds without a better one on `valid`; 0 for all
        rounds.
      local_epochs: how much of its training rows a client sees in a round; may be a fraction.
      aggregations: how often a federated round aggregates: its local training is cut into as many
        aggregation steps.
      batch_size: rows of a batch.
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
    batch_size: int = 256
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
    withhold: tuple[str, ...] = ()
    init_from: str = ""

    def __post_init__(self) -> None:
        for name in ("rounds", "aggregations", "batch_size"):
            if getattr(self, name) < 1:
                raise errors.PfrecError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("seed", "patience"):
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
        if not 0.0 < self.participation <= 1.0:
            raise errors.PfrecError(
                f"participation is {self.participation}; it must be above 0 and at most 1"
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
