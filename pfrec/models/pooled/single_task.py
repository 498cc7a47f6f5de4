"""Single-task models: a network of its own for each task, tables included."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Optional

import tensorflow as tf

from pfrec.models.pooled import base as pooled
from pfrec.models.pooled import shared_bottom


@tf.keras.utils.register_keras_serializable("pfrec")
class SingleTask(pooled.PooledModel):
    """One `SharedBottom` of a single task for each task; their bottoms together have about the
    weights of the MMoE's experts.

    Arguments and result: see `pooled.PooledModel`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Each network has its own.
        self.embeddings, self.numeric, self.attention = [], None, {}
        copies = self.config.experts / len(self.tasks)
        self.networks = {}
        for task in self.schema.tasks:
            alone = dataclasses.replace(self.schema, tasks=(dataclasses.replace(task, given=None),))
            self.networks[task.name] = shared_bottom.SharedBottom(
                alone, self.config, self.next_seed(), copies=copies, name=f"network_{task.name}"
            )

    def call(
        self, inputs: Mapping[str, tf.Tensor], training: Optional[bool] = None
    ) -> dict[str, tf.Tensor]:
        return {
            task: network(inputs, training=training)[task]
            for task, network in self.networks.items()
        }
