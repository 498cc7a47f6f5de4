"""An equal tuning budget for all entries of a comparison: the same values of one flag, each tried
on the first seed, the best on valid kept.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from pfrec import errors
from tff_process import plan as plan_lib
from tff_process.comparison import entries as entries_lib
from tff_process.comparison import runs


@dataclasses.dataclass(frozen=True)
class Tuning:
    """What is tried.

    Attributes:
      flag: a flag of a training.
      values: its texts.
    """

    flag: str
    values: "tuple[str, ...]"

    @classmethod
    def parse(cls, text: str) -> "Tuning":
        """The inverse of `FLAG=VALUE|VALUE...`.

        Raises:
          PfrecError: where it is none, or a value stands twice.
        """
        flag, equals, values = text.partition("=")
        found = tuple(values.split("|"))
        if not flag or not equals or not all(found) or len(set(found)) != len(found):
            raise errors.PfrecError(
                f"--tune={text}: give a flag and its values, each once, as "
                "learning_rate=0.001|0.003"
            )
        return cls(flag, found)

    def candidates(self, entry: entries_lib.Entry) -> "list[entries_lib.Entry]":
        """What stands for an entry while it is tuned: the entry alone where it has a value of the
        flag of its own, or where the flag is another algorithm's.
        """
        if self.flag in dict(entry.settings) or not self.concerns(entry):
            return [entry]
        return [entry.with_setting(self.flag, value) for value in self.values]

    def concerns(self, entry: entries_lib.Entry) -> bool:
        """Whether the flag is one of an entry's training."""
        return self.flag in plan_lib.setting_names(plan_lib.Plan(entry.algorithm))


def choose(cells: "Sequence[runs.Cell]") -> entries_lib.Entry:
    """The candidate that is best on `valid`, the first of equals; one that trained nothing, or
    whose every prediction is NaN, is the worst.
    """
    return max(cells, key=lambda c: -1.0 if c.summary.get("fault") else c.best_valid).entry


def edge_note(tuning: Tuning, chosen: entries_lib.Entry) -> str:
    """What to say where the value that an entry chose lies at the edge of those tried, so that a
    better one may lie beyond; else nothing.

    Values that are no numbers have no edges, and two of them or fewer have nothing but edges.
    """
    try:
        values = {float(text): text for text in tuning.values}
        value = float(dict(chosen.settings)[tuning.flag])
    except (KeyError, ValueError):
        return ""
    if len(values) < 3 or value not in values or min(values) < value < max(values):
        return ""
    return (
        f"{chosen.name}: the best {tuning.flag} is at the edge of those tried, {values[value]}; "
        "a better one may lie beyond"
    )


def to_json(tried: "Mapping[str, Sequence[runs.Cell]]") -> "dict[str, Any]":
    """What each entry came to on `valid` with each candidate."""
    return {
        name: {cell.entry.name: cell.best_valid for cell in cells} for name, cells in tried.items()
    }
