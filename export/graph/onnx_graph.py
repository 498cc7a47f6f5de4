"""The folded network as ONNX: raw features in, probabilities out, as `serving_default` has them.

A writer of our own for what `export.graph.folding` makes, and for nothing else: plain kinds of
nodes, which every runtime has. The first layers of all experts and the gates are one table
and one product here, since a call of one row takes as long as starting its nodes does.

Where it differs from the SavedModel: ONNX has no hash, so a hashed feature comes in as the id that
its text hashes to (`tf.strings.to_hash_bucket_fast`), int64; and no request of tf.Example.

Reference: https://github.com/onnx/onnx/blob/main/docs/Operators.md
"""

import importlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np

from export import interface
from export.graph import folding
from pfrec import errors, files
from pfrec.data import schema as schema_lib

FILE = "assets.extra/model.onnx"
OPSET, ML_OPSET, IR_VERSION = 17, 3, 8  # of 2022: what runtimes of the last years read
# A protocol buffer has at most two gigabytes.
_MOST_BYTES = 2**31 - 2**20


def package(name: str) -> Any:
    """One of the packages that ONNX files are made and run with.

    Raises:
      PfrecError: where it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise errors.PfrecError(
            f"ONNX: the package {name} is not installed ({error}); pip install 'pfrec[onnx]', or "
            "export without --onnx"
        ) from error


def inputs(served: interface.Interface) -> "dict[str, tuple[str, list[Optional[int]]]]":
    """Dtype and shape of every input: as in the SavedModel, but for hashed features."""
    hashed = {f.name for f in served.schema.categorical if f.encoding == "hash"}
    return {
        name: ("int64" if name in hashed else dtype, served.shape(name))
        for name, dtype in served.inputs().items()
    }


def check(served: interface.Interface) -> None:
    """Checks that a model's features can come into an ONNX graph.

    Raises:
      PfrecError: where one cannot.
    """
    for feature in served.schema.categorical:
        if feature.encoding == "vocabulary" and feature.values > 1:
            raise errors.PfrecError(
                f"--onnx: {feature.name} has lists of words, whose blanks ONNX cannot remove as a "
                "conversion does; convert it with hashed or whole ids, or export without --onnx"
            )


def write(
    folded: folding.Folded,
    served: interface.Interface,
    path: pathlib.Path,
    told: "Optional[Mapping[str, str]]" = None,
) -> None:
    """Writes a folded network as an ONNX file; equal networks give equal bytes.

    Args:
      folded: its constants.
      served: its features and tasks.
      path: of the file.
      told: what the file says of itself, text by name.

    Raises:
      PfrecError: where a package is missing, a feature cannot come in, the file would be larger
        than ONNX allows, or it cannot be written.
    """
    onnx = package("onnx")
    check(served)
    graph = _Graph(onnx)
    _network(graph, folded, _Features(graph, served.schema))
    if graph.bytes > _MOST_BYTES:
        raise errors.PfrecError(
            f"--onnx: {graph.bytes / 1e9:.1f} GB of tables are more than an ONNX file of 2 GB "
            "holds; --embedding_dtype=float16 halves them, or export without --onnx"
        )
    helper, types = onnx.helper, onnx.TensorProto
    kinds = {"int64": types.INT64, "string": types.STRING, "float32": types.FLOAT}
    made = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "pfrec",
            [
                helper.make_tensor_value_info(name, kinds[dtype], shape)
                for name, (dtype, shape) in inputs(served).items()
            ],
            [helper.make_tensor_value_info(t, types.FLOAT, [None]) for t in served.tasks()],
            graph.constants,
        ),
        opset_imports=[
            helper.make_opsetid("", OPSET),
            helper.make_opsetid("ai.onnx.ml", ML_OPSET),
        ],
        ir_version=IR_VERSION,
        producer_name="pfrec",
    )
    helper.set_model_props(made, dict(sorted((told or {}).items())))
    files.write_bytes(path, made.SerializeToString(deterministic=True))


class _Graph:
    """Nodes and constants as they are made. Names of values inside begin with a colon, which the
    name of an input cannot.
    """

    def __init__(self, onnx: Any) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.bytes = 0
        self._onnx = onnx
        self._kept: dict[int, tuple[Any, str]] = {}

    def constant(self, values: Any, dtype: Any = None) -> str:
        """The name of a constant; an array that was there before is kept once."""
        if id(values) not in self._kept:
            name, array = f":c{len(self.constants)}", np.asarray(values, dtype)
            self.constants.append(self._onnx.numpy_helper.from_array(array, name))
            self.bytes += array.nbytes
            # The array is held, so that its id stays its own.
            self._kept[id(values)] = values, name
        return self._kept[id(values)][1]

    def split(self, kind: str, values: "Sequence[str]", outputs: int, **attributes: Any) -> Any:
        """The names of a node's outputs."""
        names = [f":{len(self.nodes)}.{number}" for number in range(outputs)]
        self.nodes.append(self._onnx.helper.make_node(kind, list(values), names, **attributes))
        return names

    def add(self, kind: str, *values: str, **attributes: Any) -> str:
        """The name of a node's one output."""
        return self.split(kind, values, 1, **attributes)[0]

    def column(self, value: str) -> str:
        """[rows, 1] of [rows]."""
        return self.add("Unsqueeze", value, self.constant(_ONE))

    def concat(self, parts: "Sequence[str]") -> str:
        """Side by side; rows that differ in number are an error when the graph runs."""
        return parts[0] if len(parts) == 1 else self.add("Concat", *parts, axis=1)

    def cast(self, value: str, dtype: str) -> str:
        """In another type."""
        return self.add("Cast", value, to=getattr(self._onnx.TensorProto, dtype))

    def output(self, kind: str, *values: str, name: str) -> None:
        """A node whose output is one of the graph."""
        self.nodes.append(self._onnx.helper.make_node(kind, list(values), [name]))


_ONE = np.array([1], np.int64)


class _Features:
    """A request's inputs as ids and numbers: what `serving_module.encode` computes."""

    def __init__(self, graph: _Graph, schema: schema_lib.Schema) -> None:
        self._graph, self._schema = graph, schema

    def rows_of_tables(self, folded: folding.Folded) -> Optional[str]:
        """Rows of the tables to add up, int64 [rows, folded features]."""
        if not folded.folded:
            return None
        graph, features = self._graph, self._schema.categorical
        words = [f for f in folded.folded if features[f].encoding == "vocabulary"]
        whole = [f for f in folded.folded if f not in words]
        offset = dict(zip(folded.folded, folded.offsets))
        parts = []
        if whole:
            values = graph.concat([graph.column(features[f].name) for f in whole])
            parts.append(self._known(values, [features[f].cardinality for f in whole]))
        parts += [graph.column(self._words(features[f])) for f in words]
        offsets = np.array([offset[f] for f in (*whole, *words)], np.int64)
        return graph.add("Add", graph.concat(parts), graph.constant(offsets))

    def looked_up(self, position: int, table: np.ndarray) -> str:
        """Rows of an embedding table, float32 [rows, width]; of lists their mean."""
        graph, feature = self._graph, self._schema.categorical[position]
        rows = graph.constant(table)
        if feature.values > 1:
            return self._mean(feature, rows, table.dtype == np.float16)
        ids = (
            self._words(feature)
            if feature.encoding == "vocabulary"
            else self._known(feature.name, [feature.cardinality])
        )
        found = graph.add("Gather", rows, ids)
        return graph.cast(found, "FLOAT") if table.dtype == np.float16 else found

    def numbers(self) -> Optional[str]:
        """All numbers as the network reads them, float32 [rows, numbers]."""
        graph, columns = self._graph, self._schema.numerical
        if not columns:
            return None
        values = graph.concat([c.name if c.values > 1 else graph.column(c.name) for c in columns])
        sizes = [c.values for c in columns]
        strange = graph.add("Or", graph.add("IsNaN", values), graph.add("IsInf", values))
        defaults = np.repeat([c.default for c in columns], sizes).astype(np.float32)
        values = graph.add("Where", strange, graph.constant(defaults), values)
        if any(c.normalise != "none" for c in columns):
            shift, scale = (
                graph.constant(np.repeat([getattr(c, name) for c in columns], sizes), np.float64)
                for name in ("shift", "scale")
            )
            values = graph.add("Sub", graph.cast(values, "DOUBLE"), shift)
            values = graph.cast(graph.add("Div", values, scale), "FLOAT")
        return values

    def _known(self, values: str, cardinalities: "list[int]") -> str:
        """Whole ids, those out of range as the unknown one."""
        graph = self._graph
        unknown = graph.constant(np.array(cardinalities, np.int64))
        fits = graph.add(
            "And",
            graph.add("GreaterOrEqual", values, graph.constant(np.array([0], np.int64))),
            graph.add("Less", values, unknown),
        )
        return graph.add("Where", fits, values, unknown)

    def _words(self, feature: schema_lib.Categorical) -> str:
        """Ids of words, int64 [rows]."""
        places: dict[str, int] = {}
        for place, word in enumerate(feature.vocabulary):
            places.setdefault(word, place)
        # A feature that learned no word still has one key here, since a node needs one.
        places = places or {"": feature.cardinality}
        return self._graph.add(
            "LabelEncoder",
            feature.name,
            domain="ai.onnx.ml",
            keys_strings=list(places),
            values_int64s=list(places.values()),
            default_int64=feature.cardinality,
        )

    def _mean(self, feature: schema_lib.Categorical, table: str, half: bool) -> str:
        """Of lists [rows, any width] the first values that count, or the last."""
        graph = self._graph
        given = feature.name
        filler = graph.constant(np.array([schema_lib.NO_VALUE], np.int64))
        known = graph.add("Not", graph.add("Equal", given, filler))
        number = graph.add(
            "CumSum",
            graph.cast(known, "INT64"),
            graph.constant(np.array(1, np.int64)),
            reverse=int(feature.keep == schema_lib.LAST),
        )
        within = graph.add("Less", number, graph.constant(np.array([feature.values + 1], np.int64)))
        weights = graph.cast(graph.add("And", known, within), "FLOAT")
        found = graph.add("Gather", table, self._known(given, [feature.cardinality]))
        found = graph.cast(found, "FLOAT") if half else found
        last = graph.constant(np.array([2], np.int64))
        found = graph.add("Mul", found, graph.add("Unsqueeze", weights, last))
        total = graph.add("ReduceSum", found, graph.constant(_ONE), keepdims=0)
        count = graph.add("ReduceSum", weights, graph.constant(_ONE), keepdims=1)
        least = graph.constant(np.array([1], np.float32))
        return graph.add("Div", total, graph.add("Max", count, least))


def _network(graph: _Graph, folded: folding.Folded, features: _Features) -> None:
    """`folded_network.FoldedNetwork`, with a probability for every task."""
    experts = [expert for variant in folded.experts for expert in variant]
    count = len(folded.experts[0])
    first: list[folding.FirstLayer] = [*(expert.first for expert in experts), folded.gates]
    values = graph.constant(np.concatenate([layer.bias for layer in first]))
    rest = [features.looked_up(position, table) for position, table in folded.lookups]
    numbers = features.numbers()
    if numbers is not None and folded.scale is not None and folded.offset is not None:
        numbers = graph.add("Mul", numbers, graph.constant(folded.scale))
        numbers = graph.add("Add", numbers, graph.constant(folded.offset))
        if folded.projection is not None:
            numbers = _dense(graph, numbers, folded.projection)
        rest.append(numbers)
    ids = features.rows_of_tables(folded)
    if ids is not None:
        table = graph.constant(np.concatenate([layer.table for layer in first], axis=1))
        summed = graph.add(
            "ReduceSum", graph.add("Gather", table, ids), graph.constant(_ONE), keepdims=0
        )
        values = graph.add("Add", summed, values)
    if rest:
        kernel = np.concatenate([layer.kernel for layer in first], axis=1)
        if ids is not None:
            # A sum of one row and several would be one of several, and no error; a column beside
            # others is. It counts nothing.
            column = graph.add("Gather", ids, graph.constant(np.array([0], np.int64)), axis=1)
            rest.append(graph.cast(column, "FLOAT"))
            kernel = np.concatenate([kernel, np.zeros_like(kernel[:1])])
        product = graph.add("MatMul", graph.concat(rest), graph.constant(kernel))
        values = graph.add("Add", product, values)
    units = [len(layer.bias) for layer in first]
    sizes = np.array([sum(units[:-1]), units[-1]], np.int64)
    hidden, gates = graph.split("Split", [values, graph.constant(sizes)], 2, axis=1)
    hidden = graph.add("Relu", hidden)
    own = graph.constant(np.array(units[:-1], np.int64))
    outputs = graph.split("Split", [hidden, own], len(experts), axis=1)
    for m, expert in enumerate(experts):
        for layer in expert.rest:
            outputs[m] = graph.add("Relu", _dense(graph, outputs[m], layer))
    last = len(experts[0].rest[-1].bias if experts[0].rest else experts[0].first.bias)
    shape = graph.constant(np.array([0, count, last], np.int64))
    stacked = [
        graph.add("Reshape", graph.concat(outputs[start : start + count]), shape)
        for start in range(0, len(outputs), count)
    ]
    tasks = graph.constant(np.array([count] * len(folded.tasks), np.int64))
    by_task = graph.split("Split", [gates, tasks], len(folded.tasks), axis=1)
    for t, task in enumerate(folded.tasks):
        weights = graph.add("Softmax", by_task[t], axis=1)
        weights = graph.add("Unsqueeze", weights, graph.constant(_ONE))
        x = graph.add("MatMul", weights, stacked[min(t, len(stacked) - 1)])
        x = graph.add("Squeeze", x, graph.constant(_ONE))
        for layer in folded.towers[t][:-1]:
            x = graph.add("Relu", _dense(graph, x, layer))
        x = graph.add("Sigmoid", _dense(graph, x, folded.towers[t][-1]))
        graph.output("Squeeze", x, graph.constant(_ONE), name=task)


def _dense(graph: _Graph, x: str, layer: folding.Dense) -> str:
    return graph.add("Gemm", x, graph.constant(layer.kernel), graph.constant(layer.bias))
