"""What one connection of a driver holds in a silo's worker: each value under a name and with a
label, and not more than the worker can bear.
"""

import dataclasses
import re
import secrets
import threading
from collections.abc import Iterable
from typing import NamedTuple, Optional

from tensorflow_federated.proto.v0 import executor_pb2

from tff_process.silos import labels

_MOST_VALUES, _MOST_PRIVATE = 1_000, 64
_WITH_PRIVATE = {labels.PRIVATE, labels.TRAINED, labels.AT_HOME, labels.READ}
# What a driver may call a result of its own.
_NAME = re.compile(r"~[0-9]{1,12}")


class GoneError(Exception):
    """The connection is not the present one."""


class Origin(NamedTuple):
    """What a value follows from, for a sum or a budget; see `origins`.

    Attributes:
      digest: of it; empty for what is each silo's own.
      number: of work the sum that it is for, of a private state the next one; -1 for none.
      behind: the work that it follows from and that no report was charged with, as origin and
        steps of each; see `charged_work`.
    """

    digest: str = ""
    number: int = -1
    behind: "tuple[tuple[str, int], ...]" = ()


@dataclasses.dataclass(frozen=True)
class Held:
    """A value in the worker, or one of the silo's computations.

    Attributes:
      label: of the value; of a computation its name.
      reference: of the worker; None for a computation.
      bytes: that the driver sent for it.
      training: the training that it names or comes from; empty for none.
      work: first step and number of steps that it asks for or comes from.
      state: the private state that it names; empty for none.
      origin: what it follows from, for a sum or a budget.
    """

    label: str
    reference: Optional[executor_pb2.ValueRef]
    bytes: int = 0
    training: str = ""
    work: "tuple[int, ...]" = ()
    state: str = ""
    origin: Origin = Origin()


class Session:
    """One connection's values. The next connection takes the silo over, and these are gone."""

    def __init__(self, name: str, executor: executor_pb2.ExecutorId) -> None:
        self.name, self.executor = name, executor
        self.functions: dict[str, executor_pb2.ValueRef] = {}
        self.peers: dict[int, str] = {}
        self.lock = threading.Lock()
        self._held: dict[str, Held] = {}

    def get(self, reference: executor_pb2.ValueRef) -> Held:
        found = self._held.get(reference.id)
        if found is None:
            raise labels.RefusedError("a value that this connection does not have")
        return found

    def value(self, reference: executor_pb2.ValueRef) -> Held:
        found = self.get(reference)
        if found.reference is None:
            raise labels.RefusedError(f"the computation {found.label} in the place of a value")
        return found

    def require_room(self, size: int = 0, most: int = 0) -> None:
        """Bounds what a connection keeps in the worker."""
        with self.lock:
            held = list(self._held.values())
        if len(held) >= _MOST_VALUES:
            raise labels.RefusedError(f"more than {_MOST_VALUES} values at once")
        if sum(value.label in _WITH_PRIVATE for value in held) >= _MOST_PRIVATE:
            raise labels.RefusedError(f"more than {_MOST_PRIVATE} private states at once")
        if size + sum(value.bytes for value in held) > most > 0:
            raise labels.RefusedError(f"more than {most} bytes of values at once")

    def hold(self, held: Held) -> executor_pb2.ValueRef:
        name = secrets.token_hex(8)
        with self.lock:
            self._held[name] = held
        return executor_pb2.ValueRef(id=name)

    def require_name(self, name: str) -> None:
        """Checks a name that a driver has for a result."""
        if not _NAME.fullmatch(name) or name in self._held:
            raise labels.RefusedError(f"a result of the name {name[:40]!r}")

    def rename(self, reference: executor_pb2.ValueRef, name: str) -> None:
        """Gives a result the driver's name for it, which another message may have taken by now;
        then it keeps its own, and is let go of when the connection ends.
        """
        with self.lock:
            if name in self._held:
                raise labels.RefusedError(f"a result of the name {name!r}")
            self._held[name] = self._held.pop(reference.id)

    def drop(self, references: "Iterable[executor_pb2.ValueRef]") -> "list[executor_pb2.ValueRef]":
        """Forgets values, all or none; what the worker is to forget. A name that a driver has for a
        result that was refused is nothing to forget.
        """
        gone = {
            reference.id: self.get(reference)
            for reference in references
            if reference.id in self._held or not _NAME.fullmatch(reference.id)
        }
        with self.lock:
            for name in gone:
                self._held.pop(name, None)
        return [held.reference for held in gone.values() if held.reference is not None]
