"""The network that is served in place of a trained MMoE:
the same answers from the constants of `export.graph.folding`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from export.graph import folding
from pfrec.models import embedding


class FoldedNetwork(tf.Module):
    """A folded MMoE, called as the trained one is.

    Experts are not fused into one product: on a CPU a chain of products per expert, each small
    enough for the cache and all of them independent of each other, is faster than one product over
    all experts and the transposition after it.

    Args:
      folded: the constants.

    Call arguments:
      inputs: `categorical` int32 [rows, ids] and `numerical` float32 [rows, features].
      training: must be false.

    Returns:
      logits by task name, each float32 [rows].
    """

    def __init__(self, folded: folding.Folded) -> None:
        super().__init__(name="folded")
        self.folded = folded
        self.made: list[tf.Variable] = []
        tables: dict[int, Any] = {}
        for position, table in folded.lookups:
            if id(table) not in tables:
                tables[id(table)] = self._make(f"embedding_{position}", table)
        self._lookups = [(position, tables[id(table)]) for position, table in folded.lookups]
        self._scale = self._make("numbers/scale", folded.scale)
        self._offset = self._make("numbers/offset", folded.offset)
        self._projection = (
            None
            if folded.projection is None
            else self._dense("numbers/projection", folded.projection)
        )
        self._experts = [
            [
                (
                    self._first(f"expert_{m}/variant_{variant}/0", expert.first),
                    [
                        self._dense(f"expert_{m}/variant_{variant}/{n}", layer)
                        for n, layer in enumerate(expert.rest, start=1)
                    ],
                )
                for m, expert in enumerate(experts)
            ]
            for variant, experts in enumerate(folded.experts)
        ]
        self._gates = self._first("gates", folded.gates)
        self._towers = [
            [self._dense(f"tower_{t}/{n}", layer) for n, layer in enumerate(layers)]
            for t, layers in enumerate(folded.towers)
        ]

    @property
    def variables(self) -> "tuple[tf.Variable, ...]":
        """All variables, in a fixed order."""
        return tuple(self.made)

    def __call__(
        self, inputs: Mapping[str, tf.Tensor], training: Optional[bool] = None
    ) -> "dict[str, tf.Tensor]":
        if training:
            raise ValueError("a folded network cannot be trained")
        ids, segments, rest = self._inputs(inputs)
        outputs: list[list[tf.Tensor]] = []
        for experts in self._experts:
            outputs.append([])
            for first, layers in experts:
                x = tf.nn.relu(_apply(first, ids, segments, rest))
                for kernel, bias in layers:
                    x = tf.nn.relu(tf.nn.bias_add(tf.matmul(x, kernel), bias))
                outputs[-1].append(x)
        count = len(self._experts[0])
        gates = _apply(self._gates, ids, segments, rest)
        logits = {}
        for t, task in enumerate(self.folded.tasks):
            gate = tf.nn.softmax(gates[:, t * count : (t + 1) * count])
            own = outputs[min(t, len(outputs) - 1)]
            x = tf.add_n([gate[:, m : m + 1] * own[m] for m in range(count)])
            for kernel, bias in self._towers[t][:-1]:
                x = tf.nn.relu(tf.nn.bias_add(tf.matmul(x, kernel), bias))
            kernel, bias = self._towers[t][-1]
            logits[task] = tf.squeeze(tf.nn.bias_add(tf.matmul(x, kernel), bias), axis=-1)
        return logits

    def _inputs(self, inputs: Mapping[str, tf.Tensor]) -> "tuple[Any, Any, Any]":
        """Rows of the tables to add up [rows * folded features], the row of the batch that each
        belongs to, and the rest [rows, width].
        """
        folded = self.folded
        ids: Any = None
        segments: Any = None
        if folded.folded:
            columns = [folded.places[position].start for position in folded.folded]
            chosen = tf.gather(inputs["categorical"], tf.constant(columns, tf.int32), axis=1)
            ids = tf.reshape(chosen + tf.constant(folded.offsets, tf.int32), [-1])
            segments = tf.repeat(tf.range(tf.shape(chosen)[0]), len(folded.folded))
        found = [
            embedding.look_up(
                table, embedding.ids_at(inputs["categorical"], folded.places[position])
            )
            for position, table in self._lookups
        ]
        rest = [tf.cast(part, tf.float32) for part in found]
        if self._scale is not None:
            numbers = inputs["numerical"] * self._scale + self._offset
            if self._projection is not None:
                numbers = tf.nn.bias_add(
                    tf.matmul(numbers, self._projection[0]), self._projection[1]
                )
            rest.append(numbers)
        return ids, segments, tf.concat(rest, axis=1) if rest else None

    def _make(self, name: str, values: Optional[np.ndarray]) -> Optional[tf.Variable]:
        if values is None:
            return None
        variable = tf.Variable(values, trainable=False, name=name)
        self.made.append(variable)
        return variable

    def _dense(self, name: str, layer: folding.Dense) -> "Sequence[Any]":
        return self._make(f"{name}/kernel", layer.kernel), self._make(f"{name}/bias", layer.bias)

    def _first(self, name: str, layer: folding.FirstLayer) -> "Sequence[Any]":
        table = self._make(f"{name}/table", layer.table) if len(layer.table) else None
        kernel = self._make(f"{name}/kernel", layer.kernel) if len(layer.kernel) else None
        return table, kernel, self._make(f"{name}/bias", layer.bias)


def _apply(layer: "Sequence[Any]", ids: Any, segments: Any, rest: Any) -> tf.Tensor:
    """`folding.FirstLayer` of a batch, float32 [rows, units]."""
    table, kernel, bias = layer
    summed = (
        None
        if table is None
        else tf.raw_ops.SparseSegmentSum(data=table, indices=ids, segment_ids=segments)
    )
    if kernel is None:
        return tf.nn.bias_add(summed, bias)
    product = tf.nn.bias_add(tf.matmul(rest, kernel), bias)
    return product if summed is None else product + summed
