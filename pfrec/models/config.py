"""The shape of a model, as data."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from pfrec import settings
from pfrec.settings import setting

# Beyond, a number is a slip or a damaged file, and would take all memory before anything is said.
_WIDEST = 1 << 16


@dataclasses.dataclass(frozen=True)
class ModelConfig(settings.Settings):
    """The shape of an MMoE."""

    embedding_dim: int = setting(8, "width of every embedding table", low=1, high=_WIDEST)
    embedding_scale: float = setting(
        0.05, "standard deviation of the initial embedding rows", low=0.0
    )
    numeric_dim: int = setting(
        16,
        "width of the projection of the numerical features; 0 passes them on normalised",
        low=0,
        high=_WIDEST,
    )
    experts: int = setting(4, "how many experts", low=1, high=1024)
    expert_units: "tuple[int, ...]" = setting(
        (64, 32), "widths of an expert's layers", low=1, high=_WIDEST, least=1
    )
    tower_units: "tuple[int, ...]" = setting(
        (32,), "widths of a tower's hidden layers", low=1, high=_WIDEST
    )
    dropout: float = setting(
        0.0, "rate after every hidden layer of experts and towers", low=0.0, below=1.0
    )
    batch_norm: bool = setting(True, "whether hidden layers of experts are batch normalised")
    tower_batch_norm: bool = setting(
        False, "whether those of towers are too, where --batch_norm is on"
    )
    template: str = setting(
        "none", "composition of the parameter template", choices=("none", "additive", "hadamard")
    )
    rank: int = setting(4, "rank of the template's task components", low=1, high=_WIDEST)

    @property
    def normalised_towers(self) -> bool:
        """Whether hidden layers of towers are batch normalised."""
        return self.batch_norm and self.tower_batch_norm

    @classmethod
    def from_json(cls, value: "Mapping[str, Any]") -> "ModelConfig":
        """The inverse of `to_json`; a record from before `tower_batch_norm` came is of a model
        whose towers are normalised. See `settings.Settings.from_json`.
        """
        return super().from_json({"tower_batch_norm": True, **value})
