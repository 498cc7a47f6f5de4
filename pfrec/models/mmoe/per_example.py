"""The MMoE as pieces of which the gradient of every single row is known without being made.

In a product `z = x @ W + b` a row's gradient at W is the outer product of its x and its gradient at
z, of norm `|x| |g|`; in a table it is its gradient at what was looked up. So one pass forward and
one back give the norm of each row's whole gradient, and the sum of gradients that are each scaled
by a number of their own (book-keeping: Bu et al., "Differentially Private Optimization on Large
Model at Small Cost", ICML 2023). It holds because nothing here reads two rows at once: without
batch normalisation, dropout and task components.
"""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, Optional, Union

import numpy as np
import tensorflow as tf

from pfrec.models import embedding
from pfrec.models.mmoe import first_layer, fused, per_example_first
from pfrec.models.mmoe import per_example_sources as sources_lib


@dataclasses.dataclass(frozen=True)
class Linear:
    """`output = inputs @ kernel + bias`.

    Attributes:
      kernel, bias: variables.
      inputs: float32 [rows, inputs].
      output: float32 [rows, outputs].
    """

    kernel: tf.Variable
    bias: tf.Variable
    inputs: tf.Tensor
    output: tf.Tensor

    @classmethod
    def of(cls, layer: Any, inputs: tf.Tensor) -> "Linear":
        """The piece of a dense layer, computed."""
        output = tf.nn.bias_add(tf.matmul(inputs, layer.kernel), layer.bias)
        return cls(layer.kernel, layer.bias, inputs, output)

    def backward(self, upstream: tf.Tensor) -> per_example_first.Backward:
        """See `per_example_first.Backward`.

        Args:
          upstream: gradients at the output.
        """

        def sums(factor: tf.Tensor) -> sources_lib.Sums:
            scaled = tf.math.multiply_no_nan(upstream, factor)
            inputs = tf.where(factor > 0.0, self.inputs, 0.0)
            return [
                (self.kernel, tf.matmul(inputs, scaled, transpose_a=True)),
                (self.bias, tf.reduce_sum(scaled, axis=0)),
            ]

        own = sources_lib.squares(self.inputs) + 1.0
        return own * sources_lib.most_squares(upstream), sums

    def moved(self, variable: tf.Variable) -> Optional[np.ndarray]:
        """Which rows of a variable can have a gradient, bool; None for all."""
        del variable
        return None


Piece = Union[Linear, per_example_first.FirstLayer]


def forward(
    model: Any,
    inputs: Mapping[str, tf.Tensor],
    absent: "Collection[str]" = (),
) -> "tuple[dict[str, tf.Tensor], list[Piece]]":
    """Logits by task, each float32 [rows], and the pieces that hold all variables they depend on;
    what the model answers outside training where the tables of absent features hold zeros.

    Args:
      model: a built `mmoe.MMoE` without batch normalised layers and task components.
      inputs: as in its call, of any number of rows; how many to expect is
        `first_layer.expected_rows`.
      absent: names of features, categorical and numerical, that are not read.
    """
    pieces: list[Piece] = []

    def add(piece: Piece) -> tf.Tensor:
        pieces.append(piece)
        return piece.output

    gates = [gate.dense for gate in model.gates.values()]
    first = [expert.dense[0] for expert in model.experts] + gates
    rows = first_layer.rows_of(inputs["categorical"], training=True)
    sources = _sources(model, inputs, absent)
    whole = add(per_example_first.FirstLayer.of(first, sources, rows))
    split = tf.split(whole, [int(layer.kernel.shape[1]) for layer in first], axis=1)
    hidden = [tf.nn.relu(part) for part in split[: len(model.experts)]]
    for number in range(1, len(model.experts[0].dense)):
        dense = [expert.dense[number] for expert in model.experts]
        hidden = [tf.nn.relu(add(Linear.of(d, h))) for d, h in zip(dense, hidden)]
    weights = tf.nn.softmax(tf.stack(split[len(model.experts) :], axis=1))
    # [rows, tasks, units]
    mixed = tf.matmul(weights, tf.stack(hidden, axis=1))
    logits = {}
    for h, (task, tower) in zip(tf.unstack(mixed, axis=1), model.towers.items()):
        for layer in tower.dense:
            h = tf.nn.relu(add(Linear.of(layer, h)))
        logits[task] = add(Linear.of(tower.logit, h))[:, 0]
    return logits, pieces


def _sources(
    model: Any, inputs: Mapping[str, tf.Tensor], absent: "Collection[str]"
) -> "list[sources_lib.Source]":
    """What the first layer reads, feature by feature, then the numbers."""
    rows = tf.shape(inputs["categorical"])[0]

    def nothing(width: int) -> sources_lib.Source:
        return sources_lib.Numbers(tf.zeros([rows, width]), np.full(width, False))

    found: list[sources_lib.Source] = [
        nothing(layer.dim) if layer.feature in absent else sources_lib.LookUp(layer.table, ids)
        for layer, ids in zip(
            model.embeddings, embedding.ids_by_feature(inputs["categorical"], model.schema)
        )
    ]
    if model.numeric is None:
        return found
    columns = [column for column in model.schema.numerical for _ in range(column.values)]
    known = np.array([column.name not in absent for column in columns])
    numbers = fused.normalise(inputs["numerical"], model.numeric.normalise, training=False)
    # Not a product: what an absent column holds may be no number.
    numbers = tf.where(known[np.newaxis], numbers, 0.0)
    project = model.numeric.project
    if project is None:
        return [*found, sources_lib.Numbers(numbers, known)]
    return [*found, sources_lib.Projection(project.kernel, project.bias, numbers, known)]
