"""Which operations a served graph may hold: a graph is a program, and one that somebody else
exported is judged before any of it runs.

A list of what is allowed, since TensorFlow has more than a thousand operations and any may be one
that reads or writes files. It is what the exports of every model here are made of, and what of
plain arithmetic is next to it.
"""

from collections.abc import Iterable, Iterator
from typing import Any

# What answers requests. None of them touches a file, the network, a random number or a variable's
# value.
_SERVING = """
    Abs Add AddN AddV2 All Any ArgMax ArgMin Assert BatchMatMulV2 BatchMatMulV3 BiasAdd
    BroadcastTo Cast Ceil ClipByValue Concat ConcatV2 Const Cumsum DivNoNan DynamicPartition
    DynamicStitch Einsum Elu EnsureShape Equal Exp ExpandDims Expm1 Fill Floor FloorDiv FloorMod
    FusedBatchNormV3 Gather GatherNd GatherV2 Greater GreaterEqual HashTableV2 Identity IdentityN
    IsFinite IsInf IsNan LeakyRelu Less LessEqual Log Log1p LogSoftmax LogicalAnd LogicalNot
    LogicalOr LookupTableFindV2 LookupTableSizeV2 MatMul Max Maximum Mean Min Minimum Mul Neg NoOp
    NotEqual OneHot OnesLike Pack Pad PadV2 ParseExampleV2 Placeholder PlaceholderWithDefault Pow
    Prod Range Rank ReadVariableOp RealDiv Reciprocal Relu Relu6 Reshape ResourceGather
    ResourceGatherNd Round Rsqrt ScatterNd Select SelectV2 Selu Shape ShapeN Sigmoid Sign Size
    Slice Softmax Softplus Softsign SparseSegmentMean SparseSegmentSum SparseToDense Split SplitV
    Sqrt Square SquaredDifference Squeeze StopGradient StridedSlice StringLower StringSplitV2
    StringStrip StringToHashBucketFast StringToNumber StringUpper Sub Sum Tanh Tile TopKV2
    Transpose Unpack UnsortedSegmentMax UnsortedSegmentMean UnsortedSegmentSum VarHandleOp Where
    ZerosLike If StatelessIf PartitionedCall StatefulPartitionedCall
"""
SERVING = frozenset(_SERVING.split())
# What a loader runs once: tables are filled from constants, and variables from the checkpoint whose
# name the loader gives.
INITIALISING = SERVING | {"LookupTableImportV2"}
_CALLS = {
    "Const",
    "Identity",
    "NoOp",
    "Pack",
    "Placeholder",
    "StatefulPartitionedCall",
    "VarHandleOp",
}
RESTORING = frozenset({*_CALLS, "AssignVariableOp", "RestoreV2"})
# What TensorFlow puts beside them to save the model again, and no loader or server runs.
_SAVING = (
    "DisableCopyOnRead MergeV2Checkpoints ReadVariableOp SaveV2 Select ShardedFilename "
    "StaticRegexFullMatch StringJoin"
)
SAVING = frozenset({*_CALLS, *_SAVING.split()})
_INITIALISER = "__saved_model_init_op"
_INITIALISERS = ("saved_model_main_op", "legacy_init_op")  # The same, as collections of nodes.


def not_allowed(meta_graph: Any) -> "tuple[str, ...]":
    """What a graph holds that it may not, in words; empty for a graph that may be run.

    Args:
      meta_graph: a `MetaGraphDef` of saved_model.pb.
    """
    graph, saver = meta_graph.graph_def, meta_graph.saver_def
    signatures = meta_graph.signature_def
    outputs = {
        name: [info.name for info in value.outputs.values()] for name, value in signatures.items()
    }
    groups = [
        (name, nodes, INITIALISING if name == _INITIALISER else SERVING)
        for name, nodes in outputs.items()
    ]
    groups += [
        ("restoring", [saver.restore_op_name], RESTORING),
        ("saving", [saver.save_tensor_name], SAVING),
    ]
    collections = {
        name: meta_graph.collection_def[name]
        for name in _INITIALISERS
        if name in meta_graph.collection_def
    }
    groups += [
        (name, list(value.node_list.value), INITIALISING) for name, value in collections.items()
    ]
    found = {
        f"the collection {name}, not of nodes"
        for name, value in collections.items()
        if value.WhichOneof("kind") != "node_list"
    }
    reached: set[str] = set()
    for name, nodes, allowed in groups:
        operations = operations_behind(graph, filter(None, nodes))
        reached |= operations
        found.update(f"{operation} ({name})" for operation in operations - allowed)
    functions = {function.signature.name for function in graph.library.function}
    # What no signature reaches can be reached by another name.
    found.update(
        f"{operation} (unused)" for operation in _all(graph) - functions - reached - SERVING
    )
    return tuple(sorted(found))


def operations_behind(graph: Any, names: "Iterable[str]") -> "set[str]":
    """The operations that tensors or nodes depend on,
    through every function that is called on the way.
    """
    nodes = {node.name: node for node in graph.node}
    functions = {function.signature.name: function for function in graph.library.function}
    waiting = [_node(name) for name in names]
    seen: set[str] = set()
    called: set[str] = set()
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in nodes:
            continue
        seen.add(name)
        waiting += [_node(source) for source in nodes[name].input]
        inner = [nodes[name]]
        while inner:
            node = inner.pop()
            if node.op not in functions:
                found.add(node.op)
            for function in {node.op, *_named_functions(node)} & set(functions) - called:
                called.add(function)
                inner += functions[function].node_def
    return found


def _node(name: str) -> str:
    return name.lstrip("^").split(":")[0]


def _named_functions(node: Any) -> "Iterator[str]":
    for value in node.attr.values():
        if value.HasField("func"):
            yield value.func.name
        for function in value.list.func:
            yield function.name


def _all(graph: Any) -> "set[str]":
    inner = (node.op for function in graph.library.function for node in function.node_def)
    return {*(node.op for node in graph.node), *inner}
