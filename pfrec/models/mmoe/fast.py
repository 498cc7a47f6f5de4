"""The MMoE's fast form: the mathematics of `mmoe.MMoE.plain` in fewer operations and passes over
memory.

- The first layers of experts and gates are folded with the embeddings (`first_layer`).
- Blocks of one shape (experts, towers) run side by side where they are small, so that a step is few
  operations; where they are large each runs by itself, so that its activations stay in the
  processor's cache.
- Normalisation, activation and dropout are one pair of kernels (`fused`).

Activations of blocks side by side lie as [tasks * rows, blocks * units], task by task; `tasks` is 1
without a parameter template, since the kernels of an expert differ by task with one only.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Optional

import tensorflow as tf

from pfrec.models import attention
from pfrec.models.mmoe import first_layer, fused
from pfrec.models.precision import matmul

# Blocks run side by side where their widest layers have at most this many units together.
_SIDE_BY_SIDE = 1024


# nothing here depends on a tensor's value, and converting takes most of a trace's time
@tf.autograph.experimental.do_not_convert
def forward(model: Any, inputs: Mapping[str, tf.Tensor], training: bool) -> "dict[str, tf.Tensor]":
    """Logits by task name, each float32 [rows]; see `mmoe.MMoE`.

    Args:
      model: a built `mmoe.MMoE`.
      inputs: as in its call.
      training: whether batch statistics and dropout are those of training.
    """
    seed, names = inputs.get("dropout_seed"), list(model.towers)
    experts, gates, towers = (
        model.experts,
        [model.gates[n] for n in names],
        [model.towers[n] for n in names],
    )
    x = _first_layer(model, inputs, training)
    parts = [
        _experts(group, x, seed, training) for group in _groups(experts, model.config.expert_units)
    ]
    together = parts[0] if len(parts) == 1 else tf.concat(parts, axis=1)
    # [rows, tasks, experts]
    weights = tf.nn.softmax(
        tf.reshape(
            x(_beside(gate.dense.kernel for gate in gates))
            + fused.joined([gate.dense.bias for gate in gates]),
            [-1, len(gates), len(experts)],
        )
    )
    units = model.config.expert_units[-1]
    if _tasks(experts) == 1:
        mixed = tf.matmul(weights, tf.reshape(together, [-1, len(experts), units]))
    else:
        by_task = tf.reshape(together, [len(gates), -1, len(experts), units])
        mixed = tf.transpose(
            tf.matmul(tf.transpose(weights, [1, 0, 2])[:, :, tf.newaxis], by_task)[:, :, 0],
            [1, 0, 2],
        )
    logits: list[tf.Tensor] = []
    for group in _groups(towers, model.config.tower_units):
        own = (
            mixed if len(group) == len(towers) else mixed[:, len(logits) : len(logits) + len(group)]
        )
        logits += tf.unstack(
            _towers(group, tf.reshape(own, [-1, len(group) * units]), seed, training), axis=1
        )
    return dict(zip(names, logits))


def _first_layer(
    model: Any, inputs: Mapping[str, tf.Tensor], training: bool
) -> first_layer.FirstLayer:
    numbers, projection = None, None
    if model.numeric is not None:
        if model.numeric.project is not None:
            projection = model.numeric.project.kernel, model.numeric.project.bias
        values = fused.normalise(inputs["numerical"], model.numeric.normalise, training)
        numbers = first_layer.Numbers(values, projection)
    outputs = len(model.experts) * (model.config.expert_units[0] + len(model.towers))
    ids = inputs["categorical"]
    given = attention.pooled(model.attention, model.embeddings, ids, model.schema)
    features = [
        first_layer.Feature(layer.table, place, given.get(number))
        for number, (layer, place) in enumerate(zip(model.embeddings, model.schema.id_places))
    ]
    rows = first_layer.rows_of(ids, training)
    return first_layer.FirstLayer(features, ids, numbers, outputs, rows)


def _groups(blocks: Sequence[Any], units: Sequence[int]) -> "list[list[Any]]":
    if len(blocks) * max(units, default=0) <= _SIDE_BY_SIDE:
        return [list(blocks)]
    return [[block] for block in blocks]


def _tasks(experts: Sequence[Any]) -> int:
    """The tasks that an expert's activations are kept apart for."""
    return max(1, len(experts[0].dense[0].task_components))


def _experts(
    group: Sequence[Any], x: first_layer.FirstLayer, seed: Optional[tf.Tensor], training: bool
) -> tf.Tensor:
    """The outputs of some experts, float32 [tasks * rows, experts * units]."""
    tasks = _tasks(group)
    hidden = _hidden(
        group, 0, _first_product([expert.dense[0] for expert in group], x), seed, training
    )
    for number in range(1, len(group[0].dense)):
        product = _product(hidden, tasks, [expert.dense[number] for expert in group])
        hidden = _hidden(group, number, product, seed, training)
    return hidden


def _first_product(layers: Sequence[Any], x: first_layer.FirstLayer) -> tf.Tensor:
    """The first layers' products without bias, float32 [tasks * rows, experts * units]."""
    composition, tasks = layers[0].composition, len(layers[0].task_components)
    if composition == "hadamard":
        kernels = tf.unstack(_kernels(layers), axis=1)
        return tf.concat([x(_beside(tf.unstack(kernel))) for kernel in kernels], axis=0)
    shared = x(_beside(layer.kernel for layer in layers))
    if composition == "none":
        return shared
    # The large product with S is made once for all tasks; those with A and B are of low rank.
    components = [layer.task_components[task] for task in range(tasks) for layer in layers]
    rank, units = components[0].rank, layers[0].units
    low = tf.reshape(x(_beside(c.a for c in components)), [-1, tasks, len(layers), rank])
    up = tf.reshape(tf.stack([c.b for c in components]), [tasks, len(layers), rank, units])
    own = tf.transpose(tf.matmul(tf.transpose(low, [1, 2, 0, 3]), up), [0, 2, 1, 3])
    return tf.reshape(
        own + tf.reshape(shared, [1, -1, len(layers), units]), [-1, len(layers) * units]
    )


def _kernels(layers: Sequence[Any]) -> tf.Tensor:
    """Kernels of layers with a template, float32 [layers, tasks, inputs, units]."""
    shared = tf.stack([layer.kernel for layer in layers])[:, tf.newaxis]
    components = [component for layer in layers for component in layer.task_components]
    products = tf.matmul(tf.stack([c.a for c in components]), tf.stack([c.b for c in components]))
    own = tf.reshape(products, [len(layers), -1, *products.shape[1:]])
    return shared + own if layers[0].composition == "additive" else shared * (1.0 + own)


def _product(x: tf.Tensor, tasks: int, layers: Sequence[Any]) -> tf.Tensor:
    """Each block's rows by its own kernel: [tasks * rows,
    blocks * inputs] -> [tasks * rows, blocks * units].
    """
    blocks, units = len(layers), layers[0].units
    if not getattr(layers[0], "task_components", ()):
        kernels = [tf.convert_to_tensor(layer.kernel) for layer in layers]
        return matmul(x, kernels[0]) if blocks == 1 else _block_product(x, *kernels)
    inputs = layers[0].kernel.shape[0]
    own = tf.transpose(tf.reshape(x, [tasks, -1, blocks, inputs]), [2, 0, 1, 3])
    return tf.reshape(
        tf.transpose(matmul(own, _kernels(layers)), [1, 2, 0, 3]), [-1, blocks * units]
    )


@tf.custom_gradient
def _block_product(x: tf.Tensor, *kernels: tf.Tensor) -> Any:
    """`[x_0 @ kernel_0, x_1 @ kernel_1, ...]`: on a CPU faster than a batched product,
    which wants the blocks transposed first.
    """
    parts = tf.split(x, len(kernels), axis=1)

    def gradient(upstream: tf.Tensor) -> Any:
        own = tf.split(upstream, len(kernels), axis=1)
        to_x = tf.concat(
            [matmul(up, kernel, transpose_b=True) for up, kernel in zip(own, kernels)], axis=1
        )
        return (to_x, *[matmul(part, up, transpose_a=True) for part, up in zip(parts, own)])

    return tf.concat(
        [matmul(part, kernel) for part, kernel in zip(parts, kernels)], axis=1
    ), gradient


def _hidden(
    blocks: Sequence[Any],
    number: int,
    product: tf.Tensor,
    seed: Optional[tf.Tensor],
    training: bool,
) -> tf.Tensor:
    """What layer `number` of some experts or towers makes of its product."""
    drops = [block.dropouts[number] for block in blocks]
    keep = None
    if drops[0].drops(training):
        rows = tf.shape(product)[0]
        masks = [
            drop.keep(seed, rows, block.dense[number].units) for drop, block in zip(drops, blocks)
        ]
        keep = masks[0] if len(masks) == 1 else tf.concat(masks, axis=1)
    norms = [block.norms[number] for block in blocks] if blocks[0].norms else []
    return fused.activate(
        product,
        [block.dense[number].bias for block in blocks],
        norms,
        keep,
        drops[0].rate,
        training,
    )


def _towers(
    group: Sequence[Any], x: tf.Tensor, seed: Optional[tf.Tensor], training: bool
) -> tf.Tensor:
    """Logits of some towers, float32 [rows, towers], of their inputs side by side."""
    for number in range(len(group[0].dense)):
        product = _product(x, 1, [tower.dense[number] for tower in group])
        x = _hidden(group, number, product, seed, training)
    kernels, bias = (
        [tower.logit.kernel for tower in group],
        fused.joined([tower.logit.bias for tower in group]),
    )
    if len(group) == 1:
        return tf.matmul(x, kernels[0]) + bias
    weighted = x * tf.reshape(tf.concat(kernels, axis=0), [-1])
    return tf.reduce_sum(tf.reshape(weighted, [-1, len(group), kernels[0].shape[0]]), axis=2) + bias


def _beside(kernels: Any) -> tf.Tensor:
    kernels = list(kernels)
    return tf.convert_to_tensor(kernels[0]) if len(kernels) == 1 else tf.concat(kernels, axis=1)
