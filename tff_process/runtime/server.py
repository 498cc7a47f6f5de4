"""The server's part: its state, what each client receives of it, and the aggregation.

The driver is the server. It aggregates in its own TensorFlow: all that clients sent is here
already, and sending it on to a worker and the new state back takes longer than the aggregation.
"""

import collections
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tff_process.algorithms import base
from tff_process.client import variables
from tff_process.process import computations, server_step
from tff_process.runtime import stacking

OD = collections.OrderedDict


class Server:
    """Keeps the server's state and aggregates.

    Args:
      traced: the types of what passes.
      aggregate: `Computations.aggregate`, from arrays to arrays.
      initial: the model's initial values by name.

    Attributes:
      state: the server's state, arrays by name.
      version: an object of its own for every state.
    """

    def __init__(
        self,
        traced: computations.Computations,
        aggregate: Callable[[Any, Any], Any],
        initial: Mapping[str, np.ndarray],
    ) -> None:
        self._traced, self._aggregate = traced, aggregate
        self.set_state(_arrays(traced.initial_state(initial)))

    def set_state(self, state: Any) -> None:
        """Replaces the state."""
        self.state = state
        self.version = object()
        self._values: dict[bool, Mapping[str, Any]] = {}

    def values(self, served: bool) -> "Mapping[str, Any]":
        """The parts that are evaluated and exported, or those that training goes on from;
        the same where nothing is averaged.
        """
        if served not in self._values:
            self._values[served] = _values(self.state, served)
        return self._values[served]

    def shared(self, served: bool) -> Any:
        """What every client may see."""
        return server_step.shared_values(self.values(served), self._traced.types.shared)

    def personal(self, client: int, served: bool) -> Any:
        """What one client alone receives."""
        own = self.values(served)["personal"]
        return OD(
            client_id=np.int32(client),
            values=OD((name, value[client]) for name, value in own.items()),
        )

    def spreads(self, factors: "Sequence[float]", serves: np.ndarray) -> Any:
        """What a client evaluates at several spreads with, see `types.ProcessTypes.spreads`: of
        tasks that it has no labels of it is told no consensus, as its values stay there.
        """
        spec, consensus = self._traced.spec, self.values(served=True)["consensus"]
        told = OD()
        for of in self._traced.layout.joined(variables.PERSONAL):
            foreign = of.kind in variables.TASK_KINDS and not serves[spec.tasks.index(of.member)]
            value = np.asarray(consensus[of.name])
            told[of.name] = np.zeros_like(value) if foreign else value
        return OD(factors=np.array(factors, np.float32), consensus=told)

    def stack(self) -> stacking.Stack:
        """Room for the reports of an aggregation step."""
        return stacking.Stack(self._traced.types.report, self._traced.client_count)

    def apply(self, reports: "Mapping[int, Any]", stack: stacking.Stack) -> Any:
        """Aggregates the reports of the clients present, by client number, into the next state.

        Args:
          reports: what `stack` holds of them, and others.
          stack: to put together in.

        Returns:
          what the algorithm says of the round: `examples`, `loss`, `present` by client, and
          `diagnostics`.

        Raises:
          PfrecError: where the next state cannot be, see `base.require_variances`.
        """
        new_state, report = self._aggregate(self.state, stack.whole(reports))
        # What is passed through is a part of the stack, and would keep all of it; and TensorFlow
        # drops the arrays that it was given as it is called the next time.
        report = tf.nest.map_structure(np.array, report)
        tf.constant(0)
        values = {served: _values(new_state, served) for served in (False, True)}
        for one in values.values():
            base.require_variances(self._traced.spec.algorithm.name, self._traced.layout, one)
        self.set_state(new_state)
        self._values = values
        return report


def _values(state: Any, served: bool) -> "Mapping[str, Any]":
    of = server_step.served_values if served else server_step.training_values
    return of(state)


def _arrays(value: Any) -> Any:
    """Tensors as arrays over the same memory, which TensorFlow takes back as they are."""
    return tf.nest.map_structure(lambda tensor: np.asarray(memoryview(tensor)), value)
