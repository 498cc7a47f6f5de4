"""What leaves a client of which the server is to learn no more than the sum over all clients: the
weighted change of each shared variable, and the weights, as whole numbers (`sums.fixed_point`).

Formula, for a client's values w after training from v, in each element:

    x = round(2^24 n (w - v)),    n: its rows in this aggregation step; of what belongs to a task
                                  0 where it has no labels of that; of a row of a table 1 where
                                  training moved it and 0 where not

The server goes on with `v + sum x / (2^24 sum n)`, off by at most `N / (2^25 sum n)` for N clients.
Whoever keeps the client's secret puts masks on before these numbers leave (`sums.masks`).
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from pfrec import lazy
from tff_process.client import strategy, variables
from tff_process.sums import fixed_point

with lazy.imports():
    import tensorflow as tf

    from tff_process.client import work as work_lib

# Names of weights among what leaves.
ROWS, OF = "weight/rows", "weight/"
# What a client's work says of the sum: in which aggregation step, counted from 0, of how many in a
# round, of which training.
NUMBER, PARTS, TRAINING = "sum_number", "sum_parts", "sum_training"
ASKED = (NUMBER, PARTS, TRAINING)


class SummedUploads(strategy.Strategy):
    """Another strategy's client, whose uploads are for a sum.

    Args:
      inner: what trains.
      tasks: their names, in model order.
    """

    summed = True

    def __init__(self, inner: strategy.Strategy, tasks: tuple[str, ...]) -> None:
        self._inner, self._tasks = inner, tasks
        self.asked, self.reads_valid = (*inner.asked, *ASKED), inner.reads_valid

    def own_work(self, client_id: tf.Tensor, secret: tf.Tensor) -> work_lib.Values:
        return self._inner.own_work(client_id, secret)

    def optimizers(self, layout: variables.ModelVariables) -> Mapping[str, Sequence[str]]:
        return self._inner.optimizers(layout)

    def kept(self, layout: variables.ModelVariables) -> Sequence[strategy.Kept]:
        return self._inner.kept(layout)

    def train(
        self, model: work_lib.ClientModel, inputs: work_lib.ClientInputs
    ) -> work_lib.ClientRound:
        done = strategy.trained(self._inner, model, inputs)
        upload = encoded(inputs.layout, self._tasks, done, inputs.incoming, inputs.work["serves"])
        # Its rows are a weight of the sum.
        return dataclasses.replace(done, upload=upload, examples=tf.zeros_like(done.examples))


def weight_of(spec: variables.VariableSpec) -> str:
    """The name of the weight of a variable's changes."""
    if spec.counts_rows:
        return OF + spec.name
    return f"{OF}task/{spec.member}" if spec.kind in variables.TASK_KINDS else ROWS


def shapes(layout: variables.ModelVariables) -> collections.OrderedDict[str, tuple[int, ...]]:
    """What leaves, int64, by name: changes, then weights."""
    found = collections.OrderedDict((spec.name, spec.shape) for spec in layout.uploaded)
    for spec in layout.uploaded:
        found[weight_of(spec)] = spec.shape[:1] if spec.counts_rows else (1,)
    found.setdefault(ROWS, (1,))
    return found


def encoded(
    layout: variables.ModelVariables,
    tasks: tuple[str, ...],
    done: Any,
    before: Mapping[str, tf.Tensor],
    serves: tf.Tensor,
) -> collections.OrderedDict[str, tf.Tensor]:
    """What leaves of a round, by the names of `shapes`.

    Args:
      layout: of the model's variables.
      tasks: their names, in model order.
      done: the round, a `work_lib.ClientRound`.
      before: the values that it began with, by name.
      serves: float32 [tasks], 1 where the client has labels of the task.

    A change that is not finite ends the round with an error.
    """
    weights: dict[str, Any] = {ROWS: tf.reshape(tf.cast(done.examples, tf.float64), [1])}
    for spec in layout.uploaded:
        name = weight_of(spec)
        if spec.counts_rows:
            moved = tf.reduce_any(tf.not_equal(done.upload[spec.name], before[spec.name]), axis=-1)
            weights[name] = tf.cast(moved, tf.float64)
        elif spec.kind in variables.TASK_KINDS:
            own = tf.cast(serves[tasks.index(spec.member)] > 0, tf.float64)
            weights[name] = weights[ROWS] * own
    changes = {
        spec.name: (
            tf.cast(done.upload[spec.name], tf.float64) - tf.cast(before[spec.name], tf.float64)
        )
        * _along(weights[weight_of(spec)], spec)
        for spec in layout.uploaded
    }
    return collections.OrderedDict(
        (name, _whole(changes[name] if name in changes else weights[name], name))
        for name in shapes(layout)
    )


def _along(weight: tf.Tensor, spec: variables.VariableSpec) -> tf.Tensor:
    """A weight to be multiplied with a variable's change."""
    return weight[:, tf.newaxis] if spec.counts_rows else weight[0]


def _whole(numbers: tf.Tensor, name: str) -> tf.Tensor:
    """As `fixed_point.encoded`."""
    finite = tf.debugging.check_numerics(numbers, f"the change of {name}, which is to be summed")
    limit = float(fixed_point.LARGEST)
    return tf.cast(tf.clip_by_value(tf.round(finite * fixed_point.SCALE), -limit, limit), tf.int64)


def report_of(
    layout: variables.ModelVariables,
    tasks: tuple[str, ...],
    total: Mapping[str, Any],
    before: Mapping[str, Any],
) -> dict[str, Any]:
    """What a client would have sent whose values are the mean of all clients': NumPy.

    Args:
      layout: of the model's variables.
      tasks: their names, in model order.
      total: the sum over the clients, int64 by the names of `shapes`.
      before: the values that they began with, by name.

    Returns:
      `values`, `examples` and `serves` of a report, float32; what nobody trained is as before.
    """
    import numpy as np

    sums = {name: fixed_point.decoded(value) for name, value in total.items()}
    values = collections.OrderedDict()
    for spec in layout.uploaded:
        weight = sums[weight_of(spec)]
        along = weight[:, np.newaxis] if spec.counts_rows else weight[0]
        change = np.divide(
            sums[spec.name],
            along,
            out=np.zeros(spec.shape),
            where=np.broadcast_to(along, spec.shape) > 0,
        )
        values[spec.name] = (before[spec.name] + change).astype(np.float32)
    serves = np.array(
        [sums.get(f"{OF}task/{task}", np.ones(1))[0] > 0 for task in tasks], np.float32
    )
    return {"values": values, "examples": np.float32(sums[ROWS][0]), "serves": serves}
