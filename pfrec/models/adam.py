"""Adam over variables whose state is plain tensors that a client can keep between rounds."""

from collections.abc import Sequence

import tensorflow as tf


class Adam:
    """Adam with TensorFlow's fused kernel.

    Formula (Kingma and Ba, ICLR 2015, in the form of its section 2): `m = b1 m + (1 - b1) g`, `v = b2 v + (1 - b2) g^2`,
    `w -= lr * sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + eps)`. It equals `tf.keras.optimizers.legacy.Adam` bit for bit on dense
    gradients; unlike Keras's, its slots exist as soon as it is made, in any graph, so they can be loaded and read as tensors.

    Args:
      variables: what to train.
      learning_rate: step size.

    Attributes:
      slots: m and v of each variable in turn, then the number of steps; all start at zero.
    """

    def __init__(
        self,
        variables: Sequence[tf.Variable],
        learning_rate: float = 1e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
    ) -> None:
        self._variables = list(variables)
        self._settings = (learning_rate, beta_1, beta_2, epsilon)
        self._moments = [
            (
                tf.Variable(tf.zeros(v.shape, v.dtype), trainable=False, name="adam_m"),
                tf.Variable(tf.zeros(v.shape, v.dtype), trainable=False, name="adam_v"),
            )
            for v in self._variables
        ]
        self._steps = tf.Variable(0.0, trainable=False, name="adam_steps", dtype=tf.float32)

    @property
    def slots(self) -> "list[tf.Variable]":
        return [slot for pair in self._moments for slot in pair] + [self._steps]

    def apply(self, gradients: Sequence[tf.Tensor]) -> None:
        """One step; `gradients` in the order of the variables, dense or IndexedSlices."""
        learning_rate, beta_1, beta_2, epsilon = self._settings
        steps = self._steps.assign_add(1.0)
        for variable, (m, v), gradient in zip(self._variables, self._moments, gradients):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=m.handle,
                v=v.handle,
                beta1_power=tf.pow(beta_1, steps),
                beta2_power=tf.pow(beta_2, steps),
                lr=learning_rate,
                beta1=beta_1,
                beta2=beta_2,
                epsilon=epsilon,
                grad=tf.convert_to_tensor(gradient),
                use_locking=True,
            )
