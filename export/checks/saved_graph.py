"""What saved_model.pb says of itself: its signatures, variables and paths."""

import dataclasses
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf
from google.protobuf import message  # type: ignore[import-untyped]
from tensorflow.core.protobuf import saved_model_pb2

from export import interface
from export.checks import allowed_operations, fresh_process
from pfrec import errors

GRAPH_FILE = "saved_model.pb"

# TensorFlow's own, for the initialisation of tables and variables; it is called by no request.
_INTERNAL = "__saved_model_init_op"
_TRAINING_ONLY = re.compile(
    r"Stateless(Random|Dropout)|Random|Resource(Sparse)?Apply|Assign(Add|Sub)VariableOp"
)
# A device name, such as /job:localhost/device:CPU:0, is no path.
_ABSOLUTE_PATH = re.compile(rb"(?!(/(job|replica|task|device):[^/]+)+\Z)(file:/)?/[\x20-\x7e]+")


@dataclasses.dataclass(frozen=True)
class SavedGraph:
    """What saved_model.pb says.

    Attributes:
      signatures: by name.
      names: of each signature's tensors.
      reachable: variables that the outputs of `serving_default` depend on, by their names in the
        graph.
      unreachable: variables that they do not depend on.
      absolute_paths: absolute paths found in any text of the file, vocabularies excepted.
      training_only: operations that serving has no use for: random numbers, as of dropout, and
        updates of variables by an optimizer.
      not_allowed: what must not run here, see `allowed_operations`.
    """

    signatures: Mapping[str, interface.Signature]
    names: Mapping[str, fresh_process.TensorNames]
    reachable: "frozenset[str]"
    unreachable: "frozenset[str]"
    absolute_paths: "tuple[str, ...]"
    training_only: "tuple[str, ...]"
    not_allowed: "tuple[str, ...]"


def read(directory: pathlib.Path, served: interface.Interface) -> SavedGraph:
    """Reads saved_model.pb.

    Args:
      directory: of the model.
      served: whose vocabularies may hold words that look like paths.

    Raises:
      PfrecError: where the file is missing, damaged, or has no signature `serving_default`.
    """
    path = directory / GRAPH_FILE
    try:
        saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    except (OSError, message.DecodeError) as error:
        raise errors.PfrecError(
            f"{path}: cannot be read ({error}); export the model again"
        ) from error
    graphs = [graph for graph in saved.meta_graphs if "serve" in graph.meta_info_def.tags]
    if len(graphs) != 1 or interface.SERVE not in graphs[0].signature_def:
        raise errors.PfrecError(
            f"{path}: no graph for serving with signature {interface.SERVE!r}; export the "
            "model again"
        )
    graph = graphs[0].graph_def
    found = {
        name: value for name, value in sorted(graphs[0].signature_def.items()) if name != _INTERNAL
    }
    variables = {node.name for node in graph.node if node.op == "VarHandleOp"}
    reachable = (
        _ancestors(graph, [info.name for info in found[interface.SERVE].outputs.values()])
        & variables
    )
    words = {word.encode() for feature in served.schema.categorical for word in feature.vocabulary}
    paths = {text for text in _texts(saved) if _ABSOLUTE_PATH.fullmatch(text) and text not in words}
    return SavedGraph(
        signatures={
            name: interface.Signature(
                value.method_name,
                {key: _describe(info) for key, info in value.inputs.items()},
                {key: _describe(info) for key, info in value.outputs.items()},
            )
            for name, value in found.items()
        },
        names={
            name: fresh_process.TensorNames(
                {key: info.name for key, info in sorted(value.inputs.items())},
                {key: info.name for key, info in sorted(value.outputs.items())},
            )
            for name, value in found.items()
        },
        reachable=frozenset(reachable),
        unreachable=frozenset(variables - reachable),
        absolute_paths=tuple(sorted(text.decode(errors="replace") for text in paths)),
        training_only=tuple(
            sorted({node.op for node in _nodes(graph) if _TRAINING_ONLY.match(node.op)})
        ),
        not_allowed=tuple(
            sorted(
                {
                    found
                    for every in saved.meta_graphs
                    for found in allowed_operations.not_allowed(every)
                }
            )
        ),
    )


def _describe(info: Any) -> str:
    shape = tf.TensorShape(info.tensor_shape)
    return f"{tf.as_dtype(info.dtype).name} {shape.as_list() if shape.rank is not None else '?'}"


def _nodes(graph: Any) -> Iterator[Any]:
    """The nodes of a graph and of its functions."""
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def _ancestors(graph: Any, outputs: "list[str]") -> "set[str]":
    """Names of all nodes that some of `outputs` depend on."""
    inputs = {node.name: node.input for node in graph.node}
    waiting = [name.split(":")[0] for name in outputs]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [source.lstrip("^").split(":")[0] for source in inputs.get(name, ())]
    return found


def _texts(value: Any) -> Iterator[bytes]:
    """Every text and byte string in a protocol buffer, but for raw tensor contents."""
    for field, content in value.ListFields():
        if field.name == "tensor_content":
            continue
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        items = [part for pair in content.items() for part in pair] if is_map else content
        repeated = is_map or field.label == field.LABEL_REPEATED
        for item in items if repeated else [items]:
            if isinstance(item, message.Message):
                yield from _texts(item)
            elif isinstance(item, (str, bytes)):
                yield item.encode() if isinstance(item, str) else item
