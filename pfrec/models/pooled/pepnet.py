"""PEPNet: gates made of the scenario and of the user scale the embeddings and the hidden layers of
each task's network.

References:
  Chang et al., "PEPNet: Parameter and Embedding Personalized Network for Infusing with Personalized
  Prior Information", KDD 2023.
"""

from collections.abc import Mapping
from typing import Any, Optional

import tensorflow as tf

from pfrec.models import roles
from pfrec.models.pooled import base as pooled


@tf.keras.utils.register_keras_serializable("pfrec")
class GateNU(tf.keras.layers.Layer):
    """The neural gate unit.

    Formula: `2 * sigmoid(relu(x @ W1 + b1) @ W2 + b2)`. [ours] W2 starts at zero, so that all gates
      start at one.

    Args:
      task: that it belongs to.
      hidden: width of its hidden layer.
      units: of the output.
      seed: of the initial values.

    Call arguments:
      x: float32 [rows, inputs].

    Returns:
      float32 [rows, units], 0 to 2.
    """

    def __init__(self, task: str, hidden: int, units: int, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.task, self.hidden, self.units, self.seed = task, hidden, units, seed
        roles.declare(self, roles.gate(task))
        initial = tf.keras.initializers.GlorotUniform(seed=seed)
        self.first = tf.keras.layers.Dense(
            hidden, activation="relu", kernel_initializer=initial, name="first"
        )
        self.second = tf.keras.layers.Dense(units, kernel_initializer="zeros", name="second")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return 2.0 * tf.sigmoid(self.second(self.first(x)))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "task": self.task,
            "hidden": self.hidden,
            "units": self.units,
            "seed": self.seed,
        }


@tf.keras.utils.register_keras_serializable("pfrec")
class PEPNet(pooled.PooledModel):
    """EPNet over the features, then for each task a network whose every hidden layer PPNet scales.

    Formula: `e = epnet(scenario, stopped x) * x`; for task t `h[0] = e`, `h[l] = layer[t, l](h[l -
      1]) * ppnet[t, l](prior, stopped e)`.
    No gradient passes through what is stopped.

    The prior of PPNet is the embeddings of features whose policy is private, which user identifiers
    have here; without any, all. The layers of all tasks together have about the weights of the
    MMoE's experts, gates come on top.

    Args:
      gate: width of the gates' hidden layers.
      Others, call arguments and result: see `pooled.PooledModel`.
    """

    own_parts = True

    def __init__(self, *args: Any, gate: int = 16, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        config, self.gate = self.config, gate
        self.priors = [n for n, f in enumerate(self.schema.categorical) if f.policy == "private"]
        self.domain = pooled.scenario_embedding(self)
        self.epnet = GateNU("embedding", gate, self.width, self.next_seed(), name="epnet")
        units = pooled.widened(self.width, config.expert_units, config.experts / len(self.tasks))
        self.layers_of = {
            task: [
                self.block(number * len(units) + layer, [width], f"layer_{task}_{layer}")
                for layer, width in enumerate(units)
            ]
            for number, task in enumerate(self.tasks)
        }
        self.ppnets = {
            task: [
                GateNU(task, gate, width, self.next_seed(), name=f"ppnet_{task}_{layer}")
                for layer, width in enumerate(units)
            ]
            for task in self.tasks
        }
        self.towers = {task: self.tower(task) for task in self.tasks}

    def call(
        self, inputs: Mapping[str, tf.Tensor], training: Optional[bool] = None
    ) -> dict[str, tf.Tensor]:
        parts, seed = self.looked_up(inputs, training), inputs.get("dropout_seed")
        x = tf.concat(parts, axis=1)
        e = x * self.epnet(
            tf.concat([self.domain(inputs[pooled.SCENARIO]), tf.stop_gradient(x)], axis=1)
        )
        prior = tf.concat(
            [*([parts[n] for n in self.priors] or parts), tf.stop_gradient(e)], axis=1
        )
        logits = {}
        for task in self.tasks:
            h = e
            for block, gate in zip(self.layers_of[task], self.ppnets[task]):
                h = pooled.hidden(block, h, inputs, training) * gate(prior)
            logits[task] = self.towers[task](h, dropout_seed=seed, training=training)
        return logits

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gate": self.gate}
