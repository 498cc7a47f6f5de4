"""What leaves a silo under its agreement: counted, charged to the budget, of the type agreed and in
the ledger before it does.
"""

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Optional

from tensorflow_federated.proto.v0 import executor_pb2

from pfrec import errors
from tff_process.silos import directory, labels, ledger, masked_reports, sessions, values
from tff_process.silos import terms as terms_lib

# Of an epsilon in the ledger, which has four decimals.
_ROUNDING = 1e-3


class Leaving:
    """What has left and what may; safe to use from several threads.

    Args:
      terms: of the agreement.
      book: the silo's ledger, of which what left under the same agreement counts.
      sums: what masks reports; None where they leave as they are.

    Attributes:
      answered: how often something of a label has left, as the limits count it.

    Raises:
      PfrecError: where reports have left under another noise than that of the agreement now.
    """

    def __init__(
        self,
        terms: terms_lib.Terms,
        book: ledger.Ledger,
        sums: Optional[masked_reports.MaskedReports],
    ) -> None:
        self._terms, self._ledger, self._sums = terms, book, sums
        self._lock = threading.Lock()
        own = [entry for entry in book.entries if entry["agreement"] == terms.agreement_digest]
        self.answered = dict.fromkeys(labels.LEAVES, 0)
        for entry in own:
            if entry["what"] in labels.LEAVES:
                label, times = self._counted_as(entry["what"])
                self.answered[label] += times
        self._trainings = {entry["training"] for entry in own if entry["what"] == ledger.TRAINING}
        for entry in own:
            if entry["what"] == labels.REPORT:
                terms.receivable.work.narrow(*entry["work"])
        self._require_same_noise()

    def require_training(self, function: str, training: str, states: Callable[[str], int]) -> None:
        """Counts the trainings that begin;
        states of those that did not begin under this agreement are not read.

        Args:
          function: that is called.
          training: which its argument names; empty for none.
          states: how many a training has in the silo.

        Raises:
          RefusedError: where it may not begin, or not be read.
        """
        with self._lock:
            if not training or training in self._trainings:
                return
            if function == "read":
                raise labels.RefusedError(
                    "a state of a training that did not begin under this agreement"
                )
            # Else a driver could begin one of another agreement's again, and read what it left.
            if states(training):
                raise labels.RefusedError(
                    f"a training of the name of one before this agreement; use another --output, "
                    f"or remove {directory.RUNS}/{training} in the silo"
                )
            if len(self._trainings) >= self._terms.limits.trainings:
                raise labels.RefusedError(
                    f"another training: the agreement's {self._terms.limits.trainings} have begun"
                )
            self._ledger.append(ledger.TRAINING, self._terms.agreement_digest, training=training)
            self._trainings.add(training)

    def require_left(self, label: str) -> None:
        """Refuses what would be of a label that the agreement's answers of have left."""
        label, times = self._counted_as(label)
        most = self._terms.limits.most.get(label)
        if most is not None and self.answered[label] + times > most:
            raise labels.RefusedError(f"{label} after the agreement's {most} have left")

    def _steps_charged(self) -> "dict[str, int]":
        """The steps of each report that has left under the agreement, by the report's digest."""
        return {
            entry["sha256"]: entry["work"][1]
            for entry in self._ledger.entries
            if entry["agreement"] == self._terms.agreement_digest and entry["what"] == labels.REPORT
        }

    def _require_same_noise(self) -> None:
        """Checks that reports that have left were charged by the noise of those to come, which a
        plan that leaves its batch open does not say.
        """
        budget, agreement = self._terms.budget, self._terms.agreement_digest
        told = [
            entry["epsilon_spent"]
            for entry in self._ledger.entries
            if entry["agreement"] == agreement and "epsilon_spent" in entry
        ]
        if budget is None or not told:
            return
        steps = sum(self._steps_charged().values())
        now = budget.spent(steps)
        if abs(now - told[-1]) > _ROUNDING:
            raise errors.PfrecError(
                f"the ledger says that {steps} steps have spent epsilon {told[-1]:g} under this "
                f"agreement, and by the noise of this pfrec they would have spent {now:.4f}: start "
                "the pfrec-worker that began it, or agree anew with pfrec-agreement; the budgets "
                "of both add up"
            )

    def _counted_as(self, label: str) -> "tuple[str, int]":
        """Under which label an answer counts, and as how many of it."""
        return self._terms.limits.counted_as.get(label, (label, 1))

    @contextlib.contextmanager
    def counted(self, label: str) -> Iterator[None]:
        """Counts an answer before it is made, so that two at once do not pass for one;
        one that fails is not counted.
        """
        with self._lock:
            self.require_left(label)
            label, times = self._counted_as(label)
            self.answered[label] += times
        try:
            yield
        except BaseException:
            with self._lock:
                self.answered[label] -= times
            raise

    def entered(
        self, sources: "Sequence[sessions.Held]", made: "Sequence[bytes]", to: str
    ) -> "list[bytes]":
        """The worker's answers, which are in the ledger now;
        with one that is not of the agreed type none leaves.
        """
        with contextlib.ExitStack() as charged:
            answers = []
            for source, message in zip(sources, made):
                answer = self._told(source, message, to)
                charged.enter_context(self._charged(source, answer.message, answer.further))
                answers.append(answer)
            if answers:
                self._ledger.append_all(self._terms.agreement_digest, answers)
        return [answer.message for answer in answers]

    def _told(self, source: sessions.Held, message: bytes, to: str) -> ledger.Answer:
        """What the ledger is to tell of an answer, which leaves as the worker wrote it."""
        made = executor_pb2.ComputeResponse.FromString(message)
        names = list(values.tensors(self._terms.answers[source.label]))
        found = list(values.arrays(made.value))
        if not values.known(made) or [(array.dtype, tuple(array.shape.dim)) for array in found] != [
            (spec.dtype, spec.shape) for _, spec in names
        ]:
            raise labels.RefusedError(f"{source.label}, for it is not of the type agreed")
        leaves = tuple(
            ledger.Leaf(name, tuple(array.shape.dim), values.payload_bytes(array, spec))
            for (name, spec), array in zip(names, found)
        )
        if self._sums is not None and source.label == labels.REPORT:
            self._sums.masked(source.origin.digest, made.value)
            message = made.SerializeToString()
        further: dict[str, Any] = {"to": to or "unknown"}
        if source.label == labels.REPORT:
            further["work"] = list(source.work)
        return ledger.Answer(source.label, leaves, message, further)

    @contextlib.contextmanager
    def _charged(
        self, source: sessions.Held, message: bytes, further: "dict[str, Any]"
    ) -> Iterator[None]:
        """Charges a report to the budget while its entry is made, which says what is spent with it;
        one that left before, to the byte, tells nothing new. Nor does it under the masks of a sum,
        and another one may not have those.
        """
        if self._sums is not None and source.label == labels.REPORT:
            with self._sums.once(source.origin.digest, message, further):
                yield
            return
        budget = self._terms.budget
        if budget is None or source.label != labels.REPORT:
            yield
            return
        with self._lock:
            left = self._steps_charged()
            left[hashlib.sha256(message).hexdigest()] = source.work[1]
            steps = sum(left.values())
            if steps > budget.steps:
                raise labels.RefusedError(
                    f"a report that would pass epsilon {budget.epsilon:g}: "
                    f"the {budget.steps} steps that it is for have left"
                )
            further.update(epsilon_spent=round(budget.spent(steps), 4), delta=budget.delta)
            yield
