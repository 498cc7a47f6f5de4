"""Adam over variables whose state is plain tensors that a client can keep between rounds."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

BETA_1, BETA_2 = 0.9, 0.999
# The values of the last two slots before the first step.
INITIAL_POWERS = (np.float32(BETA_1), np.float32(BETA_2))


class Adam:
    """Adam with TensorFlow's fused kernel.

    Formula (Kingma and Ba, ICLR 2015, in the form of its section 2): `m = b1 m + (1 - b1) g`, `v = b2 v + (1 - b2) g^2`,
    `w -= lr * sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + eps)`. It equals `tf.keras.optimizers.legacy.Adam` bit for bit on dense
    gradients; unlike Keras's, its slots exist as soon as it is made, in any graph, so they can be loaded and read as tensors.

    Args:
      variables: what to train.
      learning_rate: step size.

    Attributes:
      slots: m and v of each variable in turn, then the two powers b1^t and b2^t.
    """

    def __init__(
        self,
        variables: Sequence[tf.Variable],
        learning_rate: float = 1e-3,
        beta_1: float = BETA_1,
        beta_2: float = BETA_2,
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
        self._powers = (
            tf.Variable(beta_1, trainable=False, name="adam_beta_1_power", dtype=tf.float32),
            tf.Variable(beta_2, trainable=False, name="adam_beta_2_power", dtype=tf.float32),
        )

    @property
    def slots(self) -> "list[tf.Variable]":
        return [slot for pair in self._moments for slot in pair] + list(self._powers)

    def apply(self, gradients: Sequence[tf.Tensor]) -> None:
        """One step; `gradients` in the order of the variables, dense or IndexedSlices."""
        learning_rate, beta_1, beta_2, epsilon = self._settings
        for variable, (m, v), gradient in zip(self._variables, self._moments, gradients):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=m.handle,
                v=v.handle,
                beta1_power=self._powers[0],
                beta2_power=self._powers[1],
                lr=learning_rate,
                beta1=beta_1,
                beta2=beta_2,
                epsilon=epsilon,
                grad=tf.convert_to_tensor(gradient),
                use_locking=True,
            )
        self._powers[0].assign(self._powers[0] * beta_1)
        self._powers[1].assign(self._powers[1] * beta_2)
