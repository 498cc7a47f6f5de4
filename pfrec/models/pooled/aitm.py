"""AITM: what a task of a chain has learned is transferred to the next one,
which attends over it and what it learned itself.

References:
  Xi et al., "Modeling the Sequential Dependence among Audience Multi-step Conversions with
  Multi-task Learning in Targeted Display Advertising", KDD 2021.
"""

from collections.abc import Mapping
from typing import Any, Optional

import tensorflow as tf

from pfrec.models import roles
from pfrec.models.mmoe import layers
from pfrec.models.pooled import base as pooled
from pfrec.models.pooled import chain


@tf.keras.utils.register_keras_serializable("pfrec")
class Transfer(tf.keras.layers.Layer):
    """Adaptive information transfer to a task.

    Formula, over u in (own, transferred): `z = sum over u of softmax over u of (<query(u), key(u)>
    / sqrt(k)) * value(u)`, k the width.

    Args:
      task: that is transferred to.
      units: k.
      seed: of the initial values.

    Call arguments:
      own, transferred: float32 [rows, k].

    Returns:
      float32 [rows, k].
    """

    def __init__(self, task: str, units: int, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.task, self.units, self.seed = task, units, seed
        roles.declare(self, roles.tower(task))
        self.query, self.key, self.value = (
            tf.keras.layers.Dense(
                units,
                use_bias=False,
                kernel_initializer=tf.keras.initializers.GlorotUniform(seed=seed + number),
                name=name,
            )
            for number, name in enumerate(("query", "key", "value"))
        )

    def call(self, own: tf.Tensor, transferred: tf.Tensor) -> tf.Tensor:
        both = tf.stack([own, transferred], axis=1)
        scores = tf.reduce_sum(self.query(both) * self.key(both), axis=2) / self.units**0.5
        return tf.einsum("bu,buk->bk", tf.nn.softmax(scores), self.value(both))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "task": self.task, "units": self.units, "seed": self.seed}


@tf.keras.utils.register_keras_serializable("pfrec")
class AITM(pooled.PooledModel):
    """A bottom for each task over shared embeddings, joined along the chain of tasks by `Transfer`.

    A task follows the one that it is given. Where no task is given another, each follows the one
    before it in the schema: then the order is the schema's, not the data's. The first has nothing
    to attend to. The bottoms together have about the weights of the MMoE's experts.

    The paper's calibrator, which punishes a later step that is likelier than the one before, is
    left out: tasks here are conditional, a later step's probability is the product along the chain,
    and so it never is likelier.

    Arguments and result: see `pooled.PooledModel`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parents = chain.parents(self.schema)
        self.order = chain.in_order(self.schema)
        if not any(self.parents.values()):
            self.parents = dict(zip(self.tasks, [None, *self.tasks[:-1]]))
        units = pooled.widened(
            self.width, self.config.expert_units, self.config.experts / len(self.tasks)
        )
        self.bottoms = {
            task: self.block(number, units, f"bottom_{task}")
            for number, task in enumerate(self.tasks)
        }
        self.transforms, self.transfers = {}, {}
        for task in self.tasks:
            if self.parents[task] is not None:
                initial = tf.keras.initializers.GlorotUniform(seed=self.next_seed())
                layer = tf.keras.layers.Dense(
                    units[-1],
                    activation="relu",
                    kernel_initializer=initial,
                    name=f"transform_{task}",
                )
                roles.declare(layer, roles.tower(task))
                self.transforms[task] = layer
                self.transfers[task] = Transfer(
                    task, units[-1], self.next_seed(), name=f"transfer_{task}"
                )
        self.towers: dict[str, layers.Tower] = {task: self.tower(task) for task in self.tasks}

    def call(
        self, inputs: Mapping[str, tf.Tensor], training: Optional[bool] = None
    ) -> dict[str, tf.Tensor]:
        x, seed = self.features(inputs, training), inputs.get("dropout_seed")
        z: dict[str, tf.Tensor] = {}
        for task in self.order:
            z[task], parent = (
                pooled.hidden(self.bottoms[task], x, inputs, training),
                self.parents[task],
            )
            if parent is not None:
                z[task] = self.transfers[task](z[task], self.transforms[task](z[parent]))
        return {
            task: self.towers[task](z[task], dropout_seed=seed, training=training)
            for task in self.tasks
        }
