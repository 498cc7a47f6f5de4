"""Which variable groups may leave a client, as rules; free of TensorFlow."""

import dataclasses
import fnmatch
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from pfrec import errors
from pfrec.data import schema as schema_lib

if TYPE_CHECKING:
    from pfrec import groups


@dataclasses.dataclass(frozen=True)
class SharingPolicy:
    """Which groups may leave a client.

    Attributes:
      rules: pattern of a group (as `expert/*/shared`, `embedding/item_id`) to `shared` or
        `private`; the last pattern that matches decides, and a group that no pattern matches is
        private. Batch normalisation is private unless a rule names `batch_norm/*` itself: `*` alone
        does not reach it.
    """

    rules: "tuple[tuple[str, str], ...]"

    def __post_init__(self) -> None:
        for pattern, rule in self.rules:
            if rule not in schema_lib.POLICIES:
                raise errors.PfrecError(
                    f"sharing {pattern}={rule}: not one of {', '.join(schema_lib.POLICIES)}"
                )

    def shares(self, group: str) -> bool:
        """Whether `group` leaves its client."""
        decision = "private"
        for pattern, rule in self.rules:
            if _matches(pattern, group):
                decision = rule
        return decision == "shared"

    def override(self, rules: "Sequence[tuple[str, str]]") -> "SharingPolicy":
        """This policy with further rules after its own."""
        return SharingPolicy((*self.rules, *rules))

    def table(self, tagged: "Sequence[groups.TaggedVariable]") -> "list[dict[str, object]]":
        """One row per group: its name, kind, whether it leaves, its variables' shapes,
        and their bytes.
        """
        rows: dict[str, dict[str, object]] = {}
        for item in tagged:
            row = rows.setdefault(
                item.group,
                {
                    "group": item.group,
                    "kind": item.kind,
                    "leaves": self.shares(item.group),
                    "shapes": [],
                    "bytes": 0,
                },
            )
            shape = list(item.variable.shape)
            row["shapes"].append(shape)  # type: ignore[attr-defined]
            row["bytes"] += (  # type: ignore[operator]
                item.variable.dtype.size * item.variable.shape.num_elements()
            )
        return list(rows.values())

    def describe(self, tagged: "Sequence[groups.TaggedVariable]") -> str:
        """The table as text, for a person."""
        lines = [f"{'group':<40} {'leaves':<7} {'bytes':>10}"]
        lines += [
            f"{row['group']!s:<40} {'yes' if row['leaves'] else 'never':<7} {row['bytes']:>10}"
            for row in self.table(tagged)
        ]
        return "\n".join(lines)


def require_matching(rules: "Sequence[tuple[str, str]]", names: "Collection[str]") -> None:
    """Checks that each rule that a user gives is of some group: one that is misspelled would leave
    shared what was to stay private.

    Args:
      rules: patterns with `shared` or `private`.
      names: the groups that there are.

    Raises:
      PfrecError: where one matches none; the message names the groups.
    """
    for pattern, rule in rules:
        if not any(_matches(pattern, name) for name in names):
            raise errors.PfrecError(
                f"sharing {pattern}={rule}: there is no such group; there are "
                f"{', '.join(sorted(names))}"
            )


def feature_rules(schema: schema_lib.Schema) -> "tuple[tuple[str, str], ...]":
    """The rules that the schema gives its embedding tables, and what attends over their lists."""
    tables = ((f"embedding/{f.name}", f.policy) for f in schema.categorical if not f.table)
    lists = (
        (f"attention/{f.name}", f.policy)
        for f in schema.categorical
        if f.pooling == schema_lib.ATTENTION
    )
    return (*tables, *lists)


def parse(text: str, flag: str) -> "tuple[str, str]":
    """The group pattern and the rule of `GROUP=shared` or `GROUP=private`.

    Raises:
      PfrecError: where it is neither; the message names the flag.
    """
    group, equals, rule = text.partition("=")
    if not equals or not group or rule not in ("shared", "private"):
        raise errors.PfrecError(
            f"--{flag}: {text!r} is no sharing rule; give GROUP=shared or GROUP=private"
        )
    return group, rule


def _matches(pattern: str, group: str) -> bool:
    if group.startswith("batch_norm/") and not pattern.startswith("batch_norm"):
        return False
    return fnmatch.fnmatchcase(group, pattern)
