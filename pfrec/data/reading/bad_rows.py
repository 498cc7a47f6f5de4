"""Rows that do not fit: where they stand, what is wrong with them, and what becomes of them."""

import collections
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any, Optional

import numpy as np

from pfrec import errors

POLICIES = ("stop", "skip", "quarantine")
EXAMPLES_PER_REASON = 3
QUARANTINE_FILE = "quarantine.jsonl"


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where a row was read.

    Attributes:
      file: the file, as messages name it.
      line: the line (from 1) on which it begins, or None where the file has no lines.
      row: its number in the file (from 0).
      text: what stands there.
    """

    file: str
    line: Optional[int]
    row: int
    text: str

    def place(self, column: Optional[str] = None) -> str:
        """File, line and column, as messages name them."""
        where = f"row {self.row}" if self.line is None else f"line {self.line}"
        return f"{self.file}: {where}" + (f", column {column!r}" if column is not None else "")


@dataclasses.dataclass(frozen=True)
class Faults:
    """Rows of one chunk with one thing wrong in one column.

    Attributes:
      reason: a word or two that counts are kept under.
      column: the column, or None where the row as a whole is wrong.
      rows: int64 [rows], numbers of the rows in their file, ascending.
      describe: from a position in `rows` to what is wrong and how to mend it.
      origin: from a row's number to where it was read.
    """

    reason: str
    column: Optional[str]
    rows: np.ndarray
    describe: Callable[[int], str]
    origin: Callable[[int], Origin]

    def message(self, position: int) -> str:
        """The line that a user is shown."""
        return (
            f"{self.origin(int(self.rows[position])).place(self.column)}: {self.describe(position)}"
        )


def repeated(reason: str, what: str, column: str, file: object, rows: np.ndarray) -> Faults:
    """Rows of a file to join with whose key an earlier row has.

    Args:
      reason: see `Faults`.
      what: the key, as messages name it.
      column: that holds it.
      file: that holds the rows, as messages name it by its text.
      rows: int64 [rows], numbers of the rows in the file.
    """
    message = f"the {what} stands in an earlier row too; remove one of them"
    return Faults(
        reason, column, rows, lambda _: message, lambda row: Origin(str(file), None, row, text="")
    )


class BadRows:
    """Counts bad rows and does with them what the user chose.

    Attributes:
      counts: rows per reason.
      examples: the first few of each reason, in the order read.
    """

    def __init__(
        self,
        policy: str,
        quarantine: Optional[IO[str]] = None,
        state: Optional[Mapping[str, Any]] = None,
    ) -> None:
        """Starts counting.

        Args:
          policy: `stop`, `skip` or `quarantine`.
          quarantine: receives a JSON line per bad row, where the policy is `quarantine`.
          state: what `state` returned before, to go on from.
        """
        if policy not in POLICIES:
            raise errors.PfrecError(f"--on_bad_row={policy}: not one of {', '.join(POLICIES)}")
        self._policy, self._quarantine = policy, quarantine
        self.counts: collections.Counter[str] = collections.Counter(
            (state or {}).get("reasons", {})
        )
        self.examples: list[dict[str, Any]] = list((state or {}).get("examples", []))

    def add(self, found: Sequence[Faults]) -> None:
        """Takes in the bad rows of one chunk; a row stands in one of `found` only.

        Raises:
          PfrecError: for the first of them, where the policy is `stop`.
        """
        found = [faults for faults in found if len(faults.rows)]
        if not found:
            return
        if self._policy == "stop":
            first = min(found, key=lambda faults: int(faults.rows[0]))
            raise errors.PfrecError(first.message(0))
        for faults in found:
            self.counts[faults.reason] += len(faults.rows)
        shown = collections.Counter(example["reason"] for example in self.examples)
        for faults, position in _in_order(found, EXAMPLES_PER_REASON):
            if shown[faults.reason] < EXAMPLES_PER_REASON:
                shown[faults.reason] += 1
                self.examples.append(_entry(faults, position))
        if self._quarantine is not None:
            for faults, position in _in_order(found, None):
                entry = {
                    **_entry(faults, position),
                    "text": faults.origin(int(faults.rows[position])).text,
                }
                self._quarantine.write(json.dumps(entry, sort_keys=True, ensure_ascii=False) + "\n")

    def state(self) -> dict[str, Any]:
        """Counts and examples: the record in `dataset.json`,
        and what a resumed conversion goes on from.
        """
        return {
            "policy": self._policy,
            "rows": sum(self.counts.values()),
            "reasons": dict(self.counts),
            "examples": self.examples,
        }


def _in_order(found: Sequence[Faults], limit: Optional[int]) -> Iterator[tuple[Faults, int]]:
    """Bad rows in the order of their numbers, of each `Faults` the first `limit`."""
    keys = [
        (int(row), i, position)
        for i, faults in enumerate(found)
        for position, row in enumerate(faults.rows if limit is None else faults.rows[:limit])
    ]
    for _, i, position in sorted(keys):
        yield found[i], position


def _entry(faults: Faults, position: int) -> dict[str, Any]:
    origin = faults.origin(int(faults.rows[position]))
    return {
        "file": origin.file,
        "line": origin.line,
        "row": origin.row,
        "column": faults.column,
        "reason": faults.reason,
        "message": faults.describe(position),
    }
