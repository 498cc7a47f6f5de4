"""What a finished run writes of itself, for tests that need no training."""

import pathlib
from typing import Any

from pfrec import files
from pfrec.data import schema as schema_lib
from pfrec.models.config import ModelConfig
from tff_process import plan as plan_lib

_SCHEMA = schema_lib.Schema(
    (), (schema_lib.Numerical("price"),), (schema_lib.Task("click", "click"),)
)


def write(
    run: pathlib.Path,
    config: "dict[str, Any] | None" = None,
    summary: "dict[str, Any] | None" = None,
    schema: schema_lib.Schema = _SCHEMA,
) -> None:
    """Writes config.json and, where `summary` is given, summary.json; both go over what stands
    here.
    """
    plan = plan_lib.Plan("fedavg", rounds=3)
    whole = {
        "format_version": 2,
        "algorithm": "fedavg",
        "plan": plan.to_json(),
        "model": ModelConfig().to_json(),
        "seed": 0,
        "schema": schema.to_json(),
        "scenarios": ["nl"],
        "data": None,
    }
    files.write_json(run / "config.json", {**whole, **(config or {})})
    if summary is not None:
        told = {"algorithm": "fedavg", "rounds": 3, "best_round": 2, "mean_auc": None, "test": {}}
        files.write_json(run / "summary.json", {**told, **summary})
