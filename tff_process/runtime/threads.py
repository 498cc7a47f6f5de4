"""How many threads a worker has within one operation: one where the steps of a training are small.

Threads that share a small operation cost more than they save. How many there are changes the last
bits of what a step computes, so the plan decides and never the machine: a silo, which has its
processors for itself, then comes to what a simulation comes to.
"""

from __future__ import annotations

from typing import Optional

from pfrec.data import schema as schema_lib
from tff_process import plan as plan_lib

# As many as TensorFlow takes, one a processor.
ALL = 0
# Multiply-adds of a step from which on threads share an operation; measured, see
# docs/performance.md.
_LARGE = 30_000_000


def within_operations(plan: plan_lib.Plan, schema: schema_lib.Schema) -> int:
    """1, or `ALL` for large steps.

    Args:
      plan: with a batch size (`federation.fitted`).
      schema: of the rows.
    """
    return 1 if multiply_adds(plan, schema) < _LARGE else ALL


def at_silo(agreed: Optional[plan_lib.Plan], schema: schema_lib.Schema) -> int:
    """For the worker of a silo, by the plan that it agreed to; 1 without an agreement, where the
    plan is not known when the worker starts and other silos are on the same machine.
    """
    return 1 if agreed is None else within_operations(agreed, schema)


def multiply_adds(plan: plan_lib.Plan, schema: schema_lib.Schema) -> int:
    """Of one batch on its way forward through the dense layers as they are written: a first layer
    that is folded into the embeddings counts whole.
    """
    model, tasks, numbers = plan.model, len(schema.tasks), schema.number_columns
    width = model.embedding_dim * len(schema.categorical) + (model.numeric_dim or numbers)
    expert = _dense((width, *model.expert_units))
    tower = _dense((model.expert_units[-1], *model.tower_units, 1))
    weights = numbers * model.numeric_dim + model.experts * (expert + tasks * width) + tasks * tower
    return plan.batch_size * weights


def _dense(widths: tuple[int, ...]) -> int:
    """The weights of dense layers from each width to the next."""
    return sum(before * after for before, after in zip(widths, widths[1:]))
