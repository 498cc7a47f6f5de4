"""What a layer's variables are for, as the layer declares it."""

import dataclasses
from typing import Any

# Of the variables of this package's own networks.
KINDS = (
    *("embedding", "attention", "numeric", "expert", "expert_task", "gate", "tower"),
    "batch_norm",  # told by the type of the layer (`groups.STATISTICS_LAYERS`), whatever its role
)


@dataclasses.dataclass(frozen=True)
class Role:
    """The declared role of a layer.

    Attributes:
      kind: `embedding`, `attention`, `numeric`, `expert`, `expert_task`, `gate` or `tower`.
      group: the variable group, as `expert/0/shared`.
      member: what tells this group from others of its kind: a feature, an expert's number or a
        task.
    """

    kind: str
    group: str
    member: str = ""


def embedding(feature: str) -> Role:
    """The embedding table of a categorical feature."""
    return Role("embedding", f"embedding/{feature}", feature)


def attention(feature: str) -> Role:
    """The attention of a categorical feature over its lists."""
    return Role("attention", f"attention/{feature}", feature)


def numeric() -> Role:
    """The projection of the numerical features."""
    return Role("numeric", "numeric")


def expert(index: int) -> Role:
    """The scenario component of an expert: what federated training shares of it."""
    return Role("expert", f"expert/{index}/shared", str(index))


def expert_task(index: int, task: str) -> Role:
    """The task component of an expert, which never leaves its client."""
    return Role("expert_task", f"expert/{index}/task/{task}", task)


def gate(task: str) -> Role:
    """The gate of a task."""
    return Role("gate", f"gate/{task}", task)


def tower(task: str) -> Role:
    """The tower of a task."""
    return Role("tower", f"tower/{task}", task)


def declare(layer: Any, role: Role) -> None:
    """Says what `layer` and, unless they say otherwise, the layers in it are for."""
    layer.pfrec_role = role


def declare_biases(layer: Any, *names: str) -> None:
    """Says which of a layer's variables, by their attributes, hold biases where their shape is that
    of a kernel: a bias for each of several things.
    """
    layer.pfrec_biases = frozenset(names)
