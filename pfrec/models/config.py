"""The shape of a model, as data."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from pfrec import errors


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The shape of an MMoE.

    Attributes:
      embedding_dim: width of every embedding table.
      embedding_scale: standard deviation of the initial embedding rows.
      numeric_dim: width of the projection of the numerical features; 0 passes them on as they are,
        normalised.
      experts: how many experts.
      expert_units: widths of an expert's layers.
      tower_units: widths of a tower's hidden layers.
      dropout: rate after every hidden layer of experts and towers.
      batch_norm: whether hidden layers of experts and towers are batch normalised.
      template: composition of the parameter template, `none`, `additive` or `hadamard`.
      rank: rank of the task components.
    """

    embedding_dim: int = 8
    embedding_scale: float = 0.05
    numeric_dim: int = 16
    experts: int = 4
    expert_units: tuple[int, ...] = (64, 32)
    tower_units: tuple[int, ...] = (32,)
    dropout: float = 0.0
    batch_norm: bool = True
    template: str = "none"
    rank: int = 4

    def __post_init__(self) -> None:
        for name in ("embedding_dim", "experts", "rank"):
            if getattr(self, name) < 1:
                raise errors.PfrecError(
                    f"model: {name} is {getattr(self, name)}; it must be at least 1"
                )
        if not self.expert_units or min((*self.expert_units, *self.tower_units)) < 1:
            raise errors.PfrecError(
                "model: expert_units must name at least one width, and all widths must be "
                "at least 1"
            )
        if not 0.0 <= self.dropout < 1.0:
            raise errors.PfrecError(
                f"model: dropout is {self.dropout}; it must be at least 0 and below 1"
            )
        if self.numeric_dim < 0 or self.embedding_scale < 0:
            raise errors.PfrecError("model: numeric_dim and embedding_scale must not be negative")

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "ModelConfig":
        """The inverse of `dataclasses.asdict`, also after a trip through JSON."""
        return cls(
            **{
                **value,
                "expert_units": tuple(value["expert_units"]),
                "tower_units": tuple(value["tower_units"]),
            }
        )
