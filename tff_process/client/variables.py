"""The variables of a client model as data: what each is for, and how it is joined at the server."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pfrec import errors, sharing
from pfrec.models import roles

if TYPE_CHECKING:
    from pfrec import groups

PRIVATE, COMMON, PERSONAL = "private", "common", "personal"
# What trained variables may be pulled towards: the server's consensus, or what was received.
CONSENSUS, RECEIVED = "consensus", "received"
# Optimizers' slots stand under names that begin so in a private state.
OPTIMIZER = "optimizer"
# Kinds of groups of which each belongs to one task: a client without labels of the task leaves them
# as they are, and takes no part in their aggregation.
TASK_KINDS = ("tower", "gate", "expert_task")


@dataclasses.dataclass(frozen=True)
class VariableSpec:
    """One variable of the client model.

    Attributes:
      name: unique in the model (`groups.TaggedVariable.name`).
      kind, group, member: see `groups.TaggedVariable`.
      shape: of the variable.
      trainable: whether gradients change it.
      join: `private` (never leaves its client), `common` (one value for all clients) or `personal`
        (a value for each client).
    """

    name: str
    kind: str
    group: str
    member: str
    shape: tuple[int, ...]
    trainable: bool
    join: str

    @property
    def counts_rows(self) -> bool:
        """Whether the client also says how often it saw each row:
        such a table is aggregated row by row.
        """
        return self.kind == "embedding" and self.join != PRIVATE


@dataclasses.dataclass(frozen=True)
class ModelVariables:
    """All variables of a client model, in model order."""

    specs: tuple[VariableSpec, ...]

    def joined(self, *joins: str) -> list[VariableSpec]:
        """The variables with one of these joins, by name.

        The order matters: what TFF's `federated_select` yields is a dataset, and TensorFlow
        flattens a mapping in the order of its keys.
        """
        return sorted(
            (spec for spec in self.specs if spec.join in joins), key=lambda spec: spec.name
        )

    @property
    def uploaded(self) -> list[VariableSpec]:
        """What leaves a client each round."""
        return self.joined(COMMON, PERSONAL)

    def personal_groups(self, kind: str) -> dict[str, list[VariableSpec]]:
        """The personal variables of a kind, group by group."""
        found: dict[str, list[VariableSpec]] = {}
        for spec in self.joined(PERSONAL):
            if spec.kind == kind:
                found.setdefault(spec.group, []).append(spec)
        return found


def of(
    tagged: Sequence[groups.TaggedVariable],
    policy: sharing.SharingPolicy,
    personal_kinds: Iterable[str],
) -> ModelVariables:
    """The variables of a model under a sharing policy.

    Args:
      tagged: the model's variables.
      policy: what may leave.
      personal_kinds: kinds of which, where they leave, every client gets its own value back.

    Raises:
      PfrecError: where there is no such kind.
    """
    personal = frozenset(personal_kinds)
    known = {*roles.KINDS, *(item.kind for item in tagged)}
    for kind in personal - known:
        raise errors.PfrecError(
            f"personal_kinds of the algorithm has {kind!r}, of which no variable is; kinds are "
            f"{', '.join(sorted(known))}"
        )

    def join(item: groups.TaggedVariable) -> str:
        if not policy.shares(item.group):
            return PRIVATE
        return PERSONAL if item.kind in personal else COMMON

    return ModelVariables(
        tuple(
            VariableSpec(
                t.name,
                t.kind,
                t.group,
                t.member,
                tuple(t.variable.shape),
                bool(t.variable.trainable),
                join(t),
            )
            for t in tagged
        )
    )
