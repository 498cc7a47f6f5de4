"""Folding against plain NumPy in float64, layer by layer as the model is defined,
and against the trained network itself.
"""

import dataclasses
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from export.checks import answers
from export.graph import folded_network, folding
from pfrec.data import schema as schema_lib
from pfrec.data.dataset import row_block
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import mmoe
from tests import conftest

CONFIG = ModelConfig(
    embedding_dim=6, numeric_dim=5, experts=3, expert_units=(8, 7), tower_units=(6, 4), rank=2
)


def _trained(schema: schema_lib.Schema, config: ModelConfig, seed: int = 0) -> mmoe.MMoE:
    """A network whose every variable has a value that training could have left."""
    network = mmoe.build(schema, config, seed)
    generator = np.random.default_rng(seed)
    for variable in network.variables:
        values = generator.normal(0, 1, variable.shape)
        if "logit" in variable.name and not network.config.normalised_towers:
            values *= 0.1  # Logits of hundreds are none that float32 tells to 1e-5.
        if "variance" in variable.name:
            values = np.exp(values)
        variable.assign(values.astype(np.float32))
    return network


def _inputs(rows: row_block.Rows) -> "dict[str, tf.Tensor]":
    return {"categorical": tf.constant(rows.categorical), "numerical": tf.constant(rows.numerical)}


def _norm(layer: Any, x: np.ndarray) -> np.ndarray:
    values = {
        v.name.rsplit("/", 1)[-1].split(":")[0]: v.numpy().astype(np.float64)
        for v in layer.variables
    }
    y = (x - values["moving_mean"]) / np.sqrt(values["moving_variance"] + layer.epsilon)
    return y * values.get("gamma", 1.0) + values.get("beta", 0.0)


def _reference(network: mmoe.MMoE, rows: row_block.Rows) -> "dict[str, np.ndarray]":
    """The logits by the definition of the model, in float64,
    without any of the code that folds or trains.
    """

    def array(variable: Any) -> np.ndarray:
        return variable.numpy().astype(np.float64)

    parts = []
    for layer, place in zip(network.embeddings, network.schema.id_places):
        table, lists = array(layer.table), rows.categorical[:, place]
        parts.append(
            np.stack(
                [
                    table[ids[ids >= 0]].mean(axis=0) if (ids >= 0).any() else 0 * table[0]
                    for ids in lists
                ]
            )
        )
    if network.numeric is not None:
        x = _norm(network.numeric.normalise, rows.numerical.astype(np.float64))
        if network.numeric.project is not None:
            x = x @ array(network.numeric.project.kernel) + array(network.numeric.project.bias)
        parts.append(x)
    x = np.concatenate(parts, axis=1)
    logits = {}
    for number, (task, tower) in enumerate(network.towers.items()):
        outputs = []
        for expert in network.experts:
            h = x
            for layer, dense in enumerate(expert.dense):
                kernel = array(dense.kernel)
                if dense.composition != "none":
                    product = array(dense.task_components[number].a) @ array(
                        dense.task_components[number].b
                    )
                    kernel = (
                        kernel + product
                        if dense.composition == "additive"
                        else kernel * (1 + product)
                    )
                h = h @ kernel + array(dense.bias)
                h = np.maximum(_norm(expert.norms[layer], h) if expert.norms else h, 0)
            outputs.append(h)
        gate = x @ array(network.gates[task].dense.kernel) + array(network.gates[task].dense.bias)
        gate = np.exp(gate - gate.max(axis=1, keepdims=True))
        gate /= gate.sum(axis=1, keepdims=True)
        h = sum(gate[:, m : m + 1] * output for m, output in enumerate(outputs))
        for layer, dense in enumerate(tower.dense):
            h = h @ array(dense.kernel) + array(dense.bias)
            h = np.maximum(_norm(tower.norms[layer], h) if tower.norms else h, 0)
        logits[task] = (h @ array(tower.logit.kernel) + array(tower.logit.bias))[:, 0]
    return logits


def _sigmoid(logits: tf.Tensor) -> np.ndarray:
    return tf.sigmoid(tf.cast(logits, tf.float64)).numpy()


@pytest.mark.parametrize("template", ["none", "additive", "hadamard"])
@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"batch_norm": False},
        {"tower_batch_norm": True},
        {"numeric_dim": 0},
        {"numeric_dim": 1},
        {"expert_units": (8,), "tower_units": ()},
    ],
    ids=lambda changed: "-".join(changed) or "plain",
)
@pytest.mark.parametrize("table_rows", [0, 10, 1024])
def test_folded_network_is_the_trained_one(
    schema: schema_lib.Schema, template: str, changed: "dict[str, Any]", table_rows: int
) -> None:
    network = _trained(schema, dataclasses.replace(CONFIG, template=template, **changed))
    folded = folding.fold(network, table_rows=table_rows)
    assert (
        len(folded.folded) == {0: 0, 10: 1, 1024: 2}[table_rows]
    )  # The features have 13 and 10 rows.
    rows = conftest.random_rows(schema, 200, seed=5)
    rows.categorical[:3, 0] = 12  # an unknown id
    given, trained = (
        folded_network.FoldedNetwork(folded)(_inputs(rows)),
        network(_inputs(rows), training=False),
    )
    for task, expected in _reference(network, rows).items():
        assert np.std(expected) > 0.02  # The rows matter.
        np.testing.assert_allclose(given[task], expected, rtol=1e-4, atol=1e-4)
        # Each against the exact value: of logits of 50, as random weights make, float32 loses as
        # much in the one as in the other.
        np.testing.assert_allclose(_sigmoid(given[task]), _sigmoid(expected), rtol=0, atol=1e-5)
        np.testing.assert_allclose(_sigmoid(trained[task]), _sigmoid(expected), rtol=0, atol=1e-5)
        assert answers.inversions(expected, np.asarray(given[task]), 1e-4) == 0


def test_schemas_without_numbers_or_without_categories(schema: schema_lib.Schema) -> None:
    for changed in (
        dataclasses.replace(schema, numerical=()),
        dataclasses.replace(schema, categorical=()),
    ):
        network = _trained(changed, CONFIG)
        rows = row_block.Rows(
            np.ones((4, len(changed.categorical)), np.int32),
            np.ones((4, len(changed.numerical)), np.float32),
            np.zeros((4, 2)),
        )
        given = folded_network.FoldedNetwork(folding.fold(network))(_inputs(rows))
        for task, expected in _reference(network, rows).items():
            np.testing.assert_allclose(given[task], expected, rtol=1e-4, atol=1e-4)


def test_lists_stay_looked_up(schema: schema_lib.Schema) -> None:
    user, item = schema.categorical
    listed = dataclasses.replace(
        schema, categorical=(dataclasses.replace(user, values=3, separator="|"), item)
    )
    network = _trained(listed, CONFIG)
    folded = folding.fold(network)
    assert folded.folded == (1,)
    assert [position for position, _ in folded.lookups] == [0]
    single = conftest.random_rows(schema, 60, seed=5)
    users = np.random.default_rng(1).integers(-1, 13, (60, 3), dtype=np.int32)
    users[0] = -1
    rows = dataclasses.replace(
        single, categorical=np.concatenate([users, single.categorical[:, 1:]], axis=1)
    )
    given, trained = (
        folded_network.FoldedNetwork(folded)(_inputs(rows)),
        network(_inputs(rows), training=False),
    )
    for task, expected in _reference(network, rows).items():
        np.testing.assert_allclose(given[task], expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(trained[task], expected, rtol=1e-4, atol=1e-4)


def test_rows_do_not_touch_each_other(schema: schema_lib.Schema) -> None:
    network = folded_network.FoldedNetwork(folding.fold(_trained(schema, CONFIG)))
    rows = conftest.random_rows(schema, 9, seed=1)
    whole = network(_inputs(rows))["ctr"].numpy()
    single = np.concatenate(
        [network(_inputs(rows.take(slice(i, i + 1))))["ctr"].numpy() for i in range(9)]
    )
    np.testing.assert_allclose(whole, single, rtol=1e-5, atol=1e-6)
    assert network(_inputs(rows.take(slice(0, 0))))["ctr"].shape == (0,)


def test_batch_normalisation_by_hand() -> None:
    norm = tf.keras.layers.BatchNormalization(epsilon=1.0)
    norm.build([None, 1])
    for variable, value in (
        (norm.gamma, 6.0),
        (norm.beta, 1.0),
        (norm.moving_mean, 2.0),
        (norm.moving_variance, 8.0),
    ):
        variable.assign([value])
    scale, offset = folding.affine(norm)
    # (x - 2) / 3 * 6 + 1 = 2 x - 3
    assert (scale.tolist(), offset.tolist()) == ([2.0], [-3.0])


def test_tables_by_hand() -> None:
    schema = schema_lib.Schema((schema_lib.Categorical("f", 1),), (), (schema_lib.Task("t", "t"),))
    config = ModelConfig(
        embedding_dim=2, experts=1, expert_units=(1,), tower_units=(), batch_norm=False
    )
    network = mmoe.build(schema, config)
    network.embeddings[0].table.assign([[1.0, 2.0], [3.0, 4.0]])
    network.experts[0].dense[0].kernel.assign([[10.0], [100.0]])
    network.experts[0].dense[0].bias.assign([0.5])
    first = folding.fold(network).experts[0][0].first
    assert first.table.tolist() == [[210.0], [430.0]]
    assert first.bias.tolist() == [0.5]
    assert first.kernel.shape == (0, 1)


def test_large_features_keep_their_embedding_in_half_the_bytes(schema: schema_lib.Schema) -> None:
    network = _trained(schema, CONFIG)
    folded = folding.fold(network, embedding_dtype="float16", table_rows=10)
    ((position, table),) = folded.lookups
    assert (position, table.dtype, table.shape) == (0, np.float16, (13, 6))
    served = folded_network.FoldedNetwork(folded)
    rows = conftest.random_rows(schema, 50, seed=5)
    exact = network(_inputs(rows), training=False)["ctr"].numpy()
    network.embeddings[0].table.assign(table.astype(np.float32))
    rounded = network(_inputs(rows), training=False)["ctr"].numpy()
    given = served(_inputs(rows))["ctr"].numpy()
    np.testing.assert_allclose(given, rounded, rtol=1e-4, atol=1e-4)
    assert np.abs(exact - rounded).max() > 10 * np.abs(given - rounded).max()


def test_means_of_lists_are_not_taken_in_half_precision(schema: schema_lib.Schema) -> None:
    user, item = schema.categorical
    listed = dataclasses.replace(
        schema, categorical=(dataclasses.replace(user, values=8, separator="|"), item)
    )
    network = _trained(listed, CONFIG)
    folded = folding.fold(network, embedding_dtype="float16")
    network.embeddings[0].table.assign(folded.lookups[0][1].astype(np.float32))
    single = conftest.random_rows(schema, 60, seed=5)
    users = np.random.default_rng(1).integers(0, 13, (60, 8), dtype=np.int32)
    rows = dataclasses.replace(
        single, categorical=np.concatenate([users, single.categorical[:, 1:]], axis=1)
    )
    given = folded_network.FoldedNetwork(folded)(_inputs(rows))["ctr"]
    np.testing.assert_allclose(given, _reference(network, rows)["ctr"], rtol=1e-4, atol=1e-4)


def test_only_an_mmoe_itself_is_folded(schema: schema_lib.Schema) -> None:
    class Other(mmoe.MMoE):
        """Might compute anything."""

    assert folding.can_fold(mmoe.MMoE(schema, CONFIG))
    assert not folding.can_fold(Other(schema, CONFIG))
    with pytest.raises(ValueError, match="cannot be trained"):
        folded_network.FoldedNetwork(folding.fold(_trained(schema, CONFIG)))({}, training=True)
