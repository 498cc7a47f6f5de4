"""A worker that runs nothing: it numbers what it is asked to make, remembers who asked for what,
and answers with what a test put in.
"""

import dataclasses
import pathlib

import grpc
import numpy as np
import pytest
from tensorflow_federated.proto.v0 import computation_pb2, executor_pb2
from tensorflow_federated.python.core.impl.compiler import array as array_lib

from tff_process.silos import gatekeeper as gatekeeper_lib
from tff_process.silos import labels, ledger, receivable, values, work_rules
from tff_process.silos import terms as terms_lib

FLOATS = values.Tensor(values.FLOAT, (3, 2))
ID = "0123456789abcdef"
SHARDS = {
    "train": ("data/nl/train-00000.tfrecord",),
    "valid": ("data/nl/valid-00000.tfrecord",),
    "test": ("data/nl/test-00000.tfrecord",),
}


class StandInWorker:
    """A stub of TFF's executor service.

    Attributes:
      asked: every request, in order.
      answers: what Compute returns.
    """

    def __init__(self):
        self.asked, self.answers, self.fails = [], [], None
        self._count = 0

    def _number(self, request):
        self.asked.append(request)
        if self.fails is not None:
            raise self.fails
        self._count += 1
        return executor_pb2.ValueRef(id=str(self._count))

    def GetExecutor(self, request):  # noqa: N802
        return executor_pb2.GetExecutorResponse(
            executor=executor_pb2.ExecutorId(id=f"executor {self._number(request).id}")
        )

    def CreateValue(self, request):  # noqa: N802
        return executor_pb2.CreateValueResponse(value_ref=self._number(request))

    def CreateCall(self, request):  # noqa: N802
        return executor_pb2.CreateCallResponse(value_ref=self._number(request))

    def CreateStruct(self, request):  # noqa: N802
        return executor_pb2.CreateStructResponse(value_ref=self._number(request))

    def CreateSelection(self, request):  # noqa: N802
        return executor_pb2.CreateSelectionResponse(value_ref=self._number(request))

    def Compute(self, request):  # noqa: N802
        self._number(request)
        return executor_pb2.ComputeResponse(value=self.answers.pop(0)).SerializeToString()

    def Dispose(self, request):  # noqa: N802
        self._number(request)

    def DisposeExecutor(self, request):  # noqa: N802
        self._number(request)


class WorkerError(grpc.RpcError):
    """What a worker says where it fails."""

    def code(self):
        return grpc.StatusCode.INVALID_ARGUMENT

    def details(self):
        return "indices[7] = 4711 is not in [0, 12)"


def tensor(value, kind=np.float32):
    """A number, text or array as TFF sends it."""
    if kind is np.str_:
        return executor_pb2.Value(array=array_lib.to_proto(value, dtype_hint=kind))
    value = np.asarray(value, kind)
    make = array_lib.to_proto if value.ndim == 0 else array_lib.to_proto_content
    return executor_pb2.Value(array=make(value if value.ndim else value[()], dtype_hint=kind))


def struct(**parts):
    """A structure of values."""
    made = executor_pb2.Value()
    made.struct.SetInParent()
    for name, value in parts.items():
        made.struct.element.add(name=name, value=value)
    return made


def named(name):
    """A computation by its name, as a driver asks for one."""
    return executor_pb2.Value(
        computation=computation_pb2.Computation(reference=computation_pb2.Reference(name=name))
    )


def work(first_step=0, steps=5, **other):
    """What a driver asks to be trained on."""
    parts = {"seed": 3, "first_step": first_step, "steps": steps, "epoch_steps": 20, **other}
    numbers = {
        name: tensor(parts[name], np.int64)
        for name in ("seed", "first_step", "steps", "epoch_steps")
    }
    shards = tensor(np.array(other.get("shards", SHARDS["train"]), object), np.str_)
    weights = {
        name: tensor(other.get(name, np.ones(2))) for name in ("task_weights", "positive_weights")
    }
    rate = tensor(other.get("learning_rate", 0.5))
    return struct(shards=shards, **numbers, learning_rate=rate, **weights)


def shared(value=1.0):
    """What the server has for everybody."""
    return struct(common=struct(table=tensor(np.full([3, 2], value))), consensus=struct())


def personal(number=0):
    """What it has for this client."""
    return struct(client_id=tensor(number, np.int32), values=struct(tower=tensor(np.zeros([3, 2]))))


def spreads(factors=(1.0, 0.5, 2.0), value=1.0):
    """What it evaluates at several spreads with."""
    return struct(
        factors=tensor(np.array(factors)),
        consensus=struct(tower=tensor(np.full([3, 2], value))),
    )


def report(value=1.0, rows=80.0):
    """An answer of `train`; the worker sends structures without names."""
    made = executor_pb2.Value()
    upload = made.struct.element.add().value
    upload.struct.element.add(value=tensor(np.full([3, 2], value)))
    for number in (tensor(rows), tensor([1.0, 1.0]), tensor(0.5)):
        made.struct.element.add(value=number)
    return made


REPORT = {
    "table": FLOATS,
    "examples": values.Tensor(values.FLOAT, ()),
    "serves": values.Tensor(values.FLOAT, (2,)),
    "loss": values.Tensor(values.FLOAT, ()),
}


def terms(**changed):
    """What a silo agreed to: 2 rounds of 20 steps of 16 rows, in 4 aggregation steps."""
    taken = receivable.Receivable(
        shared={"common": {"table": FLOATS}, "consensus": {}},
        personal={"client_id": values.Tensor(values.INT32, ()), "values": {"tower": FLOATS}},
        first_values={"user": FLOATS},
        spreads={"factors": values.Tensor(values.FLOAT, (None,)), "consensus": {"tower": FLOATS}},
        tried=(1.0, 0.5, 2.0),
        serves=(1.0, 1.0),
        shards=SHARDS,
        work=work_rules.WorkRules(
            2, 20, 20, 16, 64, 4, 0.5, 3, task_weights=(1.0, 1.0), positive_weights=(1.0, 1.0)
        ),
        client={
            **{"scenario": "nl", "seed": 3, "data": "d1"},
            "schema": {"tasks": [{"name": "ctr"}, {"name": "cvr"}]},
        },
    )
    own = {name: named(f"own {name}") for name in labels.CALLS}
    number = values.Tensor(values.INT32, ())
    answers = {
        labels.REPORT: REPORT,
        labels.METRICS: {"metrics": values.Tensor(values.DOUBLE, (2, 4))},
        labels.SPREADS_METRICS: {"spreads_metrics": values.Tensor(values.DOUBLE, (3, 2, 4))},
        labels.COUNTS: {"row_counts/table": values.Tensor(values.FLOAT, (3,))},
        labels.ACKNOWLEDGEMENT: {"": number},
        labels.FACTS: {"silo.json": values.Tensor(values.STRING, ())},
    }
    limits = terms_lib.Limits(
        {labels.REPORT: 8, labels.METRICS: 6, labels.COUNTS: 1},
        trainings=1,
        counted_as={labels.SPREADS_METRICS: (labels.METRICS, 3)},
    )
    return terms_lib.Terms(
        **{
            "plan_digest": "aa" * 32,
            "agreement_digest": "bb" * 32,
            "receivable": taken,
            "computations": own,
            "answers": answers,
            "limits": limits,
            **changed,
        }
    )


class Driver:
    """Speaks to a gatekeeper as a driver does, call by call; references are names.

    Args:
      gatekeeper: that answers.
    """

    def __init__(self, gatekeeper):
        self._gatekeeper = gatekeeper
        self.executor = gatekeeper.get_executor(executor_pb2.GetExecutorRequest()).executor

    def value(self, value):
        return self._gatekeeper.create_value(
            executor_pb2.CreateValueRequest(executor=self.executor, value=value)
        ).value_ref

    def text(self, text):
        return self.value(tensor(text.encode(), np.str_))

    def call(self, name, argument):
        request = executor_pb2.CreateCallRequest(
            executor=self.executor, function_ref=self.value(named(name)), argument_ref=argument
        )
        return self._gatekeeper.create_call(request).value_ref

    def struct(self, **parts):
        request = executor_pb2.CreateStructRequest(executor=self.executor)
        for name, reference in parts.items():
            request.element.add(name=name, value_ref=reference)
        return self._gatekeeper.create_struct(request).value_ref

    def select(self, source, index):
        request = executor_pb2.CreateSelectionRequest(
            executor=self.executor, source_ref=source, index=index
        )
        return self._gatekeeper.create_selection(request).value_ref

    def fetch(self, reference):
        answer = self._gatekeeper.compute(
            executor_pb2.ComputeRequest(executor=self.executor, value_ref=reference)
        )
        return executor_pb2.ComputeResponse.FromString(answer).value

    def dispose(self, *references):
        self._gatekeeper.dispose(
            executor_pb2.DisposeRequest(executor=self.executor, value_ref=references)
        )

    def private(self):
        return self.call("start", self.value(struct(user=tensor(np.zeros([3, 2])))))

    def client(self, private=None, asked=None):
        return self.struct(
            client_id=self.value(tensor(0, np.int32)),
            private=private or self.private(),
            secret=self.call("secret", self.text("secret_of_rows")),
            work=self.value(asked or work()),
            serves=self.value(tensor([1.0, 1.0])),
        )

    def train(self, private=None, asked=None):
        argument = self.struct(
            shared=self.value(shared()),
            personal=self.value(personal()),
            client=self.client(private, asked),
        )
        return self.call("train", argument)


def made(path, **changed):
    """A gatekeeper with a stand-in worker and a new ledger."""
    worker = StandInWorker()
    book = ledger.Ledger(path)
    whom = {4711: "10.0.0.9"}
    made = gatekeeper_lib.Gatekeeper(
        terms(**changed), worker, book, lambda port: whom.get(port, "")
    )
    return made, worker, book


def made_for_a_large_value(path):
    """What `made` makes of the first two, for a table of 4 MB; a driver, its message that
    makes a value of it, and the most bytes that a message may have.
    """
    table = values.Tensor(values.FLOAT, (1 << 20,))
    own = terms().receivable
    taken = dataclasses.replace(own, shared={"common": {"table": table}, "consensus": {}})
    gatekeeper, worker, _ = made(path, receivable=taken)
    value = struct(common=struct(table=tensor(np.ones(1 << 20))), consensus=struct())
    driver = Driver(gatekeeper)
    message = executor_pb2.CreateValueRequest(executor=driver.executor, value=value)
    return gatekeeper, worker, driver, message.SerializeToString(), taken.most_bytes


class AbortedError(Exception):
    pass


class Context:
    def peer(self):
        return "ipv4:127.0.0.1:4711"

    def abort(self, code, details):
        raise AbortedError(code, details)


def status(handle, message):
    try:
        handle(message, Context())
    except AbortedError as stop:
        return stop.args[0]
    return grpc.StatusCode.OK


# What a driver may be answered: never an error of the gatekeeper's own.
ANSWERS = (
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.FAILED_PRECONDITION,
)


def damaged(message, chance):
    """A message with up to seven bytes changed."""
    message = bytearray(message)
    for _ in range(chance.randrange(1, 8)):
        message[chance.randrange(len(message))] = chance.randrange(256)
    return bytes(message)


def resident(what):
    """Bytes of this process's memory: `VmRSS` now, `VmHWM` at most since it was reset."""
    status = pathlib.Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if what in line)


def refused(match):
    """Expects a refusal that says so."""
    return pytest.raises(labels.RefusedError, match=match)
