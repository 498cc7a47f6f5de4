"""Adam over variables whose state is plain tensors that a client can keep between rounds."""

from collections.abc import Container, Mapping, Sequence
from typing import Any, Optional

import numpy as np
import tensorflow as tf

# Variables up to this many elements share one pair of moments: the kernel costs more to start than
# to run on them.
_JOINT_ELEMENTS = 1 << 16


class Adam:
    """Adam with TensorFlow's fused kernel.

    Formula (Kingma and Ba, ICLR 2015, in the form of its section 2): `m = b1 m + (1 - b1) g`, `v =
    b2 v + (1 - b2) g^2`, `w -= lr * sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + eps)`. It equals
    `tf.keras.optimizers.legacy.Adam` bit for bit on dense gradients; unlike Keras's, its slots
    exist as soon as it is made, in any graph, so they can be loaded and read as tensors.

    Args:
      variables: what to train.
      learning_rate: step size, a number or a float32 scalar of the graph.
      lazy: leaves rows of a large table as they are, moments and all, in steps whose batch did not
        hold them. That is another algorithm: in Adam such a row's moments decay and it moves on by
        them. It takes time by the rows of a batch instead of the rows of the table.
      decay: lambda of decoupled weight decay (Loshchilov and Hutter, "Decoupled weight decay
        regularization", ICLR 2019), a number or a float32 scalar of the graph; None for none. With
        each step also `w -= min(lr * lambda, 1) * w`, of w before the step: at most all of it, or
        w would turn its sign and grow. An element that has had no gradient yet, as of the row of an
        id that no batch held, stays as it is.
      decays: the places of the variables that decay.

    Attributes:
      slots: m and v of each large variable in turn, then m and v of all small ones one after the
        other, then the number of steps; all start at zero.
    """

    def __init__(
        self,
        variables: Sequence[tf.Variable],
        learning_rate: Any = 1e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        lazy: bool = False,
        decay: Optional[Any] = None,
        decays: Container[int] = (),
    ) -> None:
        self._lazy = lazy
        self._decay, self._decays = decay, decays
        self._variables = list(variables)
        self._settings = (learning_rate, beta_1, beta_2, epsilon)
        self._large, self._small = _large_and_small(
            [v.shape.num_elements() for v in self._variables]
        )
        self._moments = [_moments(self._variables[i].shape) for i in self._large]
        if self._small:
            self._sizes = [self._variables[i].shape.num_elements() for i in self._small]
            self._moments.append(_moments([sum(self._sizes)]))
            # The kernel subtracts the step from this; it holds nothing from step to step.
            self._step = tf.Variable(
                tf.zeros([sum(self._sizes)]), trainable=False, name="adam_step"
            )
        self._steps = tf.Variable(0.0, trainable=False, name="adam_steps", dtype=tf.float32)

    @property
    def slots(self) -> "list[tf.Variable]":
        return [slot for pair in self._moments for slot in pair] + [self._steps]

    @tf.autograph.experimental.do_not_convert
    def apply(
        self, gradients: Sequence[tf.Tensor], learning_rate: Any = None, decay: Any = None
    ) -> None:
        """One step.

        Args:
          gradients: in the order of the variables, dense or IndexedSlices.
          learning_rate, decay: of this step; None for the optimizer's own.
        """
        rate = self._settings[0] if learning_rate is None else learning_rate
        decay = self._decay if decay is None else decay
        lost = None if decay is None else tf.minimum(rate * decay, 1.0)
        beta_1, beta_2 = self._settings[1:3]
        steps = self._steps.assign_add(1.0)
        powers = tf.pow(beta_1, steps), tf.pow(beta_2, steps)
        for i, moments in zip(self._large, self._moments):
            variable, own = self._variables[i], lost if i in self._decays else None
            if self._lazy and isinstance(gradients[i], tf.IndexedSlices):
                self._apply_rows(variable, moments, gradients[i], powers, rate, own)
                continue
            if own is not None:
                variable.assign_sub(own * _met(moments[1]) * variable)
            gradient = tf.convert_to_tensor(gradients[i])
            self._apply_one(variable, moments, gradient, powers, rate)
        if self._small:
            self._step.assign(self._small_decay(lost))
            joint = tf.concat(
                [tf.reshape(tf.convert_to_tensor(gradients[i]), [-1]) for i in self._small], axis=0
            )
            self._apply_one(self._step, self._moments[-1], joint, powers, rate)
            for i, step in zip(self._small, tf.split(self._step, self._sizes)):
                self._variables[i].assign_add(tf.reshape(step, self._variables[i].shape))

    def _apply_rows(
        self,
        variable: tf.Variable,
        moments: "tuple[tf.Variable, tf.Variable]",
        gradient: tf.IndexedSlices,
        powers: "tuple[tf.Tensor, tf.Tensor]",
        learning_rate: Any,
        lost: Optional[Any],
    ) -> None:
        beta_1, beta_2, epsilon = self._settings[1:]
        rows, place = tf.unique(gradient.indices)
        own = tf.math.unsorted_segment_sum(gradient.values, place, tf.size(rows))
        old, old_v = variable.sparse_read(rows), moments[1].sparse_read(rows)
        if lost is not None:
            old -= lost * _met(old_v) * old
        m = beta_1 * moments[0].sparse_read(rows) + (1.0 - beta_1) * own
        v = beta_2 * old_v + (1.0 - beta_2) * tf.square(own)
        size = learning_rate * tf.sqrt(1.0 - powers[1]) / (1.0 - powers[0])
        moved = old - size * m / (tf.sqrt(v) + epsilon)
        # Rows are distinct, so that the order of the updates does not matter.
        for target, value in ((moments[0], m), (moments[1], v), (variable, moved)):
            target.scatter_update(tf.IndexedSlices(value, rows))

    def _small_decay(self, lost: Optional[Any]) -> tf.Tensor:
        """What decay adds to the step of small variables, one after the other."""
        if lost is None or not any(i in self._decays for i in self._small):
            return tf.zeros_like(self._step)
        values = [
            tf.reshape(self._variables[i], [-1]) if i in self._decays else tf.zeros([size])
            for i, size in zip(self._small, self._sizes)
        ]
        return -lost * _met(self._moments[-1][1]) * tf.concat(values, axis=0)

    def _apply_one(
        self,
        variable: tf.Variable,
        moments: "tuple[tf.Variable, tf.Variable]",
        gradient: tf.Tensor,
        powers: "tuple[tf.Tensor, tf.Tensor]",
        learning_rate: Any,
    ) -> None:
        beta_1, beta_2, epsilon = self._settings[1:]
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=moments[0].handle,
            v=moments[1].handle,
            beta1_power=powers[0],
            beta2_power=powers[1],
            lr=learning_rate,
            beta1=beta_1,
            beta2=beta_2,
            epsilon=epsilon,
            grad=gradient,
            use_locking=True,
        )


def _met(v: tf.Tensor) -> tf.Tensor:
    """1 where there was a gradient, of Adam's second moments; 0 elsewhere."""
    return tf.cast(v > 0.0, tf.float32)


def _large_and_small(sizes: "Sequence[int]") -> "tuple[list[int], list[int]]":
    """Which variables have moments of their own, and which share a pair."""
    small = [i for i, size in enumerate(sizes) if size <= _JOINT_ELEMENTS]
    small = small if len(small) > 1 else []
    return [i for i in range(len(sizes)) if i not in small], small


Moments = Mapping[str, "tuple[np.ndarray, np.ndarray]"]


def moments_of(
    shapes: "Mapping[str, Sequence[int]]", slots: "Sequence[np.ndarray]"
) -> "tuple[dict[str, tuple[np.ndarray, np.ndarray]], np.ndarray]":
    """What the values of `Adam.slots` hold of each variable.

    Args:
      shapes: of the trained variables by name, in their order.
      slots: values of the slots.

    Returns:
      m and v by the variable's name, in its shape; and the number of steps.
    """
    names = list(shapes)
    sizes = [int(np.prod(shapes[name])) for name in names]
    large, small = _large_and_small(sizes)
    pairs = list(zip(slots[:-1:2], slots[1:-1:2]))
    found = {names[i]: pair for i, pair in zip(large, pairs)}
    if small:
        ends = np.cumsum([sizes[i] for i in small])[:-1]
        for i, m, v in zip(small, *(np.split(joint, ends) for joint in pairs[-1])):
            found[names[i]] = (m.reshape(shapes[names[i]]), v.reshape(shapes[names[i]]))
    return {name: found[name] for name in names}, slots[-1]


def slots_of(moments: Moments, steps: np.ndarray) -> "list[np.ndarray]":
    """The inverse of `moments_of`."""
    pairs = list(moments.values())
    large, small = _large_and_small([m.size for m, _ in pairs])
    slots = [slot for i in large for slot in pairs[i]]
    if small:
        slots += [np.concatenate([pairs[i][part].ravel() for i in small]) for part in (0, 1)]
    return [*slots, steps]


def _moments(shape: "Sequence[int]") -> "tuple[tf.Variable, tf.Variable]":
    return tuple(
        tf.Variable(tf.zeros(shape), trainable=False, name=name) for name in ("adam_m", "adam_v")
    )  # type: ignore[return-value]
