"""A tiny trained model with every kind of feature."""

import pathlib
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from export import interface
from export.exporting import build, trained
from pfrec.data import schema as schema_lib
from pfrec.data.dataset import row_block

SCHEMA = schema_lib.Schema(
    categorical=(
        schema_lib.Categorical("101", 5),
        schema_lib.Categorical("city", 11, encoding="hash"),
        schema_lib.Categorical(
            "device", 3, encoding="vocabulary", vocabulary=("phone", "/tablet/a", "\u7535\u8111")
        ),
        schema_lib.Categorical("visited", 6, values=3, separator="|"),
        schema_lib.Categorical(
            "tags",
            3,
            encoding="vocabulary",
            vocabulary=("new", "sale", "gift"),
            values=2,
            separator="|",
        ),
        schema_lib.Categorical("words", 7, encoding="hash", values=4, separator=" "),
    ),
    numerical=(
        schema_lib.Numerical("price", default=0.5),
        schema_lib.Numerical("age", default=-1.0),
    ),
    tasks=(schema_lib.Task("click", "clicked"), schema_lib.Task("buy", "bought", given="click")),
)


SERVED = interface.Interface(SCHEMA)


class Network(tf.keras.Model):
    """Embeddings, a batch normalisation, a logit per task, and a layer that no call reads."""

    def __init__(self, schema: schema_lib.Schema = SCHEMA, seed: int = 0) -> None:
        super().__init__()
        self.schema = schema
        self.tables = [
            self.add_weight(
                f"table_{f.name}",
                [f.cardinality + 1, 2],
                initializer=tf.keras.initializers.RandomNormal(seed=seed + i),
            )
            for i, f in enumerate(schema.categorical)
        ]
        self.norm = tf.keras.layers.BatchNormalization()
        self.logits = {
            t.name: tf.keras.layers.Dense(
                1, kernel_initializer=tf.keras.initializers.GlorotUniform(seed=seed + 10 + i)
            )
            for i, t in enumerate(schema.tasks)
        }
        self.unread = tf.keras.layers.Dense(4)
        self.unread.build([None, 3])
        self(
            {
                "categorical": tf.zeros([1, schema.id_columns], tf.int32),
                "numerical": tf.zeros([1, schema.number_columns]),
            }
        )
        self.norm.moving_mean.assign(tf.range(float(schema.number_columns)))

    def call(self, inputs: Any, training: Any = None) -> Any:
        parts = []
        for table, place in zip(self.tables, self.schema.id_places):
            ids = inputs["categorical"][:, place]
            known = tf.cast(ids >= 0, tf.float32)[:, :, tf.newaxis]
            total = tf.reduce_sum(tf.gather(table, tf.maximum(ids, 0)) * known, axis=1)
            parts.append(total / tf.maximum(tf.reduce_sum(known, axis=1), 1.0))
        x = tf.concat([*parts, self.norm(inputs["numerical"], training=training)], axis=1)
        return {name: tf.squeeze(layer(x), axis=-1) for name, layer in self.logits.items()}


def rows(count: int = 12, schema: schema_lib.Schema = SCHEMA) -> row_block.Rows:
    """Rows with every id, unknown ones too, and lists of every length."""
    generator = np.random.default_rng(3)
    ids = []
    for f in schema.categorical:
        own = (np.arange(count)[:, np.newaxis] + np.arange(f.values)) % (
            f.cardinality + (f.encoding != "hash")
        )
        if f.values > 1:
            own[np.arange(f.values) >= np.arange(count)[:, np.newaxis] % (f.values + 1)] = (
                schema_lib.NO_VALUE
            )
        ids.append(own)
    return row_block.Rows(
        categorical=np.concatenate(ids, axis=1).astype(np.int32)
        if ids
        else np.zeros((count, 0), np.int32),
        numerical=generator.standard_normal((count, schema.number_columns)).astype(np.float32),
        labels=np.zeros((count, len(schema.tasks)), np.uint8),
    )


def model(
    schema: schema_lib.Schema = SCHEMA, seed: int = 0, scenario: str = "NL"
) -> trained.TrainedModel:
    return trained.TrainedModel(
        scenario, Network(schema, seed), schema, rows(schema=schema), {"id": "abc", "round": 4}
    )


def routed() -> trained.RoutedModels:
    """Two scenarios behind one model."""
    return trained.RoutedModels((model(scenario="NL"), model(seed=1, scenario="ES")))


def write_version(
    directory: pathlib.Path, made: Optional[trained.Exportable] = None, name: str = "NL"
) -> build.Built:
    """Exports the tiny model, or another one, into `directory`."""
    directory.mkdir(parents=True)
    return build.build(made or model(), name, directory)
