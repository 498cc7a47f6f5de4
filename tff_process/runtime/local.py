"""A compiled computation that runs in this process, on its own graph."""

import threading
from collections.abc import Callable, Iterator
from typing import Any, Optional

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff
from tensorflow.core.protobuf import config_pb2
from tensorflow_federated.proto.v0 import computation_pb2

from tff_process.runtime import exchange


class LocalFunction:
    """Calls a computation here, from arrays to arrays; made ready when it is first called.

    What `desugar_and_transform_to_native` made of it is optimised already, so the session runs the
    graph as it is: TensorFlow's own way there, a `tf.function`, would trace and optimise it again
    in every process.

    Args:
      computation: of one TensorFlow graph, compiled.
    """

    def __init__(self, computation: tff.Computation) -> None:
        self._computation = computation
        self._lock = threading.Lock()
        self._call: Optional[Callable[..., list[Any]]] = None

    def __call__(self, *arguments: Any) -> Any:
        """Calls it.

        Args:
          *arguments: of the computation's parameters, in order; structures as mappings.

        Returns:
          its result; structures as ordered dicts, or lists where they have no names.
        """
        with self._lock:
            if self._call is None:
                self._call = self._prepared()
            call = self._call
        values = [
            leaf
            for argument, kind in zip(arguments, self._kinds)
            for leaf in _leaves(argument, kind)
        ]
        return exchange.structure(iter(call(*values)), self._computation.type_signature.result)

    def _prepared(self) -> "Callable[..., list[Any]]":
        whole: computation_pb2.Computation = tff.framework.serialize_computation(self._computation)
        parameter = self._computation.type_signature.parameter
        self._kinds = [kind for _, kind in tff.structure.to_elements(parameter)]
        graph, definition = tf.Graph(), tf.compat.v1.GraphDef()
        whole.tensorflow.graph_def.Unpack(definition)
        with graph.as_default():
            tf.graph_util.import_graph_def(definition, name="")
        settings = tf.compat.v1.ConfigProto()
        settings.graph_options.rewrite_options.disable_meta_optimizer = True
        settings.graph_options.optimizer_options.opt_level = -1
        session = tf.compat.v1.Session(graph=graph, config=settings)
        if whole.tensorflow.initialize_op:
            session.run(whole.tensorflow.initialize_op)
        given, wanted = _tensors(whole.tensorflow.parameter), _tensors(whole.tensorflow.result)
        # `make_callable` looks up every name and checks every shape in each call, which takes
        # longer than the aggregation of a small model; Keras's graph functions call like this.
        options = config_pb2.CallableOptions(
            feed=given, fetch=[name for name in wanted if name not in given]
        )
        made = session._make_callable_from_options(options)

        def call(*values: Any) -> "list[Any]":
            # A session does not hand back what it was given.
            passed, computed = dict(zip(given, values)), iter(made(*values))
            return [passed[name] if name in passed else next(computed) for name in wanted]

        return call


def _tensors(binding: Any) -> "list[str]":
    """The names of a binding's tensors, in order."""
    if binding.WhichOneof("binding") == "tensor":
        return [binding.tensor.tensor_name]
    return [name for element in binding.struct.element for name in _tensors(element)]


def _leaves(value: Any, kind: tff.Type) -> "Iterator[Any]":
    if not isinstance(kind, tff.StructType):
        yield np.asarray(value, kind.dtype.type)
        return
    for name, inner in tff.structure.to_elements(kind):
        yield from _leaves(value[name], inner)
