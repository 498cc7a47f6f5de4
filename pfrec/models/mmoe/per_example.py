"""The MMoE as pieces of which the gradient of every single row is known without being made.

In a product `z = x @ W + b` a row's gradient at W is the outer product of its x and its gradient at
z, of norm `|x| |g|`; in a table it is its gradient at what was looked up. So one pass forward and
one back give the norm of each row's whole gradient, and the sum of gradients that are each scaled
by a number of their own (book-keeping: Bu et al., "Differentially Private Optimization on Large
Model at Small Cost", ICML 2023). It holds because nothing here reads two rows at once: without
batch normalisation, dropout and task components.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Optional, Union

import numpy as np
import tensorflow as tf

from pfrec.data import schema as schema_lib
from pfrec.models import embedding
from pfrec.models.mmoe import fused

Sums = list[tuple[tf.Variable, tf.Tensor]]


@dataclasses.dataclass(frozen=True)
class Linear:
    """`output = inputs @ [kernels side by side] + [biases one after the other]`.

    Attributes:
      kernels, biases: variables, as many of both.
      inputs: float32 [rows, inputs].
      output: float32 [rows, outputs].
      read: bool [inputs], False where the input is always 0, whatever the rows hold: there the
        kernels have no gradient; None where all are read.
    """

    kernels: "Sequence[tf.Variable]"
    biases: "Sequence[tf.Variable]"
    inputs: tf.Tensor
    output: tf.Tensor
    read: Optional[np.ndarray] = None

    @classmethod
    def of(
        cls,
        kernels: "Sequence[tf.Variable]",
        biases: "Sequence[tf.Variable]",
        inputs: tf.Tensor,
        read: Optional[np.ndarray] = None,
    ) -> "Linear":
        """The piece, computed."""
        kernel = kernels[0] if len(kernels) == 1 else tf.concat(list(kernels), axis=1)
        output = tf.matmul(inputs, kernel) + fused.joined(biases)
        return cls(kernels, biases, inputs, output, read)

    def squared_norms(self, upstream: tf.Tensor) -> tf.Tensor:
        """Squared norm of each row's gradient at kernels and biases, [rows]."""
        own = tf.reduce_sum(tf.square(self.inputs), axis=1) + 1.0
        return own * tf.reduce_sum(tf.square(upstream), axis=1)

    def sums(self, upstream: tf.Tensor, counted: tf.Tensor) -> Sums:
        """The sum of rows' gradients at each variable.

        Args:
          upstream: gradients at the output, each row already scaled, 0 where it does not count.
          counted: bool [rows]; rows that do not count may hold what is no number.
        """
        inputs = tf.where(counted[:, tf.newaxis], self.inputs, 0.0)
        widths = [int(kernel.shape[1]) for kernel in self.kernels]
        whole = tf.split(tf.matmul(inputs, upstream, transpose_a=True), widths, axis=1)
        biases = tf.split(tf.reduce_sum(upstream, axis=0), widths)
        return [*zip(self.kernels, whole), *zip(self.biases, biases)]

    def moved(self, variable: tf.Variable) -> Optional[np.ndarray]:
        """Which rows of a variable can have a gradient, bool; None for all."""
        return self.read if any(variable is kernel for kernel in self.kernels) else None


@dataclasses.dataclass(frozen=True)
class LookUp:
    """`output = table[ids]`, of lists the mean.

    Attributes:
      table: variable [ids, dim].
      ids: int32 [rows], or lists [rows, values].
      output: float32 [rows, dim].
    """

    table: tf.Variable
    ids: tf.Tensor
    output: tf.Tensor

    @classmethod
    def of(cls, table: tf.Variable, ids: tf.Tensor) -> "LookUp":
        """The piece, computed."""
        return cls(table, ids, embedding.look_up(table, ids))

    def squared_norms(self, upstream: tf.Tensor) -> tf.Tensor:
        """Squared norm of each row's gradient at the table, [rows]."""
        own = tf.reduce_sum(tf.square(upstream), axis=1)
        if self.ids.shape.rank == 1:
            return own
        # An id that stands m times in a list of n gets m / n of the gradient.
        known = tf.not_equal(self.ids, schema_lib.NO_VALUE)
        same = tf.equal(self.ids[:, :, tf.newaxis], self.ids[:, tf.newaxis])
        pairs = tf.reduce_sum(tf.cast(same & known[:, tf.newaxis], tf.float32), axis=[1, 2])
        return own * pairs * tf.square(embedding.shares(known)[:, 0])

    def sums(self, upstream: tf.Tensor, counted: tf.Tensor) -> Sums:
        """See `Linear.sums`."""
        del counted
        return [(self.table, self._summed(upstream))]

    def _summed(self, values: tf.Tensor) -> tf.Tensor:
        """The sums of values [rows, ...] at the rows of the table, [ids, ...]."""
        ids, rows = self.ids, int(self.table.shape[0])
        if ids.shape.rank > 1:
            known = tf.not_equal(ids, schema_lib.NO_VALUE)
            places = tf.where(known)
            values = tf.gather(values * embedding.shares(known), places[:, 0])
            ids = tf.gather_nd(ids, places)
        return tf.math.unsorted_segment_sum(values, ids, rows)

    def met(self, weights: tf.Tensor) -> tf.Tensor:
        """How much of the rows' weights each row of the table was looked up for, float32 [ids]; a
        list gives each of its values the same share of its row's weight.

        Args:
          weights: float32 [rows].
        """
        return self._summed(weights[:, tf.newaxis])[:, 0]

    def moved(self, variable: tf.Variable) -> Optional[np.ndarray]:
        """See `Linear.moved`: any row of a table may be met."""
        del variable
        return None


Piece = Union[Linear, LookUp]


def forward(
    model: Any,
    inputs: Mapping[str, tf.Tensor],
    absent: "Collection[str]" = (),
) -> "tuple[dict[str, tf.Tensor], list[Piece]]":
    """Logits by task, each float32 [rows], and the pieces that hold all variables they depend on;
    what the model answers outside training where the tables of absent features hold zeros.

    Args:
      model: a built `mmoe.MMoE` without batch normalised layers and task components.
      inputs: as in its call, of any number of rows.
      absent: names of features, categorical and numerical, that are not read.
    """
    pieces: list[Piece] = []

    def add(piece: Piece) -> tf.Tensor:
        pieces.append(piece)
        return piece.output

    parts, read = _features(model, inputs, absent, add)
    x = tf.concat(parts, axis=1)
    gates = [gate.dense for gate in model.gates.values()]
    first = [expert.dense[0] for expert in model.experts] + gates
    whole = add(
        Linear.of([d.kernel for d in first], [d.bias for d in first], x, np.concatenate(read))
    )
    split = tf.split(whole, [int(layer.kernel.shape[1]) for layer in first], axis=1)
    hidden = [tf.nn.relu(part) for part in split[: len(model.experts)]]
    for number in range(1, len(model.experts[0].dense)):
        dense = [expert.dense[number] for expert in model.experts]
        hidden = [
            tf.nn.relu(add(Linear.of([d.kernel], [d.bias], h))) for d, h in zip(dense, hidden)
        ]
    together = tf.stack(hidden, axis=1)  # [rows, experts, units]
    logits = {}
    for gate, (task, tower) in zip(split[len(model.experts) :], model.towers.items()):
        h = tf.einsum("bm,bmu->bu", tf.nn.softmax(gate), together)
        for layer in tower.dense:
            h = tf.nn.relu(add(Linear.of([layer.kernel], [layer.bias], h)))
        logits[task] = add(Linear.of([tower.logit.kernel], [tower.logit.bias], h))[:, 0]
    return logits, pieces


def _features(
    model: Any, inputs: Mapping[str, tf.Tensor], absent: "Collection[str]", add: Any
) -> "tuple[list[tf.Tensor], list[np.ndarray]]":
    """The columns of the first layer's input by feature, and which of them are read."""
    rows = tf.shape(inputs["categorical"])[0]
    parts, read = [], []
    for layer, ids in zip(
        model.embeddings, embedding.ids_by_feature(inputs["categorical"], model.schema)
    ):
        there = layer.feature not in absent
        parts.append(add(LookUp.of(layer.table, ids)) if there else tf.zeros([rows, layer.dim]))
        read.append(np.full(layer.dim, there))
    if model.numeric is not None:
        known = np.array(
            [
                column.name not in absent
                for column in model.schema.numerical
                for _ in range(column.values)
            ]
        )
        numbers = fused.normalise(inputs["numerical"], model.numeric.normalise, training=False)
        # Not a product: what an absent column holds may be no number.
        numbers = tf.where(known[np.newaxis], numbers, 0.0)
        project = model.numeric.project
        if project is not None:
            numbers = add(Linear.of([project.kernel], [project.bias], numbers, known))
            known = np.full(int(project.kernel.shape[1]), True)
        parts.append(numbers)
        read.append(known)
    return parts, read
