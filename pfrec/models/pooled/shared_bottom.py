"""Shared bottom: all tasks read one stack of layers.

References:
  Caruana, "Multitask Learning", Machine Learning 28, 1997.
"""

from collections.abc import Mapping
from typing import Any, Optional

import tensorflow as tf

from pfrec.models.pooled import base as pooled


@tf.keras.utils.register_keras_serializable("pfrec")
class SharedBottom(pooled.PooledModel):
    """`logit[t] = tower[t](bottom(x))`,
    the bottom with about as many weights as all experts of the MMoE together.

    Args:
      copies: how many experts the bottom has the weights of; None for all of the configuration.
      Others, call arguments and result: see `pooled.PooledModel`.
    """

    def __init__(self, *args: Any, copies: Optional[float] = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.copies = copies
        units = pooled.widened(
            self.width, self.config.expert_units, self.config.experts if copies is None else copies
        )
        self.bottom = self.block(0, units, "bottom")
        self.towers = {task: self.tower(task) for task in self.tasks}

    def call(
        self, inputs: Mapping[str, tf.Tensor], training: Optional[bool] = None
    ) -> dict[str, tf.Tensor]:
        x = pooled.hidden(self.bottom, self.features(inputs, training), inputs, training)
        seed = inputs.get("dropout_seed")
        return {
            task: tower(x, dropout_seed=seed, training=training)
            for task, tower in self.towers.items()
        }

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "copies": self.copies}
