"""What a silo's gatekeeper does for `--secure_sums`: it masks every report, under everything that
the report follows from.

A driver composes a round of values that it sends, and could send each silo others: values under
which all but one silo's updates come to nothing lay bare that one's in the sum (Pasquini et al.,
"Eluding Secure Aggregation in Federated Learning via Model Inconsistency", CCS 2022). So a report
has an *origin*, a digest of all that came in until it was made: first values, shared values,
learning rates and numbers of aggregation steps, training after training, through private states on
the disk. Masks follow from it, and cancel where all silos were told the same from the beginning.

Which batches are trained on is each silo's own, so it has to follow from what is the same at all
(`work_rules.WorkRules.check_part`): else a driver could have one silo train on others for another
sum that all else of is the same, and subtract. So sums have numbers, from 0 on, and a private state
that took part in one is for the next.

Two different reports of one origin would have the same masks, so there is one: the ledger has each
origin with the digest of what left, and only the same bytes leave again, as where a round is
trained again.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from tensorflow_federated.proto.v0 import executor_pb2

from pfrec import client_directory
from tff_process.client import summed_uploads
from tff_process.silos import labels, ledger, origins, sessions, values
from tff_process.sums import masks


class MaskedReports(origins.Origins):
    """The origins of a silo's values, and masks on its reports; safe to use from several threads.

    Args:
      own: the silo's masks.
      plan_digest: of the agreed plan, where every origin begins.
      agreement: the digest of the agreement, for the ledger.
      book: the ledger, of which entries under earlier agreements count too.
    """

    # What is the same at all silos.
    told_work = ("learning_rate", *summed_uploads.ASKED)

    def __init__(
        self, own: masks.Masks, plan_digest: str, agreement: str, book: ledger.Ledger
    ) -> None:
        super().__init__(plan_digest, agreement, book)
        self._masks = own
        self._left: dict[str, str] = {}
        self._states: dict[str, str] = {}
        for entry in book.entries:
            if entry["what"] == labels.REPORT and origins.ORIGIN in entry:
                self._left[entry[origins.ORIGIN]] = entry["sha256"]
            if entry["what"] == ledger.STATE:
                self._states[entry[origins.STATE]] = entry[origins.ORIGIN]

    def joined(self, label: str, parts: "Sequence[sessions.Origin]") -> sessions.Origin:
        """See `Origins.joined`.

        Raises:
          RefusedError: where a private state is to be trained for another sum than its next.
        """
        made = super().joined(label, parts)
        if label in (labels.TRAINING_CLIENT, labels.TRAINING):
            numbers = {part.number for part in parts if part.number >= 0}
            if len(numbers) > 1:
                raise labels.RefusedError("training for another sum than the state's next one")
            made = made._replace(number=next(iter(numbers), made.number))
        return made

    def called(self, function: str, argument: sessions.Held) -> sessions.Origin:
        """See `Origins.called`.

        Raises:
          RefusedError: where a state is to be read that nobody knows the origin of, or one of
            another origin to be written over it, or one in the place of another sum's.
        """
        origin, state = argument.origin, argument.state
        if function == "start":
            return sessions.Origin(origins.of("start", self._plan, origin.digest), 0)
        if function == "train":
            return sessions.Origin(origins.of("train", origin.digest), origin.number + 1)
        if function == "read":
            with self._lock:
                if state not in self._states:
                    raise labels.RefusedError(
                        "a state that the ledger does not tell the origin of, which sums need"
                    )
                return sessions.Origin(self._states[state], _next_of(state))
        if function == "write":
            if origin.number != _next_of(state):
                raise labels.RefusedError(
                    f"to write a state for sum {origin.number} as that of another"
                )
            self._begin_to_write(state, origin.digest)
        return sessions.Origin()

    def _begin_to_write(self, state: str, origin: str) -> None:
        """Before it is written, since what is being written may be read."""
        with self._lock:
            known = self._states.get(state)
            if known is None:
                self._book.append(ledger.STATE, self._agreement, state=state, origin=origin)
                self._states[state] = origin
            elif known != origin:
                raise labels.RefusedError(
                    "to write over a state that came about in another way; train into another "
                    "--output"
                )

    def masked(self, origin: str, value: executor_pb2.Value) -> None:
        """Puts masks on all whole numbers of a report, which is of the agreed type."""
        arrays = [array for array in values.arrays(value) if array.dtype == values.INT64]
        flat = np.concatenate([values.numbers(array) for array in arrays])
        hidden, place = self._masks.masked(bytes.fromhex(origin), flat).astype("<i8"), 0
        for array in arrays:
            size = len(values.numbers(array))
            array.ClearField("int64_list")
            array.content = hidden[place : place + size].tobytes()
            place += size

    @contextlib.contextmanager
    def once(
        self, origin: str, message: bytes, further: "dict[str, Any]"
    ) -> "Iterator[Mapping[str, Any]]":
        """Holds an origin for a message while its entry is made, which tells the origin.

        Raises:
          RefusedError: where another one of it left.
        """
        told = hashlib.sha256(message).hexdigest()
        with self._lock:
            if self._left.get(origin, told) != told:
                raise labels.RefusedError(
                    "another report under the masks of one that left, which would tell their "
                    "difference; where its rows are others now, train into another --output"
                )
            further[origins.ORIGIN] = origin
            yield further
            self._left[origin] = told


def _next_of(state: str) -> int:
    """The number of the sum that a state on the disk is for: it is named so."""
    return client_directory.version_of(state.rpartition("/")[2])
