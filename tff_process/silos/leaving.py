"""What leaves a silo under its agreement: counted, charged to the budget, of the type agreed and in
the ledger before it does.
"""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Optional

from tensorflow_federated.proto.v0 import executor_pb2

from tff_process.silos import (
    charged_work,
    directory,
    labels,
    ledger,
    masked_reports,
    origins,
    sessions,
    values,
)
from tff_process.silos import terms as terms_lib

# In the ledger, what the batches of a report follow from, by a digest.
_BATCHES = "batches"


def used_up(terms: terms_lib.Terms, entries: "Sequence[Mapping[str, Any]]") -> str:
    """What a silo's owner should know before a driver is refused: that all trainings of the
    agreement have begun, as under one to the same flags that was written anew; empty where not. A
    silo that starts again within its training is told so too.

    Args:
      terms: of the agreement.
      entries: of the silo's ledger.
    """
    begun = len(_begun(_of(terms, entries)))
    if begun < terms.limits.trainings:
        return ""
    return f"a training that has begun may go on, and another is refused: {_used_up(terms)}"


def _used_up(terms: terms_lib.Terms) -> str:
    most = terms.limits.trainings
    return (
        f"the agreement's {most} have begun; its owner agrees to more by pfrec-agreement with "
        f"--trainings={most + 1} or more"
    )


def _of(
    terms: terms_lib.Terms, entries: "Sequence[Mapping[str, Any]]"
) -> "list[Mapping[str, Any]]":
    """The entries of a ledger that count under an agreement."""
    return [entry for entry in entries if entry["agreement"] == terms.agreement_digest]


def _begun(entries: "Iterable[Mapping[str, Any]]") -> "set[str]":
    """The trainings that began."""
    return {entry["training"] for entry in entries if entry["what"] == ledger.TRAINING}


class Leaving:
    """What has left and what may; safe to use from several threads.

    Args:
      terms: of the agreement.
      book: the silo's ledger, of which what left under the same agreement counts.
      sums: what masks reports; None where they leave as they are.
      work: what charges reports to a budget; None where there is none.

    Attributes:
      answered: how often something of a label has left, as the limits count it.
    """

    def __init__(
        self,
        terms: terms_lib.Terms,
        book: ledger.Ledger,
        sums: Optional[masked_reports.MaskedReports],
        work: Optional[charged_work.ChargedWork],
    ) -> None:
        self._terms, self._ledger, self._sums, self._work = terms, book, sums, work
        self._lock = threading.Lock()
        own = _of(terms, book.entries)
        self.answered = dict.fromkeys(labels.LEAVES, 0)
        for entry in own:
            if entry["what"] in labels.LEAVES:
                label, times = self._counted_as(entry["what"])
                self.answered[label] += times
        self._trainings = _begun(own)
        rules = terms.receivable.work
        self._batches = origins.of(
            f"seed {rules.seed}", f"batches of {rules.batch_size}", terms.receivable.client["data"]
        )
        for entry in book.entries:
            if entry["what"] == labels.REPORT and self._of_these_batches(entry):
                rules.note(*entry["work"])

    def _of_these_batches(self, entry: "Mapping[str, Any]") -> bool:
        """Whether a report is of the batches of now: of the same rows in the same order, also under
        another agreement or plan. One of before that was noted is where its agreement is the same.
        """
        if _BATCHES in entry:
            return bool(entry[_BATCHES] == self._batches)
        return bool(entry["agreement"] == self._terms.agreement_digest)

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
                raise labels.RefusedError(f"another training: {_used_up(self._terms)}")
            self._ledger.append(ledger.TRAINING, self._terms.agreement_digest, training=training)
            self._trainings.add(training)

    def require_left(self, label: str) -> None:
        """Refuses what would be of a label that the agreement's answers of have left."""
        label, times = self._counted_as(label)
        most = self._terms.limits.most.get(label)
        if most is not None and self.answered[label] + times > most:
            raise labels.RefusedError(f"{label} after the agreement's {most} have left")

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
                if source.label == labels.REPORT:
                    charged.enter_context(self._terms.receivable.work.leaving(*source.work))
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
            further[_BATCHES] = self._batches
        return ledger.Answer(source.label, leaves, message, further)

    @contextlib.contextmanager
    def _charged(
        self, source: sessions.Held, message: bytes, further: "dict[str, Any]"
    ) -> Iterator[None]:
        """Charges a report to the budget, or holds the masks of a sum for it, while its entry is
        made.
        """
        if self._sums is not None and source.label == labels.REPORT:
            with self._sums.once(source.origin.digest, message, further):
                yield
            return
        if self._work is not None and source.label == labels.REPORT:
            with self._work.charged(source, message, further):
                yield
            return
        yield
