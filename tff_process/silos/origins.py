"""What the values that a driver composes follow from: the origin of each is a digest of all that
came in until it was made, through private states on the disk too. `masked_reports` has what sums
need of it, `charged_work` what a budget does.
"""

import threading
from collections.abc import Sequence
from typing import Any

from tensorflow_federated.proto.v0 import executor_pb2

from tff_process.silos import labels, ledger, sessions, values
from tff_process.sums import masks

ORIGIN, STATE = "origin", "state"


class Origins:
    """The origins of a silo's values; safe to use from several threads.

    Args:
      plan_digest: of the agreed plan, where every origin begins.
      agreement: the digest of the agreement, for the ledger.
      book: the ledger, which tells the origins of states, also under earlier agreements.
    """

    # Of a work, what is told by its origin.
    told_work: "tuple[str, ...]" = ()

    def __init__(self, plan_digest: str, agreement: str, book: ledger.Ledger) -> None:
        self._plan, self._agreement, self._book = plan_digest, agreement, book
        self._lock = threading.Lock()

    def received(self, label: str, value: executor_pb2.Value, number: int) -> sessions.Origin:
        """The origin of a value from the driver, of work that is for sum `number`."""
        if label in (labels.SHARED, labels.FIRST_VALUES):
            return sessions.Origin(values.digest(value))
        if label == labels.PERSONAL:
            # All but the client's number, which a silo's own computations do not depend on.
            return sessions.Origin(values.digest(_parts(value)["values"]))
        if label == labels.WORK:
            parts = _parts(value)
            told = (values.digest(parts[name]) for name in self.told_work)
            return sessions.Origin(of("work", *told), number)
        return sessions.Origin()

    def joined(self, label: str, parts: "Sequence[sessions.Origin]") -> sessions.Origin:
        """The origin of a structure of parts with these."""
        if label in (labels.TRAINING_CLIENT, labels.TRAINING):
            behind = dict(pair for part in parts for pair in part.behind)
            return sessions.Origin(
                of("parts", *(part.digest for part in parts)), behind=tuple(behind.items())
            )
        if label == labels.WRITING:
            return parts[0]  # the state's
        return sessions.Origin()

    def called(self, function: str, argument: sessions.Held) -> sessions.Origin:
        """The origin of what one of the silo's computations makes of an argument.

        Raises:
          RefusedError: where a state is to be read that nobody knows the origin of, and where the
            kind of origins says so.
        """
        raise NotImplementedError("each kind has its own")


def of(*parts: str) -> str:
    """The digest of parts that an origin follows from."""
    return masks.context(*(part.encode() for part in parts)).hex()


def _parts(value: executor_pb2.Value) -> "dict[str, Any]":
    return {element.name: element.value for element in value.struct.element}
