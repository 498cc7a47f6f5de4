"""Batch normalisation, ReLU and dropout of several layers side by side, with little memory traffic.

The layers keep their variables; only the arithmetic is joint. Forward, TensorFlow's fused kernel
reads the activations once for statistics and once to normalise; the factor 1 / (1 - rate) of
dropout rides on gamma and beta. Backward, the output alone says where the gradient passes: it is
positive exactly where the value was kept and ReLU passed it, so neither mask nor ReLU's output is
kept.
"""

from collections.abc import Sequence
from typing import Any, Optional

import tensorflow as tf


def joined(variables: Sequence[Any]) -> tf.Tensor:
    """Vectors one after the other."""
    return (
        tf.convert_to_tensor(variables[0])
        if len(variables) == 1
        else tf.concat([tf.convert_to_tensor(v) for v in variables], 0)
    )


def normalise(x: tf.Tensor, norm: tf.keras.layers.BatchNormalization, training: bool) -> tf.Tensor:
    """`norm(x, training)` for data without a gradient and a layer without scale and shift, float32
    [rows, width]; updates its statistics.
    """
    ones, zeros = tf.ones([x.shape[-1]]), tf.zeros([x.shape[-1]])
    if not training:
        return _fused(
            x,
            ones,
            zeros,
            tf.convert_to_tensor(norm.moving_mean),
            tf.convert_to_tensor(norm.moving_variance),
            norm.epsilon,
        )
    y, mean, variance, *_ = _fused_training(x, ones, zeros, norm.epsilon)
    _update([norm], mean, _biased(variance, x))
    return tf.stop_gradient(y)


def activate(
    x: tf.Tensor,
    biases: Sequence[tf.Variable],
    norms: Sequence[tf.keras.layers.BatchNormalization],
    keep: Optional[tf.Tensor],
    rate: float,
    training: bool,
) -> tf.Tensor:
    """`dropout(relu(batch_norm(x + bias)))` of some layers side by side.

    Args:
      x: float32 [rows, width of all layers]: products without bias.
      biases: of each layer.
      norms: of each layer, or empty without batch normalisation; in training their moving
        statistics are updated.
      keep: bool as x, which values dropout keeps, or None without dropout.
      rate: of dropout.
      training: whether statistics are those of the batch.

    Returns:
      float32, as x. In training with batch normalisation the gradient to the biases is exactly
      zero: they cancel.
    """
    scale = 1.0 if keep is None else 1.0 / (1.0 - rate)
    if not norms:
        y = tf.nn.relu(tf.nn.bias_add(x, joined(biases)))
        return y if keep is None else tf.where(keep, y * scale, 0.0)
    gamma, beta, bias = (
        joined([n.gamma for n in norms]),
        joined([n.beta for n in norms]),
        joined(biases),
    )
    epsilon = norms[0].epsilon
    if not training:
        mean = joined([n.moving_mean for n in norms]) - bias
        return tf.nn.relu(
            _fused(x, gamma, beta, mean, joined([n.moving_variance for n in norms]), epsilon)
        )

    # The bias gets its gradient, zero, here. As an argument of `forward` it would get it from
    # there, but TensorFlow ties all results of a custom gradient to all its arguments until it
    # optimises the graph, and by then has dropped the order of what only that tie had put in order:
    # reading the bias in a step could come after its next assignment
    # (tests/tff_process/process/test_order.py).
    beta += 0.0 * bias

    @tf.custom_gradient
    def forward(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> Any:
        scaled = gamma if keep is None else gamma * scale
        normal, mean, variance, *reserved = _fused_training(
            x, scaled, beta if keep is None else beta * scale, epsilon
        )
        y = tf.nn.relu(normal)
        if keep is not None:
            y = tf.where(keep, y, 0.0)

        def gradient(upstream: tf.Tensor, *_: Any) -> Any:
            passed = tf.raw_ops.ReluGrad(gradients=upstream, features=y)
            to_x, to_gamma, to_beta, *_ = tf.raw_ops.FusedBatchNormGradV3(
                y_backprop=_as_image(passed),
                x=_as_image(x),
                scale=scaled,
                reserve_space_1=reserved[0],
                reserve_space_2=reserved[1],
                reserve_space_3=reserved[2],
                epsilon=epsilon,
                is_training=True,
            )
            if keep is not None:
                to_gamma, to_beta = to_gamma * scale, to_beta * scale
            return tf.reshape(to_x, [-1, x.shape[-1]]), to_gamma, to_beta

        return (y, mean, _biased(variance, x)), gradient

    y, mean, variance = forward(x, gamma, beta)
    _update(norms, mean + bias, variance)
    return y


def _as_image(x: tf.Tensor) -> tf.Tensor:
    """The fused kernels read [rows, height, width, channels]."""
    return tf.reshape(x, [-1, 1, 1, x.shape[-1]])


def _fused(
    x: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    mean: tf.Tensor,
    variance: tf.Tensor,
    epsilon: float,
) -> tf.Tensor:
    y, *_ = tf.raw_ops.FusedBatchNormV3(
        x=_as_image(x),
        scale=gamma,
        offset=beta,
        mean=mean,
        variance=variance,
        epsilon=epsilon,
        is_training=False,
    )
    return tf.reshape(y, [-1, x.shape[-1]])


def _fused_training(
    x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float
) -> "tuple[Any, ...]":
    nothing = tf.zeros([0])
    y, *rest = tf.raw_ops.FusedBatchNormV3(
        x=_as_image(x),
        scale=gamma,
        offset=beta,
        mean=nothing,
        variance=nothing,
        epsilon=epsilon,
        is_training=True,
    )
    return (tf.reshape(y, [-1, x.shape[-1]]), *rest)


def _biased(variance: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """The kernel reports `sum of squares / (rows - 1)`; Keras keeps, for inputs of this rank,
    `sum of squares / rows`.
    """
    rows = tf.cast(tf.shape(x)[0], tf.float32)
    return variance * (tf.maximum(rows - 1.0, 1.0) / rows)


def _update(
    norms: Sequence[tf.keras.layers.BatchNormalization], mean: tf.Tensor, variance: tf.Tensor
) -> None:
    widths = [int(norm.moving_mean.shape[0]) for norm in norms]
    for norm, own_mean, own_variance in zip(norms, _parts(mean, widths), _parts(variance, widths)):
        for moving, own in ((norm.moving_mean, own_mean), (norm.moving_variance, own_variance)):
            moving.assign_sub((moving - tf.stop_gradient(own)) * (1.0 - norm.momentum))


def _parts(x: tf.Tensor, widths: "list[int]") -> "list[tf.Tensor]":
    return [x] if len(widths) == 1 else tf.split(x, widths)
