"""What a silo's gatekeeper does for `--dp_epsilon`: a report is charged with all work that it
follows from.

A private state holds the moments of the released model, and what of that model does not leave.
Both are made of noised sums of gradients, so that what a report tells is of every step since the
training began, whether the report of that step left or not. And a report can be the same to the
byte whatever was trained, as at a learning rate of 0. So work is told by its *origin*
(`origins.Origins`): all that came in until then, and the rows. A value carries the work behind it
that is not charged yet, through states on the disk too, and a report that leaves is charged with
it. Work of one origin is charged once, as it gives the same answer; an answer of other bytes, as
from another machine, is charged anew.
"""

import contextlib
import hashlib
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

from pfrec import errors, files
from tff_process.privacy import mechanism
from tff_process.silos import labels, ledger, origins, sessions
from tff_process.silos import terms as terms_lib

BEHIND = "behind"
# Of an epsilon in the ledger, which has four decimals.
_ROUNDING = 1e-3


class ChargedWork(origins.Origins):
    """The origins of a silo's values, and what reports are charged.

    Args:
      budget: of the agreed plan.
      terms: of the agreement.
      book: the ledger; what left under the same agreement is charged already.

    Raises:
      PfrecError: where reports have left under another noise than that of the agreement now.
    """

    told_work = ("learning_rate", "first_step", "steps")

    def __init__(
        self, budget: mechanism.Budget, terms: terms_lib.Terms, book: ledger.Ledger
    ) -> None:
        super().__init__(terms.plan_digest, terms.agreement_digest, book)
        self._budget = budget
        # Of other rows, another secret or another version's draws the noise is another.
        self._own = origins.of(files.json_text(terms.receivable.client), terms.noise)
        self._states: dict[str, dict[str, sessions.Origin]] = {}
        # What is charged, in steps; the digests of the reports that left, by their origin; and the
        # steps of work that was charged with another's and told in none of its own, by its origin.
        self._steps = 0
        self._reports: dict[str, set[str]] = {}
        self._behind: dict[str, int] = {}
        told = []
        for entry in book.entries:
            if entry["what"] == ledger.STATE:
                self._know(entry[origins.STATE], _state_of(entry))
            if entry["agreement"] == self._agreement and entry["what"] == labels.REPORT:
                own, behind = entry.get(origins.ORIGIN, ""), self._unpaid(entry.get(BEHIND, {}))
                self._count(own, entry["sha256"], entry["work"][1], behind)
                told.append(entry["epsilon_spent"])
        self._require_same_noise(told[-1] if told else 0.0)

    def called(self, function: str, argument: sessions.Held) -> sessions.Origin:
        """See `Origins.called`.

        Raises:
          RefusedError: where a state is to be read that the ledger does not tell the origin of, or
            training would pass the budget.
        """
        if function == "start":
            return sessions.Origin(origins.of("start", self._plan, argument.origin.digest))
        if function == "train":
            digest = origins.of("train", self._own, argument.origin.digest)
            with self._lock:
                behind = self._unpaid({**dict(argument.origin.behind), digest: argument.work[1]})
                self._require_room(self._steps + sum(behind.values()))
            return sessions.Origin(digest, behind=tuple(behind.items()))
        if function == "train_at_home":
            # No step of the budget, and what was behind the state still is. Work on what becomes of
            # it is charged as other work than on the state before, though its answers are the same.
            return argument.origin._replace(
                digest=origins.of("train_at_home", argument.origin.digest)
            )
        if function == "read":
            with self._lock:
                return self._read(argument.state)
        if function == "write":
            with self._lock:
                self._begin_to_write(argument.state, argument.origin)
        return sessions.Origin()

    @contextlib.contextmanager
    def charged(
        self, source: sessions.Held, message: bytes, further: "dict[str, Any]"
    ) -> Iterator[None]:
        """Charges a report while its entry is made, which tells what it is charged with and what is
        spent then.

        Raises:
          RefusedError: where it would pass the budget.
        """
        own, told = source.origin.digest, hashlib.sha256(message).hexdigest()
        with self._lock:
            behind = self._unpaid(dict(source.origin.behind))
            behind.pop(own, None)
            steps = source.work[1]
            spent = self._steps + self._more(own, told, steps, behind)
            self._require_room(spent)
            further.update(epsilon_spent=round(self._budget.spent(spent), 4))
            further.update({"delta": self._budget.delta, origins.ORIGIN: own, BEHIND: behind})
            yield
            self._count(own, told, steps, behind)

    def _more(self, own: str, told: str, steps: int, behind: "Mapping[str, int]") -> int:
        """Steps that a report is charged: its own, unless it left before or they were charged with
        another's, and those behind it that are in no charge yet.
        """
        again = told in self._reports.get(own, ())
        return (0 if again else steps - self._behind.get(own, 0)) + sum(behind.values())

    def _count(self, own: str, told: str, steps: int, behind: "Mapping[str, int]") -> None:
        self._steps += self._more(own, told, steps, behind)
        self._reports.setdefault(own, set()).add(told)
        self._behind.pop(own, None)
        self._behind.update(behind)

    def _unpaid(self, behind: "Mapping[str, int]") -> "dict[str, int]":
        """The work of `behind` that is in no charge yet, by its origin."""
        return {
            origin: steps
            for origin, steps in behind.items()
            if origin not in self._reports and origin not in self._behind
        }

    def _require_room(self, steps: int) -> None:
        if steps > self._budget.steps:
            raise labels.RefusedError(
                f"work that would pass epsilon {self._budget.epsilon:g}: "
                f"the {self._budget.steps} steps that it is for have been made, and more take a "
                "new agreement and another --output"
            )

    def _read(self, state: str) -> sessions.Origin:
        known = list(self._states.get(state, {}).values())
        if not known:
            raise labels.RefusedError(
                "a state that the ledger does not tell the origin of, which a budget needs; train "
                "into another --output"
            )
        behind = self._unpaid(dict(pair for origin in known for pair in origin.behind))
        # Of one that was written in two ways nobody knows which is read, so that all work on it is
        # new.
        digest = known[0].digest if len(known) == 1 else secrets.token_hex(32)
        return sessions.Origin(digest, behind=tuple(behind.items()))

    def _begin_to_write(self, state: str, origin: sessions.Origin) -> None:
        """Before it is written, since what is being written may be read."""
        if origin.digest in self._states.get(state, {}):
            return
        told = {origins.STATE: state, origins.ORIGIN: origin.digest, BEHIND: dict(origin.behind)}
        self._book.append_all(self._agreement, [ledger.Answer(ledger.STATE, further=told)])
        self._know(state, origin)

    def _know(self, state: str, origin: sessions.Origin) -> None:
        self._states.setdefault(state, {})[origin.digest] = origin

    def _require_same_noise(self, told: float) -> None:
        """Checks that reports that have left were charged by the noise of those to come, which a
        plan that leaves its batch open does not say.
        """
        steps, now = self._steps, self._budget.spent(self._steps)
        if abs(now - told) > _ROUNDING:
            raise errors.PfrecError(
                f"the ledger says that {steps} steps have spent epsilon {told:g} under this "
                f"agreement, and by the noise of this pfrec they would have spent {now:.4f}: start "
                "the pfrec-worker that began it, or agree anew with pfrec-agreement; the budgets "
                "of both add up"
            )


def _state_of(entry: "Mapping[str, Any]") -> sessions.Origin:
    return sessions.Origin(entry[origins.ORIGIN], behind=tuple(entry.get(BEHIND, {}).items()))
