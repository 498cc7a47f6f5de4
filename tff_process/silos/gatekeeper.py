"""The gatekeeper of a silo: it speaks TFF's executor protocol to the driver, and passes on to TFF's
worker only what the silo agreed to.

A driver names computations and the silo's own are run; every value has a label (`labels`), every
value from the driver is checked (`values`), and what leaves is in the ledger before it does.
Nothing that comes from the driver reaches the worker but checked numbers and the numbers of values.
"""

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Optional

import grpc
from tensorflow_federated.proto.v0 import computation_pb2, executor_pb2

from tff_process.privacy import mechanism
from tff_process.runtime import remote
from tff_process.silos import directory, labels, ledger, masked_reports, sessions, values
from tff_process.silos import receivable as receivable_lib
from tff_process.sums import masks as masks_lib

_MOST_PARTS = 16
_HELD_MESSAGES = 8
# An executor without clients of its own.
_NOBODY = executor_pb2.GetExecutorRequest(
    cardinalities=[
        executor_pb2.Cardinality(placement=computation_pb2.Placement(uri="clients"), cardinality=0)
    ]
)


@dataclasses.dataclass(frozen=True)
class Limits:
    """How often something may leave under an agreement.

    Attributes:
      most: answers of a label, by label; those of other labels are not counted.
      trainings: how many trainings may begin.
    """

    most: "Mapping[str, int]"
    trainings: int


@dataclasses.dataclass(frozen=True)
class Terms:
    """What a gatekeeper enforces.

    Attributes:
      plan_digest: of the plan, for the driver to compare.
      agreement_digest: of the whole agreement, for the ledger.
      receivable: what a driver may send.
      computations: the silo's own, by the names of `labels.CALLS`; of what is not here none is run.
      answers: the types of what leaves, by label.
      limits: how often.
      budget: of differential privacy, that reports spend; None where there is none.
      masks: of the silo, for reports that leave for a sum; None where they leave as they are.
    """

    plan_digest: str
    agreement_digest: str
    receivable: receivable_lib.Receivable
    computations: "Mapping[str, executor_pb2.Value]"
    answers: "Mapping[str, values.Spec]"
    limits: Limits
    budget: Optional[mechanism.Budget] = None
    masks: Optional[masks_lib.Masks] = None


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
        terms: Terms,
        worker: Any,
        book: ledger.Ledger,
        whom: Callable[[int], str] = lambda port: "",
        written: Callable[[str], None] = lambda training: None,
        states: Callable[[str], int] = lambda training: 0,
    ) -> None:
        self._terms, self._worker, self._ledger, self._whom = terms, worker, book, whom
        self._written, self._states = written, states
        self._lock = threading.Lock()
        self._session: Optional[sessions.Session] = None
        own = [entry for entry in book.entries if entry["agreement"] == terms.agreement_digest]
        self._answered = {
            label: sum(1 for entry in own if entry["what"] == label) for label in labels.LEAVES
        }
        self._sums: Optional[masked_reports.MaskedReports] = None
        if terms.masks is not None:
            self._sums = masked_reports.MaskedReports(
                terms.masks, terms.plan_digest, terms.agreement_digest, book
            )
        self._trainings = {entry["training"] for entry in own if entry["what"] == ledger.TRAINING}
        for entry in own:
            if entry["what"] == labels.REPORT:
                terms.receivable.work.narrow(*entry["work"])

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
        if self._sums is not None:
            origin = self._sums.received(taken.label, value, taken.number)
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
        self._require_left(labels.REPORT if label == labels.TRAINED else label)
        self._require_training(function.label, argument.training)
        if argument.label in (labels.WRITING, labels.WRITING_RECEIVED) and (
            self._states(argument.training) >= directory.MOST_STATES
        ):
            raise labels.RefusedError(
                f"more than {directory.MOST_STATES} states of a training on the disk; train with "
                "fewer --keep_rounds"
            )
        reference = self._function(session, function.label)
        origin = sessions.Origin()
        if self._sums is not None:
            origin = self._sums.called(function.label, argument.origin, argument.state)
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
        if self._sums is not None:
            origin = self._sums.joined(label, [part.origin for _, part in parts])
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
                counted.enter_context(self._counted(source.label))
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
                answers = self._entered(asked, made, to)
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

    def _require_training(self, function: str, training: str) -> None:
        """Counts the trainings that begin;
        states of those that did not begin under this agreement are not read.
        """
        with self._lock:
            if not training or training in self._trainings:
                return
            if function == "read":
                raise labels.RefusedError(
                    "a state of a training that did not begin under this agreement"
                )
            # Else a driver could begin one of another agreement's again, and read what it left.
            if self._states(training):
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

    def _require_left(self, label: str) -> None:
        most = self._terms.limits.most.get(label)
        if most is not None and self._answered[label] >= most:
            raise labels.RefusedError(f"{label} after the agreement's {most} have left")

    @contextlib.contextmanager
    def _counted(self, label: str) -> Iterator[None]:
        """Counts an answer before it is made, so that two at once do not pass for one;
        one that fails is not counted.
        """
        with self._lock:
            self._require_left(label)
            self._answered[label] += 1
        try:
            yield
        except BaseException:
            with self._lock:
                self._answered[label] -= 1
            raise

    def _peer(self, session: sessions.Session, port: int) -> str:
        """Who is at the other end; asked once for each of a session's connections."""
        if not session.peers.get(port):
            session.peers[port] = self._whom(port)
        return session.peers[port]

    def _entered(
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
            left = {
                entry["sha256"]: entry["work"][1]
                for entry in self._ledger.entries
                if entry["agreement"] == self._terms.agreement_digest
                and entry["what"] == labels.REPORT
            }
            left[hashlib.sha256(message).hexdigest()] = source.work[1]
            steps = sum(left.values())
            if steps > budget.steps:
                raise labels.RefusedError(
                    f"a report that would pass epsilon {budget.epsilon:g}: "
                    f"the {budget.steps} steps that it is for have left"
                )
            further.update(epsilon_spent=round(budget.spent(steps), 4), delta=budget.delta)
            yield
