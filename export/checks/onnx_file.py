"""The ONNX file of a version: what it may hold, and whether ONNX Runtime says of it what the
trained model and the SavedModel say.
"""

import os
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np

from export import interface
from export.checks import answers as answers_lib
from export.checks import fresh_process
from export.graph import onnx_graph
from export.graph import requests as requests_lib
from pfrec import errors

# What an export's graph is made of; nothing else is run, and nothing that holds a graph inside, as
# loops and conditions do.
_ALLOWED = """
    Add And Cast Concat CumSum Div Equal Gather Gemm GreaterOrEqual IsInf IsNaN Less MatMul Max Mul
    Not Or ReduceSum Relu Reshape Shape Sigmoid Softmax Split Squeeze Sub Unsqueeze Where
"""
ALLOWED = {"": frozenset(_ALLOWED.split()), "ai.onnx.ml": frozenset({"LabelEncoder"})}


def read(path: pathlib.Path, served: interface.Interface) -> "tuple[str, bytes]":
    """The content of a file that may be run, after what was checked in words.

    Raises:
      PfrecError: where it cannot be read, holds what no export has, or has other inputs and
        outputs than the schema says.
    """
    onnx = onnx_graph.package("onnx")
    try:
        content = path.read_bytes()
        model = onnx.load_model_from_string(content)
        onnx.checker.check_model(model)
    except (OSError, ValueError, onnx.checker.ValidationError, _decode_error()) as error:
        raise errors.PfrecError(f"{onnx_graph.FILE} cannot be read ({error})") from error
    found = not_allowed(model)
    if found:
        raise errors.PfrecError(
            f"{onnx_graph.FILE} holds what no export has, and is not run: {', '.join(found[:10])}"
        )
    wanted = {name: (dtype, shape) for name, (dtype, shape) in onnx_graph.inputs(served).items()}
    outputs: Any = dict.fromkeys(served.tasks(), ("float32", [None]))
    for what, expected, values in (
        ("input", wanted, model.graph.input),
        ("output", outputs, model.graph.output),
    ):
        given = {value.name: _described(onnx, value) for value in values}
        for name in sorted({*expected, *given}):
            if expected.get(name) != given.get(name):
                raise errors.PfrecError(
                    f"{onnx_graph.FILE}: {what} {name!r} is {given.get(name, 'absent')} where the "
                    f"schema says {expected.get(name, 'absent')}"
                )
    kinds = len({node.op_type for node in model.graph.node})
    return (
        f"{len(model.graph.node)} nodes of {kinds} kinds that exports have; inputs and outputs as "
        "in the schema",
        content,
    )


def not_allowed(model: Any) -> "tuple[str, ...]":
    """What a model holds that it may not, in words; empty for one that may be run.

    Args:
      model: a `ModelProto`.
    """
    found = {
        f"{node.domain + '.' if node.domain else ''}{node.op_type}"
        for node in model.graph.node
        if node.op_type not in ALLOWED.get(node.domain, ())
    }
    inner = {a.name for n in model.graph.node for a in n.attribute if a.HasField("g") or a.graphs}
    found |= {f"a graph inside {name}" for name in inner}
    found |= {f"the function {f.name}" for f in model.functions}
    # 1 is TensorProto.EXTERNAL: values in another file, by a path of the file's own choice.
    found |= {f"values of {c.name} in another file" for c in model.graph.initializer
              if c.data_location == 1}  # fmt: skip
    if model.graph.sparse_initializer:
        found.add("sparse values")
    if model.training_info:
        found.add("a training")
    return tuple(sorted(found))


class Session:
    """An ONNX file in ONNX Runtime, on as many threads as there are processors.

    Args:
      content: of a file that `read` found fit.
      served: its features and tasks.

    Raises:
      PfrecError: where ONNX Runtime does not load it.
    """

    def __init__(self, content: bytes, served: interface.Interface) -> None:
        runtime = onnx_graph.package("onnxruntime")
        self._served = served
        options = runtime.SessionOptions()
        options.intra_op_num_threads = len(os.sched_getaffinity(0))
        options.log_severity_level = 4  # what goes wrong is raised
        try:
            self._session = runtime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's own classes have no common one.
            raise errors.PfrecError(
                f"{onnx_graph.FILE}: ONNX Runtime does not load it ({error})"
            ) from error

    def call(self, request: Mapping[str, np.ndarray], repeats: int = 0) -> fresh_process.Answer:
        """The answer to a request, with the seconds of each repeat."""
        given = feeds(request, self._served)
        tasks = self._served.tasks()
        try:
            found = self._session.run(tasks, given)
        except Exception as error:
            return fresh_process.Answer({}, str(error))
        seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            self._session.run(tasks, given)
            seconds.append(time.perf_counter() - start)
        return fresh_process.Answer(dict(zip(tasks, found)), None, tuple(seconds))


def feeds(
    request: Mapping[str, np.ndarray], served: interface.Interface
) -> "dict[str, np.ndarray]":
    """A request of `export.graph.requests` as the file takes it: hashed texts as their ids."""
    schema = served.schema
    found: dict[str, np.ndarray] = {}
    for feature in schema.categorical:
        if feature.encoding == "hash":
            found[feature.name] = _hashed(request, schema, feature.name)
        elif feature.encoding == "vocabulary":
            texts = [value.decode(errors="replace") for value in request[feature.name]]
            found[feature.name] = np.array(texts, object)
        else:
            found[feature.name] = request[feature.name]
    return {**found, **{c.name: request[c.name] for c in schema.numerical}}


def agreement(session: Session, cases: "Sequence[answers_lib.Case]") -> str:
    """That the file gives what the SavedModel gave, and probabilities."""
    requests = [case.request for case in cases]
    given = [session.call(request) for request in requests]
    told = answers_lib.probabilities(requests, given)
    largest = answers_lib.largest_difference(cases, given)
    if largest > answers_lib.FOLDED_TOLERANCE:
        raise errors.PfrecError(
            f"differs by {largest:.3g} from the SavedModel, above {answers_lib.FOLDED_TOLERANCE:g}"
        )
    return f"{told}; largest difference to the SavedModel {largest:.3g}"


def trained(session: Session, cases: "Sequence[answers_lib.Case]") -> str:
    """That the file gives what the trained model gives, and ranks the first request's rows as it
    does.
    """
    if not cases:
        raise errors.PfrecError("nothing is known of what the trained model answers")
    given = [session.call(case.request) for case in cases]
    told = answers_lib.parity(cases, given, answers_lib.FOLDED_TOLERANCE)
    return f"{told}; {answers_lib.ranking(cases[0], given[0])}"


def _hashed(request: Mapping[str, np.ndarray], schema: Any, name: str) -> np.ndarray:
    positions = {f.name: n for n, f in enumerate(schema.categorical)}
    ids = requests_lib.reference_ids(request, schema)[0][:, schema.id_places[positions[name]]]
    ids = ids.astype(np.int64)
    return ids if schema.categorical[positions[name]].values > 1 else ids[:, 0]


def _described(onnx: Any, value: Any) -> "tuple[str, list[Optional[int]]]":
    kind = value.type.tensor_type
    names = {onnx.TensorProto.INT64: "int64", onnx.TensorProto.STRING: "string",
             onnx.TensorProto.FLOAT: "float32"}  # fmt: skip
    sizes = [d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim]
    return names.get(kind.elem_type, f"type {kind.elem_type}"), sizes


def _decode_error() -> Any:
    from google.protobuf import message  # type: ignore[import-untyped]

    return message.DecodeError
