"""The gatekeeper of a silo: it speaks TFF's executor protocol to the driver, and passes on to TFF's
worker only what the silo agreed to.

A driver names computations and the silo's own are run; every value has a label (`labels`), every
value from the driver is checked (`values`), and what leaves is in the ledger before it does.
Nothing that comes from the driver reaches the worker but checked numbers and the numbers of values.
"""

import concurrent.futures
import contextlib
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Optional

import grpc
from tensorflow_federated.proto.v0 import computation_pb2, executor_pb2

from tff_process.runtime import remote
from tff_process.silos import (
    charged_work,
    directory,
    labels,
    leaving,
    ledger,
    masked_reports,
    origins,
    sessions,
)
from tff_process.silos import terms as terms_lib

_MOST_PARTS = 16
_HELD_MESSAGES = 8
# An executor without clients of its own.
_NOBODY = executor_pb2.GetExecutorRequest(
    cardinalities=[
        executor_pb2.Cardinality(placement=computation_pb2.Placement(uri="clients"), cardinality=0)
    ]
)


class Gatekeeper:
    """Answers calls, or raises `RefusedError`, `GoneError`, a PfrecError where the ledger cannot be
    written, or the worker's `grpc.RpcError`.

    Args:
      terms: what it enforces.
      worker: a stub of TFF's worker, whose Compute gives its answer's bytes.
      book: the silo's ledger.
      whom: says who is at the other end of a connection from a port of this machine, for the
        ledger.
      written: called with a training's name before a driver is told that something of it is
        written, to make that survive a power cut.
      states: how many states a training of a name has in the silo.
    """

    def __init__(
        self,
        terms: terms_lib.Terms,
        worker: Any,
        book: ledger.Ledger,
        whom: Callable[[int], str] = lambda port: "",
        written: Callable[[str], None] = lambda training: None,
        states: Callable[[str], int] = lambda training: 0,
    ) -> None:
        self._terms, self._worker, self._whom = terms, worker, whom
        self._written, self._states = written, states
        self._lock = threading.Lock()
        self._session: Optional[sessions.Session] = None
        sums: Optional[masked_reports.MaskedReports] = None
        work: Optional[charged_work.ChargedWork] = None
        if terms.masks is not None:
            sums = masked_reports.MaskedReports(
                terms.masks, terms.plan_digest, terms.agreement_digest, book
            )
        elif terms.budget is not None:
            work = charged_work.ChargedWork(terms.budget, terms, book)
        self._origins: Optional[origins.Origins] = sums or work
        self._leaving = leaving.Leaving(terms, book, sums, work)

    def get_executor(
        self, request: executor_pb2.GetExecutorRequest
    ) -> executor_pb2.GetExecutorResponse:
        """Begins a connection, which ends the one before."""
        if any(item.cardinality for item in request.cardinalities):
            raise labels.RefusedError("clients placed at this executor: it has none")
        with self._lock:
            if self._session is not None:
                self._end(self._session)
                self._session = None
            executor = self._worker.GetExecutor(_NOBODY).executor
            name = f"{remote.GATEKEEPER}{self._terms.plan_digest}/{secrets.token_hex(8)}"
            self._session = sessions.Session(name, executor)
        return executor_pb2.GetExecutorResponse(executor=executor_pb2.ExecutorId(id=name))

    def create_value(
        self, request: executor_pb2.CreateValueRequest
    ) -> executor_pb2.CreateValueResponse:
        """Takes a value, or the name of a computation."""
        session = self._current(request.executor)
        if request.value.WhichOneof("value") == "computation":
            session.require_room()
            held = session.hold(sessions.Held(self._named(request.value.computation), None))
            return executor_pb2.CreateValueResponse(value_ref=held)
        value = request.value
        taken = self._terms.receivable.receive(value)
        session.require_room(taken.bytes, _HELD_MESSAGES * self._terms.receivable.most_bytes)
        if taken.value is value:
            # It goes on as it is, which spares a copy of a model.
            asked = request
            asked.DiscardUnknownFields()
            asked.executor.CopyFrom(session.executor)
        else:
            asked = executor_pb2.CreateValueRequest(executor=session.executor, value=taken.value)
        made = self._worker.CreateValue(asked)
        origin = sessions.Origin()
        if self._origins is not None:
            origin = self._origins.received(taken.label, value, taken.number)
        held = session.hold(
            sessions.Held(
                taken.label,
                made.value_ref,
                taken.bytes,
                taken.training,
                taken.work,
                taken.state,
                origin,
            )
        )
        return executor_pb2.CreateValueResponse(value_ref=held)

    def create_call(
        self, request: executor_pb2.CreateCallRequest
    ) -> executor_pb2.CreateCallResponse:
        """Runs one of the silo's computations on what it takes."""
        session = self._current(request.executor)
        function, argument = session.get(request.function_ref), session.value(request.argument_ref)
        if function.reference is not None:
            raise labels.RefusedError(f"a call of {function.label}, which is no computation")
        label = labels.call(function.label, argument.label)
        session.require_room()
        self._leaving.require_left(labels.REPORT if label == labels.TRAINED else label)
        self._leaving.require_training(function.label, argument.training, self._states)
        if argument.label in (labels.WRITING, labels.WRITING_RECEIVED) and (
            self._states(argument.training) >= directory.MOST_STATES
        ):
            raise labels.RefusedError(
                f"more than {directory.MOST_STATES} states of a training on the disk; train with "
                "fewer --keep_rounds"
            )
        reference = self._function(session, function.label)
        origin = sessions.Origin()
        if self._origins is not None:
            origin = self._origins.called(function.label, argument)
        made = self._worker.CreateCall(
            executor_pb2.CreateCallRequest(
                executor=session.executor, function_ref=reference, argument_ref=argument.reference
            )
        )
        held = session.hold(
            sessions.Held(
                label,
                made.value_ref,
                training=argument.training,
                work=argument.work,
                origin=origin,
            )
        )
        return executor_pb2.CreateCallResponse(value_ref=held)

    def create_struct(
        self, request: executor_pb2.CreateStructRequest
    ) -> executor_pb2.CreateStructResponse:
        """Puts values together as a computation takes them."""
        session = self._current(request.executor)
        if len(request.element) > _MOST_PARTS:
            raise labels.RefusedError(
                f"a structure of {len(request.element)} parts: no computation takes it"
            )
        session.require_room()
        parts = [(element.name, session.value(element.value_ref)) for element in request.element]
        label = labels.struct([(name, part.label) for name, part in parts])
        # What a later call needs to know of its parts: the training that they name, and the work
        # that they ask for.
        trainings = {
            part.training for _, part in parts if part.training and part.label != labels.PRIVATE
        }
        if len(trainings) > 1:
            raise labels.RefusedError("a structure that names two trainings")
        work = next(
            (part.work for _, part in parts if part.work and part.label != labels.PRIVATE), ()
        )
        state = "".join(part.state for _, part in parts)
        origin = sessions.Origin()
        if self._origins is not None:
            origin = self._origins.joined(label, [part.origin for _, part in parts])
        asked = executor_pb2.CreateStructRequest(executor=session.executor)
        for name, part in parts:
            asked.element.add(name=name, value_ref=part.reference)
        made = self._worker.CreateStruct(asked)
        held = session.hold(
            sessions.Held(
                label,
                made.value_ref,
                training=next(iter(trainings), ""),
                work=work,
                state=state,
                origin=origin,
            )
        )
        return executor_pb2.CreateStructResponse(value_ref=held)

    def create_selection(
        self, request: executor_pb2.CreateSelectionRequest
    ) -> executor_pb2.CreateSelectionResponse:
        """Takes an element out of what a computation of the silo made."""
        session = self._current(request.executor)
        source = session.value(request.source_ref)
        label = labels.select(source.label, request.index)
        session.require_room()
        made = self._worker.CreateSelection(
            executor_pb2.CreateSelectionRequest(
                executor=session.executor, source_ref=source.reference, index=request.index
            )
        )
        held = session.hold(
            sessions.Held(
                label,
                made.value_ref,
                training=source.training,
                work=source.work,
                origin=source.origin,
            )
        )
        return executor_pb2.CreateSelectionResponse(value_ref=held)

    def compute(self, request: executor_pb2.ComputeRequest, port: int = 0) -> bytes:
        """Answers with a value that may leave, once it is in the ledger.

        Args:
          request: which value.
          port: of this machine, which the call came from.

        Returns:
          the message, a `ComputeResponse`, as the bytes whose digest the ledger has.
        """
        (answer,) = self._answers([request], port)
        return answer

    def together(self, calls: "Iterable[tuple[str, str, Any]]", port: int = 0) -> "list[bytes]":
        """Does several calls in their order, each as if it came alone.

        Args:
          calls: of each the name of its method here, the name that the driver has for its result,
            and the request; see `runtime.together`.
          port: see `compute`.

        Returns:
          the answers to what is asked for, of which none leaves after a refusal.

        Raises:
          RefusedError: the first refusal, when all others are done; as for the single calls.
        """
        refused: Optional[labels.RefusedError] = None
        wanted: list[executor_pb2.ComputeRequest] = []
        for method, name, request in calls:
            try:
                session = self._current(request.executor)
                if method == "compute":
                    wanted.append(request)
                elif wanted:
                    raise labels.RefusedError("a call after what the message asks for")
                elif method == "dispose":
                    self.dispose(request)
                else:
                    session.require_name(name)
                    session.rename(getattr(self, method)(request).value_ref, name)
            except labels.RefusedError as error:
                refused = refused or error
        if refused is not None:
            raise refused
        return self._answers(wanted, port)

    def _answers(
        self, requests: "Sequence[executor_pb2.ComputeRequest]", port: int
    ) -> "list[bytes]":
        """Answers to all requests, or to none, once they are in the ledger."""
        if not requests:
            return []
        session = self._current(requests[0].executor)
        asked: list[sessions.Held] = []
        with contextlib.ExitStack() as counted:
            for request in requests:
                self._current(request.executor)
                source = session.value(request.value_ref)
                labels.require_leaving(source.label)
                # One report is a message already.
                if source.label in (of.label for of in asked):
                    raise labels.RefusedError(f"{source.label} twice in a message")
                counted.enter_context(self._leaving.counted(source.label))
                asked.append(source)
            made = [
                self._worker.Compute(
                    executor_pb2.ComputeRequest(
                        executor=session.executor, value_ref=source.reference
                    )
                )
                for source in asked
            ]
            to = self._peer(session, port)
            written = [
                source.training
                for source in asked
                if source.label == labels.ACKNOWLEDGEMENT and source.training
            ]
            with self._surviving(written):
                answers = self._leaving.entered(asked, made, to)
        return answers

    @contextlib.contextmanager
    def _surviving(self, trainings: "Sequence[str]") -> Iterator[None]:
        """Waits at its end for what trainings wrote to survive a power cut, which the disk does at
        one time with the ledger's lines.
        """
        if not trainings:
            yield
            return
        with concurrent.futures.ThreadPoolExecutor(1) as beside:
            done = beside.map(self._written, trainings)
            yield
            list(done)

    def dispose(self, request: executor_pb2.DisposeRequest) -> executor_pb2.DisposeResponse:
        """Lets go of values of this connection."""
        session = self._current(request.executor)
        gone = session.drop(request.value_ref)
        self._worker.Dispose(executor_pb2.DisposeRequest(executor=session.executor, value_ref=gone))
        return executor_pb2.DisposeResponse()

    def dispose_executor(
        self, request: executor_pb2.DisposeExecutorRequest
    ) -> executor_pb2.DisposeExecutorResponse:
        """Ends this connection."""
        session = self._current(request.executor)
        with self._lock:
            if self._session is session:
                self._session = None
                self._end(session)
        return executor_pb2.DisposeExecutorResponse()

    def _current(self, executor: executor_pb2.ExecutorId) -> sessions.Session:
        session = self._session
        if session is None or executor.id != session.name:
            raise sessions.GoneError("this connection has ended: another one took the silo over")
        return session

    def _end(self, session: sessions.Session) -> None:
        """Lets the worker forget a connection's values; one that was started again has none."""
        with contextlib.suppress(grpc.RpcError):
            self._worker.DisposeExecutor(
                executor_pb2.DisposeExecutorRequest(executor=session.executor)
            )

    def _named(self, computation: Any) -> str:
        """The name by which a driver asks for one of the silo's computations."""
        if computation.WhichOneof("computation") != "reference":
            raise labels.RefusedError(
                "a computation of the driver's: only the silo's own run here, by their names"
            )
        name = str(computation.reference.name)
        if name not in self._terms.computations:
            raise labels.RefusedError(
                f"the computation {name[:40]!r}: this silo has "
                f"{', '.join(self._terms.computations)}"
            )
        return name

    def _function(self, session: sessions.Session, name: str) -> executor_pb2.ValueRef:
        """The silo's computation in the worker, sent once for each connection."""
        with session.lock:
            if name not in session.functions:
                asked = executor_pb2.CreateValueRequest(
                    executor=session.executor, value=self._terms.computations[name]
                )
                session.functions[name] = self._worker.CreateValue(asked).value_ref
            return session.functions[name]

    def _peer(self, session: sessions.Session, port: int) -> str:
        """Who is at the other end; asked once for each of a session's connections."""
        if not session.peers.get(port):
            session.peers[port] = self._whom(port)
        return session.peers[port]
