"""The network of every algorithm: an MMoE for all federated ones and `pooled_mmoe`,
its own for each other pooled one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pfrec import lazy
from pfrec.data import schema as schema_lib
from pfrec.models.config import ModelConfig

with lazy.imports():
    import tensorflow as tf

    from pfrec.models import ranker
    from pfrec.models.mmoe import mmoe
    from pfrec.models.pooled import aitm, esmm, hmoe, pepnet, ple, shared_bottom, single_task, star
    from pfrec.models.pooled import base as pooled

# Functions, so that a mistyped name is told without importing TensorFlow.
POOLED: Mapping[str, Callable[[], type[pooled.PooledModel]]] = {
    "pooled_aitm": lambda: aitm.AITM,
    "pooled_esmm": lambda: esmm.ESMM,
    "pooled_hmoe": lambda: hmoe.HMoE,
    "pooled_pepnet": lambda: pepnet.PEPNet,
    "pooled_ple": lambda: ple.PLE,
    "pooled_shared_bottom": lambda: shared_bottom.SharedBottom,
    "pooled_single_task": lambda: single_task.SingleTask,
    "pooled_star": lambda: star.STAR,
}


def build(
    algorithm: str, schema: schema_lib.Schema, config: ModelConfig, seed: int, scenarios: int
) -> tf.keras.Model:
    """The network of an algorithm with all its variables made.

    Args:
      algorithm: by name.
      schema: of the rows.
      config: its shape.
      seed: of all initial values.
      scenarios: how many scenarios there are.
    """
    if algorithm not in POOLED:
        return mmoe.build(schema, config, seed)
    model = POOLED[algorithm]()(schema, config, seed, scenarios)
    inputs = {
        "categorical": tf.zeros([1, schema.id_columns], tf.int32),
        "numerical": tf.zeros([1, schema.number_columns], tf.float32),
        pooled.SCENARIO: tf.zeros([1], tf.int32),
    }
    model(inputs, training=False)
    return model


def has_own_parts(algorithm: str) -> bool:
    """Whether an algorithm's network has parts for each scenario, told apart by its number."""
    return algorithm in POOLED and POOLED[algorithm]().own_parts


def for_scenario(network: tf.keras.Model, number: int) -> tf.keras.Model:
    """The network as one scenario sees it: with the inputs of any model."""
    return (
        pooled.ForScenario(network, number) if isinstance(network, pooled.PooledModel) else network
    )


def make_ranker(network: tf.keras.Model, schema: schema_lib.Schema) -> ranker.MultiTaskRanker:
    """What trains a network: its own ranker where it has one."""
    if isinstance(network, pooled.PooledModel):
        return network.make_ranker()
    return ranker.MultiTaskRanker(network, [task.name for task in schema.tasks])
