"""STAR: every scenario has a factor of its own for the weights that all share,
and normalises by statistics of its own.

References:
  Sheng et al., "One Model to Serve All: Star Topology Adaptive Recommender for Multi-Domain CTR
  Prediction", CIKM 2021.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Optional

import tensorflow as tf

from pfrec.models import dropout, roles
from pfrec.models.pooled import base as pooled


@tf.keras.utils.register_keras_serializable("pfrec")
class PartitionedNormalization(tf.keras.layers.BatchNormalization):
    """Batch normalisation with the statistics of each row's own domain.

    Formula, for a row of domain d: `(gamma * gamma[d]) * (x - mean[d]) / sqrt(variance[d] +
    epsilon) + beta + beta[d]`; in training mean and variance are those of the batch's rows of the
    domain, otherwise moving averages, which a batch without rows of it leaves alone.

    Args:
      domains: how many.
      Others: see Keras's layer.

    Call arguments:
      x: float32 [rows, width].
      domain: int32 [rows].
      training: whether batch statistics are used.

    Returns:
      float32 [rows, width].
    """

    def __init__(self, domains: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.domains = domains

    def build(self, input_shape: Any) -> None:
        width = int(input_shape[-1])
        self.gamma = self.add_weight("gamma", [width], initializer="ones")
        self.beta = self.add_weight("beta", [width], initializer="zeros")
        self.own_gamma = self.add_weight("own_gamma", [self.domains, width], initializer="ones")
        self.own_beta = self.add_weight("own_beta", [self.domains, width], initializer="zeros")
        self.moving_mean = self.add_weight(
            "moving_mean", [self.domains, width], initializer="zeros", trainable=False
        )
        self.moving_variance = self.add_weight(
            "moving_variance", [self.domains, width], initializer="ones", trainable=False
        )
        self.built = True

    def call(self, x: tf.Tensor, domain: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        mean, variance = (
            tf.convert_to_tensor(self.moving_mean),
            tf.convert_to_tensor(self.moving_variance),
        )
        if training:
            belongs = tf.one_hot(domain, self.domains)
            rows = tf.reduce_sum(belongs, axis=0)[:, tf.newaxis]
            mean = tf.math.divide_no_nan(tf.matmul(belongs, x, transpose_a=True), rows)
            centred = x - tf.gather(mean, domain)
            variance = tf.math.divide_no_nan(
                tf.matmul(belongs, tf.square(centred), transpose_a=True), rows
            )
            for moving, own in ((self.moving_mean, mean), (self.moving_variance, variance)):
                step = (1.0 - self.momentum) * (tf.stop_gradient(own) - moving)
                moving.assign_add(tf.where(rows > 0, step, tf.zeros_like(step)))
        scale = self.gamma * self.own_gamma * tf.math.rsqrt(variance + self.epsilon)
        shift = self.beta + self.own_beta - mean * scale
        return x * tf.gather(scale, domain) + tf.gather(shift, domain)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "domains": self.domains}


@tf.keras.utils.register_keras_serializable("pfrec")
class StarDense(tf.keras.layers.Layer):
    """A dense layer of the star topology.

    Formula, for a row of domain d: `y = x @ (kernel * own_kernel[d]) + bias + own_bias[d]`. [ours]
    Own kernels start at one, so that all scenarios start from the shared layer.

    Args:
      units: width of the output.
      domains: how many.
      seed: of the initial values.

    Call arguments:
      x: float32 [rows, inputs].
      domain: int32 [rows].

    Returns:
      float32 [rows, units].
    """

    def __init__(self, units: int, domains: int, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units, self.domains, self.seed = units, domains, seed
        roles.declare_biases(self, "own_bias")

    def build(self, input_shape: Any) -> None:
        inputs = int(input_shape[-1])
        self.kernel = self.add_weight(
            "kernel",
            [inputs, self.units],
            initializer=tf.keras.initializers.GlorotUniform(self.seed),
        )
        self.bias = self.add_weight("bias", [self.units], initializer="zeros")
        self.own_kernel = self.add_weight(
            "own_kernel", [self.domains, inputs, self.units], initializer="ones"
        )
        self.own_bias = self.add_weight("own_bias", [self.domains, self.units], initializer="zeros")
        super().build(input_shape)

    def call(self, x: tf.Tensor, domain: tf.Tensor) -> tf.Tensor:
        # Each row's product with every domain's kernel, of which its own is taken: domains are few.
        products = tf.einsum("bi,dio->bdo", x, self.kernel * self.own_kernel)
        own = tf.gather(products, domain, axis=1, batch_dims=1)
        return own + self.bias + tf.gather(self.own_bias, domain)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "domains": self.domains,
            "seed": self.seed,
        }


@tf.keras.utils.register_keras_serializable("pfrec")
class StarBlock(tf.keras.layers.Layer):
    """Star layers, each with partitioned normalisation, ReLU and dropout; call arguments and
    result: see `StarDense`, `units` the last.
    """

    def __init__(
        self,
        units: Sequence[int],
        domains: int,
        batch_norm: bool = True,
        rate: float = 0.0,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._settings = {
            "units": list(units),
            "domains": domains,
            "batch_norm": batch_norm,
            "rate": rate,
            "seed": seed,
        }
        roles.declare(self, roles.expert(0))
        self.dense, self.norms, self.dropouts = [], [], []
        for number, width in enumerate(units):
            self.dense.append(StarDense(width, domains, seed + number, name=f"dense_{number}"))
            if batch_norm:
                self.norms.append(
                    PartitionedNormalization(domains, momentum=0.9, name=f"norm_{number}")
                )
            self.dropouts.append(
                dropout.SeededDropout(rate, index=1000 + number, name=f"dropout_{number}")
            )

    def call(
        self,
        x: tf.Tensor,
        domain: tf.Tensor,
        dropout_seed: Optional[tf.Tensor] = None,
        training: Optional[bool] = None,
    ) -> tf.Tensor:
        for number, dense in enumerate(self.dense):
            x = dense(x, domain)
            if self.norms:
                x = self.norms[number](x, domain, training=training)
            x = self.dropouts[number](tf.nn.relu(x), seed=dropout_seed, training=training)
        return x

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._settings}


@tf.keras.utils.register_keras_serializable("pfrec")
class STAR(pooled.PooledModel):
    """A star bottom for all tasks, a tower and an auxiliary network for each.

    Formula, for a row of domain d and task t: `logit[t] = tower[t](star(x, d)) + auxiliary[t](x,
      embedding of d)`.

    The weights that one scenario sees are about those of the MMoE's experts; its own factors come
    on top, as is the method's nature. [ours] The last layer of the auxiliary network starts at
    zero.

    Args:
      auxiliary: width of the auxiliary networks' hidden layer.
      Others, call arguments and result: see `pooled.PooledModel`.
    """

    own_parts = True

    def __init__(self, *args: Any, auxiliary: int = 16, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        config, self.auxiliary = self.config, auxiliary
        units = pooled.widened(self.width, config.expert_units, config.experts)
        self.star = StarBlock(
            units, self.scenarios, config.batch_norm, config.dropout, self.next_seed(), name="star"
        )
        self.domain = pooled.scenario_embedding(self)
        self.towers = {task: self.tower(task) for task in self.tasks}
        self.auxiliaries = {
            task: pooled.auxiliary(task, auxiliary, self.next_seed()) for task in self.tasks
        }

    def call(
        self, inputs: Mapping[str, tf.Tensor], training: Optional[bool] = None
    ) -> dict[str, tf.Tensor]:
        x, domain, seed = (
            self.features(inputs, training),
            inputs[pooled.SCENARIO],
            inputs.get("dropout_seed"),
        )
        beside = tf.concat([x, self.domain(domain)], axis=1)
        shared = self.star(x, domain, dropout_seed=seed, training=training)
        return {
            task: tower(shared, dropout_seed=seed, training=training)
            + self.auxiliaries[task](beside)[:, 0]
            for task, tower in self.towers.items()
        }

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "auxiliary": self.auxiliary}
