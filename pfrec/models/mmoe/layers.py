"""The layers of an MMoE: the projection of numbers, experts, gates and towers."""

from collections.abc import Sequence
from typing import Any, Optional

import tensorflow as tf

from pfrec.models import dropout, roles
from pfrec.models.mmoe import template


@tf.keras.utils.register_keras_serializable("pfrec")
class NumericProjection(tf.keras.layers.Layer):
    """Normalises the numerical features and projects them.

    The normalisation is a BatchNormalization without scale and shift, so a scenario's means and
    deviations are learnt and kept at its client like any other batch statistic.

    Args:
      dim: width of the projection; 0 returns the normalised features.
      seed: of the initial values.

    Call arguments:
      x: float32 [rows, features].

    Returns:
      float32 [rows, dim or features].
    """

    def __init__(self, dim: int, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dim, self.seed = dim, seed
        roles.declare(self, roles.numeric())
        self.normalise = tf.keras.layers.BatchNormalization(
            center=False, scale=False, momentum=0.9, name="normalise"
        )
        self.project = (
            tf.keras.layers.Dense(
                dim,
                kernel_initializer=tf.keras.initializers.GlorotUniform(seed=seed),
                name="project",
            )
            if dim
            else None
        )

    def call(self, x: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        x = self.normalise(x, training=training)
        return x if self.project is None else self.project(x)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dim": self.dim, "seed": self.seed}


@tf.keras.utils.register_keras_serializable("pfrec")
class Expert(tf.keras.layers.Layer):
    """One expert: template dense layers, each followed by batch normalisation, ReLU and dropout.

    Args:
      index: the expert's number.
      units: widths of the layers.
      tasks: names of the tasks.
      composition, rank: of the parameter template.
      batch_norm: whether to normalise.
      rate: of dropout.
      seed: of the initial values.

    Call arguments:
      x: float32 [rows, inputs].
      dropout_seed: int64 [2], or None without dropout.
      training: whether batch statistics and dropout are those of training.

    Returns:
      float32 [tasks, rows, units[-1]], or [1, rows, units[-1]] with composition `none`.
    """

    def __init__(
        self,
        index: int,
        units: Sequence[int],
        tasks: Sequence[str],
        composition: str = "none",
        rank: int = 0,
        batch_norm: bool = True,
        rate: float = 0.0,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._settings = {
            "index": index,
            "units": list(units),
            "tasks": list(tasks),
            "composition": composition,
            "rank": rank,
            "batch_norm": batch_norm,
            "rate": rate,
            "seed": seed,
        }
        roles.declare(self, roles.expert(index))
        self.dense, self.norms, self.dropouts = [], [], []
        for number, width in enumerate(units):
            self.dense.append(
                template.TemplateDense(
                    width,
                    index,
                    tasks,
                    composition,
                    rank,
                    seed=seed + number * (len(tasks) + 1),
                    name=f"dense_{number}",
                )
            )
            if batch_norm:
                self.norms.append(
                    tf.keras.layers.BatchNormalization(momentum=0.9, name=f"norm_{number}")
                )
            self.dropouts.append(
                dropout.SeededDropout(
                    rate, index=1000 * (index + 1) + number, name=f"dropout_{number}"
                )
            )

    def call(
        self,
        x: tf.Tensor,
        dropout_seed: Optional[tf.Tensor] = None,
        training: Optional[bool] = None,
    ) -> tf.Tensor:
        x = x[tf.newaxis]
        for number, dense in enumerate(self.dense):
            x = dense(x)
            if self.norms:
                x = self.norms[number](x, training=training)
            x = self.dropouts[number](tf.nn.relu(x), seed=dropout_seed, training=training)
        return x

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._settings}


@tf.keras.utils.register_keras_serializable("pfrec")
class Gate(tf.keras.layers.Layer):
    """The gate of one task: `softmax(x @ kernel + bias)` over the experts; float32 [rows,
    inputs] -> [rows, experts].
    """

    def __init__(self, task: str, experts: int, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.task, self.experts, self.seed = task, experts, seed
        roles.declare(self, roles.gate(task))
        self.dense = tf.keras.layers.Dense(
            experts, kernel_initializer=tf.keras.initializers.GlorotUniform(seed=seed), name="dense"
        )

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(self.dense(x))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "task": self.task,
            "experts": self.experts,
            "seed": self.seed,
        }


@tf.keras.utils.register_keras_serializable("pfrec")
class Tower(tf.keras.layers.Layer):
    """The tower of one task: hidden layers with batch normalisation, ReLU and dropout,
    then one logit.

    Args:
      task: the task's name.
      units: widths of the hidden layers.
      number: the task's place, which tells its dropout masks from the other towers'.
      batch_norm: whether to normalise hidden layers.
      rate: of dropout.
      seed: of the initial values.

    Call arguments:
      x: float32 [rows, inputs].
      dropout_seed: int64 [2], or None without dropout.
      training: whether batch statistics and dropout are those of training.

    Returns:
      logits, float32 [rows].
    """

    def __init__(
        self,
        task: str,
        units: Sequence[int],
        number: int = 0,
        batch_norm: bool = True,
        rate: float = 0.0,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._settings = {
            "task": task,
            "units": list(units),
            "number": number,
            "batch_norm": batch_norm,
            "rate": rate,
            "seed": seed,
        }
        roles.declare(self, roles.tower(task))
        self.dense, self.norms, self.dropouts = [], [], []
        for layer, width in enumerate(units):
            initial = tf.keras.initializers.GlorotUniform(seed=seed + layer)
            self.dense.append(
                tf.keras.layers.Dense(width, kernel_initializer=initial, name=f"dense_{layer}")
            )
            if batch_norm:
                self.norms.append(
                    tf.keras.layers.BatchNormalization(momentum=0.9, name=f"norm_{layer}")
                )
            self.dropouts.append(
                dropout.SeededDropout(
                    rate, index=-1000 * (number + 1) - layer, name=f"dropout_{layer}"
                )
            )
        initial = tf.keras.initializers.GlorotUniform(seed=seed + len(units))
        self.logit = tf.keras.layers.Dense(1, kernel_initializer=initial, name="logit")

    def call(
        self,
        x: tf.Tensor,
        dropout_seed: Optional[tf.Tensor] = None,
        training: Optional[bool] = None,
    ) -> tf.Tensor:
        for layer, dense in enumerate(self.dense):
            x = dense(x)
            if self.norms:
                x = self.norms[layer](x, training=training)
            x = self.dropouts[layer](tf.nn.relu(x), seed=dropout_seed, training=training)
        return tf.squeeze(self.logit(x), axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._settings}
