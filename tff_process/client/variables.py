"""The variables of a client model as data: what each is for, and how it is joined at the server."""

import dataclasses
from collections.abc import Iterable, Sequence

from pfrec import groups, sharing

PRIVATE, COMMON, PERSONAL = "private", "common", "personal"


@dataclasses.dataclass(frozen=True)
class Slot:
    """One variable of the client model.

    Attributes:
      name: unique in the model (`groups.TaggedVariable.name`).
      kind, group, member: as of `groups.TaggedVariable`.
      shape: of the variable.
      trainable: whether gradients change it.
      join: `private` (never leaves its client), `common` (one value for all clients) or `personal` (a value for each client).
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
        """Whether the client also says how often it saw each row: such a table is aggregated row by row."""
        return self.kind == "embedding" and self.join != PRIVATE


@dataclasses.dataclass(frozen=True)
class Layout:
    """All variables of a client model, in model order."""

    slots: tuple[Slot, ...]

    def joined(self, *joins: str) -> "list[Slot]":
        """The variables with one of these joins, by name.

        The order matters: what TFF's `federated_select` yields is a dataset, and TensorFlow flattens a mapping in the order of its keys.
        """
        return sorted((slot for slot in self.slots if slot.join in joins), key=lambda slot: slot.name)

    @property
    def uploaded(self) -> "list[Slot]":
        """What leaves a client each round."""
        return self.joined(COMMON, PERSONAL)

    def personal_groups(self, kind: str) -> "dict[str, list[Slot]]":
        """The personal variables of a kind, group by group."""
        found: dict[str, list[Slot]] = {}
        for slot in self.joined(PERSONAL):
            if slot.kind == kind:
                found.setdefault(slot.group, []).append(slot)
        return found


def of(tagged: Sequence[groups.TaggedVariable], policy: sharing.SharingPolicy, personal_kinds: Iterable[str]) -> Layout:
    """The layout of a model under a sharing policy.

    Args:
      tagged: the model's variables.
      policy: what may leave.
      personal_kinds: kinds of which, where they leave, every client gets its own value back.
    """
    personal = frozenset(personal_kinds)

    def join(item: groups.TaggedVariable) -> str:
        if not policy.shares(item.group):
            return PRIVATE
        return PERSONAL if item.kind in personal else COMMON

    return Layout(
        tuple(Slot(t.name, t.kind, t.group, t.member, tuple(t.variable.shape), bool(t.variable.trainable), join(t)) for t in tagged)
    )
