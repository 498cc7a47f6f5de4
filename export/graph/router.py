"""The router: all scenarios in one model, which takes the scenario of each row as an input."""

from collections.abc import Mapping
from typing import Any, Optional

import tensorflow as tf

from export import interface

_UNKNOWN = "unknown scenario: a row's scenario must be one that the model knows; known, and found:"


class RoutedNetwork:
    """Networks of several scenarios behind one.

    Each row is computed by its own scenario's network alone. A scenario that is not among them is
    an error of the whole request, never a default: the answer of another scenario's model would
    look as good as any.

    Args:
      networks: per scenario, maps features to `{task: logits [rows]}`.

    Call arguments:
      inputs: `categorical`, `numerical`, and `scenario`, string [rows].
      training: must be false.

    Returns:
      logits by task name, each float32 [rows].
    """

    name = "router"

    def __init__(self, networks: Mapping[str, Any]) -> None:
        self._networks = dict(networks)

    @property
    def variables(self) -> "tuple[tf.Variable, ...]":
        """The variables of all networks, in order."""
        return tuple(
            variable for network in self._networks.values() for variable in network.variables
        )

    def __call__(
        self, inputs: Mapping[str, tf.Tensor], training: Optional[bool] = None
    ) -> "dict[str, tf.Tensor]":
        if training:
            raise ValueError("a router cannot be trained")
        names = tf.constant(list(self._networks))
        found = inputs[interface.SCENARIO]
        same = tf.equal(found[:, tf.newaxis], names)
        known = tf.debugging.Assert(
            tf.reduce_all(tf.reduce_any(same, axis=1)), [_UNKNOWN, names, found], summarize=20
        )
        with tf.control_dependencies([known]):
            number = tf.argmax(tf.cast(same, tf.int32), axis=1, output_type=tf.int32)
        places = tf.dynamic_partition(tf.range(tf.size(found)), number, len(self._networks))
        answers = []
        for network, own in zip(self._networks.values(), places):
            features = {name: tf.gather(inputs[name], own) for name in ("categorical", "numerical")}
            answers.append(network(features, training=False))
        return {
            task: tf.dynamic_stitch(places, [tf.reshape(a[task], [-1]) for a in answers])
            for task in answers[0]
        }
