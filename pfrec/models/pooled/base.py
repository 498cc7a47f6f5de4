"""What the models of pooled training share: the same input as the MMoE,
its budget of parameters, and the scenario of each row.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from pfrec.data import schema as schema_lib
from pfrec.models import attention, embedding, ranker, roles
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import layers

# The input that names the scenario of each row, int32 [rows], in the order of the dataset's
# scenarios.
SCENARIO = "scenario"


class PooledModel(tf.keras.Model):
    """Base of the pooled models: embeddings and projected numbers side by side, as in `mmoe.MMoE`,
    for the layers that a subclass adds.

    Args:
      schema: the columns and tasks, a `Schema` or its JSON form.
      config: the shape, a `ModelConfig` or its JSON form; its parameter template is not used.
      seed: of all initial values.
      scenarios: how many scenarios there are.

    Call arguments:
      inputs: see `mmoe.MMoE`, and `scenario`, int32 [rows], for models that read it.
      training: whether batch statistics and dropout are those of training.

    Returns:
      logits by task name, each float32 [rows].

    Attributes:
      own_parts: whether there are variables, or rows of them, for each scenario.
    """

    own_parts = False

    def __init__(
        self,
        schema: "schema_lib.Schema | Mapping[str, Any]",
        config: "ModelConfig | Mapping[str, Any]",
        seed: int = 0,
        scenarios: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(schema, schema_lib.Schema):
            schema = schema_lib.Schema.from_json(schema, place="model configuration")
        if not isinstance(config, ModelConfig):
            config = ModelConfig.from_json(config)
        self.schema, self.config, self.seed, self.scenarios = schema, config, seed, scenarios
        self.tasks = [task.name for task in schema.tasks]
        self._seeds = np.random.SeedSequence(seed)
        self.embeddings = embedding.layers(
            schema, config.embedding_dim, config.embedding_scale, self.next_seed
        )
        self.numeric = (
            layers.NumericProjection(config.numeric_dim, self.next_seed(), name="numeric")
            if schema.numerical
            else None
        )
        self.attention = attention.layers(schema, self.next_seed)

    def next_seed(self) -> int:
        """A seed for one more layer, with room above for layers that count on from it."""
        return int(self._seeds.spawn(1)[0].generate_state(1)[0] >> 2)

    @property
    def width(self) -> int:
        """Columns of `features`."""
        numbers = self.schema.number_columns
        return self.config.embedding_dim * len(self.embeddings) + (
            self.config.numeric_dim or numbers if numbers else 0
        )

    def looked_up(
        self, inputs: Mapping[str, tf.Tensor], training: Optional[bool] = None
    ) -> "list[tf.Tensor]":
        """The features one by one: each embedding, then the projected numbers."""
        parts = attention.looked_up(
            self.embeddings, self.attention, inputs["categorical"], self.schema
        )
        if self.numeric is not None:
            parts.append(self.numeric(inputs["numerical"], training=training))
        return parts

    def features(
        self, inputs: Mapping[str, tf.Tensor], training: Optional[bool] = None
    ) -> tf.Tensor:
        """All features side by side, float32 [rows, width]."""
        return tf.concat(self.looked_up(inputs, training), axis=1)

    def block(self, index: int, units: "Sequence[int]", name: str) -> layers.Expert:
        """A stack of hidden layers;
        `index` tells its dropout masks and its group from those of others.
        """
        config = self.config
        return layers.Expert(
            index,
            units,
            self.tasks,
            "none",
            0,
            config.batch_norm,
            config.dropout,
            self.next_seed(),
            name=name,
        )

    def tower(self, task: str) -> layers.Tower:
        """The tower of a task."""
        config, number = self.config, self.tasks.index(task)
        return layers.Tower(
            task,
            config.tower_units,
            number,
            config.normalised_towers,
            config.dropout,
            self.next_seed(),
            name=f"tower_{task}",
        )

    def make_ranker(self) -> ranker.MultiTaskRanker:
        """What trains it."""
        return ranker.MultiTaskRanker(self, self.tasks)

    def get_config(self) -> dict[str, Any]:
        return {
            "schema": self.schema.to_json(),
            "config": dataclasses.asdict(self.config),
            "seed": self.seed,
            "scenarios": self.scenarios,
            "name": self.name,
        }

    def get_build_config(self) -> None:
        """Nothing: Keras would build it from shapes alone, with ids that are no integers;
        the first call builds it.
        """

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "PooledModel":
        return cls(**config)


@tf.keras.utils.register_keras_serializable("pfrec")
class ForScenario(tf.keras.Model):
    """A pooled model as one scenario sees it: the scenario is filled in,
    so that the inputs are those of any model.

    Args:
      network: a built pooled model, or its serialised form.
      number: of the scenario.
    """

    def __init__(self, network: Any, number: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.network = (
            network
            if isinstance(network, tf.keras.Model)
            else tf.keras.utils.deserialize_keras_object(network)
        )
        self.number = number

    def call(
        self, inputs: Mapping[str, tf.Tensor], training: Optional[bool] = None
    ) -> dict[str, tf.Tensor]:
        rows = tf.shape(inputs["categorical"])[0]
        return self.network({**inputs, SCENARIO: tf.fill([rows], self.number)}, training=training)

    def get_config(self) -> dict[str, Any]:
        network = tf.keras.utils.serialize_keras_object(self.network)
        return {"network": network, "number": self.number, "name": self.name}

    def get_build_config(self) -> None:
        """See `PooledModel`."""

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "ForScenario":
        return cls(**config)


def scenario_embedding(model: PooledModel) -> embedding.FeatureEmbedding:
    """The embedding of the scenario, as wide as those of features."""
    config = model.config
    return embedding.FeatureEmbedding(
        SCENARIO,
        model.scenarios,
        config.embedding_dim,
        config.embedding_scale,
        model.next_seed(),
        name="embedding_of_the_scenario",
    )


def auxiliary(task: str, units: int, seed: int) -> tf.keras.Sequential:
    """A hidden layer and one logit that starts at zero, of a task."""
    initial = tf.keras.initializers.GlorotUniform(seed=seed)
    network = tf.keras.Sequential(
        [
            tf.keras.layers.Dense(
                units, activation="relu", kernel_initializer=initial, name="hidden"
            ),
            tf.keras.layers.Dense(1, kernel_initializer="zeros", name="logit"),
        ],
        name=f"auxiliary_{task}",
    )
    roles.declare(network, roles.tower(task))
    return network


def hidden(
    block: layers.Expert, x: tf.Tensor, inputs: Mapping[str, tf.Tensor], training: Optional[bool]
) -> tf.Tensor:
    """The output of a block, float32 [rows, units]."""
    return block(x, dropout_seed=inputs.get("dropout_seed"), training=training)[0]


def widened(inputs: int, units: Sequence[int], copies: float) -> "tuple[int, ...]":
    """The widths of one stack of layers that has about as many weights as `copies` stacks of widths
    `units` side by side.

    Formula: the widths are `s * units` with `s * inputs * u1 + s^2 * (u1 * u2 + u2 * u3 + ...) =
      copies * (inputs * u1 + u1 * u2 + ...)`.
    """
    first, later = inputs * units[0], sum(a * b for a, b in zip(units, units[1:]))
    root = np.sqrt(first**2 + 4.0 * later * copies * (first + later))
    scale = (root - first) / (2.0 * later) if later else copies
    return tuple(max(1, round(scale * width)) for width in units)
