"""A driver's calls in one message, as it sends them to a gatekeeper."""

import numpy as np
from tensorflow_federated.proto.v0 import executor_pb2

from tests.tff_process.silos import stand_in_worker as stand_in
from tff_process.runtime import together


def calls(driver, *several):
    """A message of calls, each a method, a name for its result, and its request."""
    for _, _, request in several:
        request.executor.CopyFrom(driver.executor)
    return together.pack(
        together.Call(method, name, request.SerializeToString())
        for method, name, request in several
    )


def train(driver, asked=None, wanted="~13"):
    """A whole aggregation step, as a driver sends it, and what it wants of it, the report."""

    def value(name, of):
        return "CreateValue", name, executor_pb2.CreateValueRequest(value=of)

    def structure(name, **parts):
        request = executor_pb2.CreateStructRequest()
        for part, reference in parts.items():
            request.element.add(name=part, value_ref=executor_pb2.ValueRef(id=reference))
        return "CreateStruct", name, request

    def call(name, function, argument):
        request = executor_pb2.CreateCallRequest()
        request.function_ref.id, request.argument_ref.id = function, argument
        return "CreateCall", name, request

    def select(name, source, index):
        request = executor_pb2.CreateSelectionRequest(index=index)
        request.source_ref.id = source
        return "CreateSelection", name, request

    last = executor_pb2.ComputeRequest()
    last.value_ref.id = wanted
    return calls(
        driver,
        value("~0", stand_in.named("start")),
        value("~1", stand_in.struct(user=stand_in.tensor(np.zeros([3, 2])))),
        call("~2", "~0", "~1"),
        value("~3", stand_in.named("secret")),
        value("~4", stand_in.tensor(b"secret_of_rows", np.str_)),
        call("~5", "~3", "~4"),
        value("~6", stand_in.tensor(0, np.int32)),
        value("~7", asked or stand_in.work()),
        value("~8", stand_in.tensor([1.0, 1.0])),
        structure("~9", client_id="~6", private="~2", secret="~5", work="~7", serves="~8"),
        value("~10", stand_in.shared()),
        value("~11", stand_in.personal()),
        structure("~12", shared="~10", personal="~11", client="~9"),
        value("~20", stand_in.named("train")),
        call("~14", "~20", "~12"),
        select("~13", "~14", 1),
        select("~15", "~14", 0),
        ("Dispose", "", executor_pb2.DisposeRequest(value_ref=[executor_pb2.ValueRef(id="~9")])),
        ("Compute", "", last),
    )
