"""What a run has spent of each scenario's budget: a line for each answer, written before the answer
is used.

An answer is charged by its bytes. A step that is trained again from the same state, after a kill or
a lost worker, gives the same bytes and tells nothing new; one that is trained again from another
state has new noise and is paid for again.
"""

import hashlib
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from pfrec import errors, files
from tff_process.privacy import mechanism as mechanism_lib

FILE = "privacy_ledger.jsonl"


class Charges:
    """The charges of one run; one process at a time may have them open.

    Args:
      path: of the file, which is made where it is not there; a last line that a kill tore is taken
        out, as its answer was not used.
      budgets: by scenario.

    Raises:
      PfrecError: where the file cannot be read or written.
    """

    def __init__(self, path: pathlib.Path, budgets: "Mapping[str, mechanism_lib.Budget]") -> None:
        self._path, self._budgets = path, budgets
        self._steps = dict.fromkeys(budgets, 0)
        self._known: set[tuple[str, str]] = set()
        with files.readable_errors(path):
            content = path.read_bytes() if path.exists() else b""
            whole = content[: content.rfind(b"\n") + 1]
            if len(whole) < len(content):
                path.write_bytes(whole)
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                entry = files.parse_json(line)
                self._add(entry["scenario"], entry["sha256"], int(entry["steps"]))
            except (ValueError, KeyError, TypeError):
                raise errors.PfrecError(
                    f"{path}: line {number} is no charge: what was spent is not known; train into "
                    "another --output"
                ) from None

    def charge(self, scenario: str, values: "Mapping[str, Any]", steps: int) -> None:
        """Charges an answer, unless it was charged before.

        Args:
          scenario: whose.
          values: by name, what it sent.
          steps: that stand behind it.

        Raises:
          PfrecError: where the budget would be passed; then it must not be used.
        """
        digest = hashlib.sha256()
        for name, value in sorted(values.items()):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(value).tobytes())
        told, budget = digest.hexdigest(), self._budgets[scenario]
        if (scenario, told) in self._known:
            return
        if self._steps[scenario] + steps > budget.steps:
            raise errors.PfrecError(
                f"{self._path}: {scenario} has spent epsilon {self.epsilon(scenario):.3f} of "
                f"{budget.epsilon:g} in {self._steps[scenario]} steps, and {steps} more would pass "
                "it: steps were trained again from another state. What the last complete round "
                "holds is within the budget; train into another --output with a larger one"
            )
        line = json.dumps({"scenario": scenario, "steps": steps, "sha256": told}) + "\n"
        with (
            files.readable_errors(self._path),
            open(self._path, "ab", opener=files.owners_alone) as file,
        ):
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
        self._add(scenario, told, steps)

    def epsilon(self, scenario: str) -> float:
        """What a scenario has spent."""
        return self._budgets[scenario].spent(self._steps[scenario])

    def to_json(self) -> "dict[str, dict[str, float]]":
        """By scenario, what it has spent."""
        return {
            scenario: {
                "epsilon_spent": round(self.epsilon(scenario), 4),
                "delta": budget.delta,
                "steps_spent": self._steps[scenario],
            }
            for scenario, budget in self._budgets.items()
        }

    def _add(self, scenario: str, digest: str, steps: int) -> None:
        self._known.add((scenario, digest))
        self._steps[scenario] += steps
