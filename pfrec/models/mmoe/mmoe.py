"""The Multi-gate Mixture-of-Experts (MMoE) as Keras layers that declare their roles.

References:
  Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate
  Mixture-of-Experts", KDD 2018.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from pfrec.data import schema as schema_lib
from pfrec.models import attention, embedding
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import fast, layers


@tf.keras.utils.register_keras_serializable("pfrec")
class MMoE(tf.keras.Model):
    """Features -> embeddings -> experts -> one gate and one tower per task -> logits.

    Formula, for task t: `logit[t] = tower[t](sum over m of gate[t](x)[m] * expert[m](x)[t])`.

    Args:
      schema: the columns and tasks, a `Schema` or its JSON form.
      config: the shape, a `ModelConfig` or its JSON form.
      seed: of all initial values.

    Call arguments:
      inputs: `categorical`, int32 [rows, `schema.id_columns`], ids in 0 to cardinality, -1 where a
        list has no further value; `numerical`, float32 [rows, `schema.number_columns`]; in training
        with dropout also `dropout_seed`, int64 [2].
      training: whether batch statistics and dropout are those of training.

    Returns:
      logits by task name, each float32 [rows].

    Attributes:
      use_plain: whether a call computes layer by layer (`plain`) instead of in the fast form, which
        is equal but for rounding.
    """

    use_plain = False

    def __init__(
        self,
        schema: "schema_lib.Schema | Mapping[str, Any]",
        config: "ModelConfig | Mapping[str, Any]",
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(schema, schema_lib.Schema):
            schema = schema_lib.Schema.from_json(schema, place="model configuration")
        if not isinstance(config, ModelConfig):
            config = ModelConfig.from_json(config)
        self.schema, self.config, self.seed = schema, config, seed
        self._made = False
        tasks = [task.name for task in schema.tasks]
        seeds = iter(
            np.random.SeedSequence(seed).generate_state(
                2 * len(schema.categorical) + config.experts + 2 * len(tasks) + 1
            )
        )

        def next_seed() -> int:
            # Room above for the layers that count on from their seed.
            return int(next(seeds) >> 2)

        self.embeddings = embedding.layers(
            schema, config.embedding_dim, config.embedding_scale, next_seed
        )
        self.numeric = (
            layers.NumericProjection(config.numeric_dim, next_seed(), name="numeric")
            if schema.numerical
            else None
        )
        self.experts = [
            layers.Expert(
                m,
                config.expert_units,
                tasks,
                config.template,
                config.rank,
                config.batch_norm,
                config.dropout,
                next_seed(),
                name=f"expert_{m}",
            )
            for m in range(config.experts)
        ]
        self.gates = {
            task: layers.Gate(task, config.experts, next_seed(), name=f"gate_{task}")
            for task in tasks
        }
        self.towers = {
            task: layers.Tower(
                task,
                config.tower_units,
                t,
                config.normalised_towers,
                config.dropout,
                next_seed(),
                name=f"tower_{task}",
            )
            for t, task in enumerate(tasks)
        }
        # Last, so that the other layers start as they do without.
        self.attention = attention.layers(schema, next_seed)

    def call(
        self, inputs: Mapping[str, tf.Tensor], training: Optional[bool] = None
    ) -> dict[str, tf.Tensor]:
        # The first call makes the variables, layer by layer.
        if self.use_plain or not self._made:
            return self.plain(inputs, training)
        return fast.forward(self, inputs, bool(training))

    def plain(
        self, inputs: Mapping[str, tf.Tensor], training: Optional[bool] = None
    ) -> dict[str, tf.Tensor]:
        """The formula layer by layer, as Keras computes it: what the fast form must equal.

        Arguments and result as in a call.
        """
        self._made = True
        x = self.features(inputs, training)
        dropout_seed = inputs.get("dropout_seed")
        # [tasks or 1, rows, experts, units]
        mixed = tf.stack(
            [expert(x, dropout_seed=dropout_seed, training=training) for expert in self.experts],
            axis=2,
        )
        logits = {}
        for number, (task, tower) in enumerate(self.towers.items()):
            own = mixed[min(number, mixed.shape[0] - 1)]
            joined = tf.einsum("bm,bmu->bu", self.gates[task](x), own)
            logits[task] = tower(joined, dropout_seed=dropout_seed, training=training)
        return logits

    def features(
        self, inputs: Mapping[str, tf.Tensor], training: Optional[bool] = None
    ) -> tf.Tensor:
        """The input of experts and gates: embeddings and projected numbers side by side,
        float32 [rows, width].
        """
        parts = attention.looked_up(
            self.embeddings, self.attention, inputs["categorical"], self.schema
        )
        if self.numeric is not None:
            parts.append(self.numeric(inputs["numerical"], training=training))
        return tf.concat(parts, axis=1)

    def get_config(self) -> dict[str, Any]:
        return {
            "schema": self.schema.to_json(),
            "config": dataclasses.asdict(self.config),
            "seed": self.seed,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "MMoE":
        return cls(**config)


def build(schema: schema_lib.Schema, config: ModelConfig, seed: int = 0) -> MMoE:
    """An MMoE with all its variables made."""
    model = MMoE(schema, config, seed)
    model(
        {
            "categorical": tf.zeros([1, schema.id_columns], tf.int32),
            "numerical": tf.zeros([1, schema.number_columns], tf.float32),
        },
        training=False,
    )
    return model
