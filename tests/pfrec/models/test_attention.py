"""Lists over another feature's table: one table, the mean or target attention over it."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from pfrec import groups
from pfrec.data import schema as schema_lib
from pfrec.models import attention, networks
from pfrec.models.config import ModelConfig
from tff_process.algorithms import registry
from tff_process.client import counting, variables

_IDS = np.array([[2, 1, 2, -1], [0, -1, -1, -1], [3, 3, 1, 0], [4, 4, 4, 4]], np.int32)


def _schema(pooling, cardinality=4):
    own = schema_lib.Categorical("item", cardinality, "shared")
    listed = schema_lib.Categorical(
        *("seen", cardinality, "shared"),
        values=3,
        separator="|",
        table="item",
        keep="last",
        pooling=pooling,
    )
    return schema_lib.Schema(
        (own, listed), (schema_lib.Numerical("price"),), (schema_lib.Task("click", "click"),)
    )


def _config(**changes):
    return ModelConfig(
        **{**{"embedding_dim": 4, "experts": 2, "expert_units": (8,), "numeric_dim": 2}, **changes}
    )


def _inputs(ids=_IDS):
    return {
        "categorical": tf.constant(ids),
        "numerical": tf.constant(np.linspace(-1, 1, len(ids), dtype=np.float32)[:, np.newaxis]),
        "scenario": tf.zeros([len(ids)], tf.int32),
    }


def _by_hand(layer, table, ids):
    """The formula, row by row in float64."""
    hidden, bias = (np.asarray(w, np.float64) for w in layer.hidden.get_weights())
    score = np.asarray(layer.score.get_weights()[0], np.float64)[:, 0]
    found = []
    for target, *values in ids.tolist():
        q = table[target]
        rows = [table[v] for v in values if v >= 0]
        scores = np.array(
            [
                np.maximum(np.concatenate([q, v, q - v, q * v]) @ hidden + bias, 0) @ score
                for v in rows
            ]
        )
        weights = np.exp(scores - scores.max()) if rows else scores
        found.append(sum(w * v for w, v in zip(weights / weights.sum(), rows)) if rows else 0 * q)
    return np.array(found)


def test_attention_by_hand():
    schema = _schema("attention")
    network = networks.build("fedavg", schema, _config(), 3, 1)
    layer, table = network.attention["seen"], network.embeddings[0].table

    def pooled():
        return attention.pooled(network.attention, network.embeddings, tf.constant(_IDS), schema)[
            1
        ].numpy()

    # At first all values weigh alike.
    plain = np.asarray(table, np.float64)
    mean = np.stack([(plain[1] + plain[2]) / 2, 0 * plain[0], (plain[3] + plain[1] + plain[0]) / 3])
    np.testing.assert_allclose(pooled()[:3], mean, atol=1e-7)
    generator = np.random.default_rng(0)
    layer.score.kernel.assign(3 * generator.standard_normal(layer.score.kernel.shape))
    table.assign(generator.standard_normal(table.shape))
    wanted = _by_hand(layer, np.asarray(table, np.float64), _IDS)
    np.testing.assert_allclose(pooled(), wanted, rtol=1e-4, atol=1e-6)
    assert np.abs(pooled()[0] - (np.asarray(table)[1] + np.asarray(table)[2]) / 2).max() > 0.01


@pytest.mark.parametrize("pooling", ["mean", "attention"])
@pytest.mark.parametrize("cardinality", [4, 3000])
def test_the_fast_form_is_the_plain_one(pooling, cardinality):
    network = networks.build("fedavg", _schema(pooling, cardinality), _config(), 1, 1)
    generator = np.random.default_rng(0)
    for variable in network.trainable_variables:
        variable.assign_add(0.3 * generator.standard_normal(variable.shape).astype(np.float32))
    batch = _inputs(np.repeat(_IDS, 64, axis=0))

    def graph(plain):
        network.use_plain = plain
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.sin(network(batch, training=True)["click"]))
        return loss, tape.gradient(loss, network.trainable_variables)

    (loss, found), (wanted_loss, wanted) = graph(False), graph(True)
    np.testing.assert_allclose(loss, wanted_loss, rtol=1e-4)
    for variable, a, b in zip(network.trainable_variables, found, wanted):
        a, b = (tf.convert_to_tensor(g).numpy() for g in (a, b))
        np.testing.assert_allclose(
            a, b, atol=2e-3 * max(1.0, np.abs(b).max()), err_msg=variable.name
        )


@pytest.mark.parametrize("name", sorted(networks.POOLED))
def test_pooled_models_take_them(name):
    network = networks.build(name, _schema("attention"), _config(), 1, 1)
    assert np.isfinite(network(_inputs(), training=False)["click"]).all()


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_variables_have_the_same_names_in_a_graph(pooling):
    """By their names a client's graph knows what a run's variables are."""
    schema = _schema(pooling)
    two = schema_lib.Categorical("shop", 5, "shared")
    schema = dataclasses.replace(schema, categorical=(two, *schema.categorical))

    def names():
        return [item.name for item in groups.tag(networks.build("fedavg", schema, _config(), 0, 1))]

    eager = names()
    assert "embedding/item/embedding_item/table" in eager
    with tf.Graph().as_default():
        assert names() == eager


def test_one_table_that_counts_both_its_readers(tmp_path):
    schema = _schema("attention")
    tagged = groups.tag(networks.build("fedavg", schema, _config(), 1, 1))
    names = {item.group for item in tagged}
    assert "embedding/item" in names
    assert "embedding/seen" not in names
    policy = registry.find("fedavg").build(schema, {}, 1.0).policy
    assert policy.shares("attention/seen")
    layout = variables.of(tagged, policy, ())
    record = tmp_path / "rows.tfrecord"
    from pfrec.data.dataset import row_block

    rows = row_block.Rows(_IDS, np.zeros((4, 1), np.float32), np.zeros((4, 1), np.uint8))
    with tf.io.TFRecordWriter(str(record)) as writer:
        writer.write(row_block.encode(rows))
    counted = {}

    def exactly(totals):
        counted["ids"] = totals.numpy()
        return totals

    from pfrec import coarsening

    original = coarsening.id_counts
    coarsening.id_counts = exactly
    try:
        counting.count_ids(layout, schema, tf.constant([str(record)]))
    finally:
        coarsening.id_counts = original
    assert counted["ids"].tolist() == [2, 2, 2, 2, 4]
