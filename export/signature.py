"""The signature of an exported model, from its schema and from saved_model.pb."""

import dataclasses
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf
from google.protobuf import message  # type: ignore[import-untyped]
from tensorflow.core.protobuf import saved_model_pb2

from export import capi
from pfrec import errors
from pfrec.data import schema as schema_lib

NAME = "serving_default"
GRAPH_FILE = "saved_model.pb"

# What a SavedModel can call an input; TensorFlow cannot save a signature with another name.
_INPUT_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")
# A device name, such as /job:localhost/device:CPU:0, is no path.
_ABSOLUTE_PATH = re.compile(rb"(?!(/(job|replica|task|device):[^/]+)+\Z)(file:/)?/[\x20-\x7e]+")


def input_dtypes(schema: schema_lib.Schema) -> "dict[str, str]":
    """TensorFlow's dtype name per served input; each input has shape [rows].

    Raises:
      PfrecError: where a feature's name cannot be the name of a served input.
    """
    dtypes = {f.name: "int64" if f.encoding == "identity" else "string" for f in schema.categorical}
    dtypes.update({column.name: "float32" for column in schema.numerical})
    for name in dtypes:
        if not _INPUT_NAME.fullmatch(name):
            raise errors.PfrecError(
                f"schema: the feature name {name!r} cannot be the name of a served input; use letters, digits, and _ . - / "
                "with a letter or digit first, rename the column and convert again"
            )
    return dtypes


def output_dtypes(schema: schema_lib.Schema) -> "dict[str, str]":
    """TensorFlow's dtype name per served output; each output has shape [rows]."""
    return {task.name: "float32" for task in schema.tasks}


@dataclasses.dataclass(frozen=True)
class SavedGraph:
    """What saved_model.pb says.

    Attributes:
      inputs, outputs: per name of the signature, its dtype and shape as text, such as `int64 [None]`.
      names: of the signature's tensors.
      reachable: variables that the signature's outputs depend on, by their names in the graph.
      unreachable: variables that they do not depend on.
      absolute_paths: absolute paths found in any text of the file, vocabularies excepted.
    """

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    names: capi.TensorNames
    reachable: "frozenset[str]"
    unreachable: "frozenset[str]"
    absolute_paths: "tuple[str, ...]"


def read(directory: pathlib.Path, schema: schema_lib.Schema) -> SavedGraph:
    """Reads saved_model.pb.

    Args:
      directory: of the model.
      schema: whose vocabularies may hold words that look like paths.

    Raises:
      PfrecError: where the file is missing, damaged, or has no signature `serving_default`.
    """
    path = directory / GRAPH_FILE
    try:
        saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    except (OSError, message.DecodeError) as error:
        raise errors.PfrecError(f"{path}: cannot be read ({error}); export the model again") from error
    graphs = [graph for graph in saved.meta_graphs if "serve" in graph.meta_info_def.tags]
    if len(graphs) != 1 or NAME not in graphs[0].signature_def:
        raise errors.PfrecError(f"{path}: no graph for serving with signature {NAME!r}; export the model again")
    signature, graph = graphs[0].signature_def[NAME], graphs[0].graph_def
    variables = {node.name for node in graph.node if node.op == "VarHandleOp"}
    reachable = _ancestors(graph, [info.name for info in signature.outputs.values()]) & variables
    words = {word.encode() for feature in schema.categorical for word in feature.vocabulary}
    found = {text for text in _texts(saved) if _ABSOLUTE_PATH.fullmatch(text) and text not in words}
    return SavedGraph(
        inputs={name: _describe(info) for name, info in signature.inputs.items()},
        outputs={name: _describe(info) for name, info in signature.outputs.items()},
        names=capi.TensorNames(
            {name: info.name for name, info in sorted(signature.inputs.items())},
            {name: info.name for name, info in sorted(signature.outputs.items())},
        ),
        reachable=frozenset(reachable),
        unreachable=frozenset(variables - reachable),
        absolute_paths=tuple(sorted(text.decode(errors="replace") for text in found)),
    )


def _describe(info: Any) -> str:
    shape = tf.TensorShape(info.tensor_shape)
    return f"{tf.as_dtype(info.dtype).name} {shape.as_list() if shape.rank is not None else '?'}"


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
