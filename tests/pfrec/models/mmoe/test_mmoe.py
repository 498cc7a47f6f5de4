"""The MMoE computes its formula, starts from its seed, and survives serialisation."""

import numpy as np
import pytest
import tensorflow as tf

from pfrec import errors
from pfrec.models import dropout, embedding
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import layers, mmoe, template


def batch(schema, rows=7, seed=0):
    rng = np.random.default_rng(seed)
    ids = np.stack([rng.integers(0, f.cardinality + 1, rows) for f in schema.categorical], 1)
    return {
        "categorical": tf.constant(ids, tf.int32),
        "numerical": tf.constant(rng.normal(size=(rows, len(schema.numerical))), tf.float32),
    }


@pytest.mark.parametrize("composition", ["none", "additive", "hadamard"])
def test_serialises_and_comes_back_equal(schema, composition):
    model = mmoe.build(schema, ModelConfig(template=composition, dropout=0.1), seed=5)
    for variable in model.variables:
        variable.assign_add(tf.random.stateless_uniform(variable.shape, [1, 2]) * 0.1)
    inputs = batch(schema)
    again = mmoe.MMoE.from_config(model.get_config())
    again(inputs)
    again.set_weights(model.get_weights())
    assert again.get_config() == model.get_config()
    for task, logits in model(inputs).items():
        np.testing.assert_array_equal(logits, again(inputs)[task])


@pytest.mark.parametrize("composition", ["none", "additive", "hadamard"])
def test_each_layer_serialises(schema, composition):
    for layer in [
        embedding.FeatureEmbedding("f", 5, 3, seed=2),
        template.TemplateDense(4, 0, ["a", "b"], composition, 2, seed=3),
        layers.Expert(0, [4, 3], ["a", "b"], composition, 2, rate=0.1, seed=4),
        layers.Gate("a", 3, seed=5),
        layers.Tower("a", [4], seed=6),
        layers.NumericProjection(3, seed=7),
        dropout.SeededDropout(0.2, 3),
    ]:
        again = tf.keras.layers.deserialize(tf.keras.layers.serialize(layer))
        assert type(again) is type(layer)
        assert again.get_config() == layer.get_config()


def test_same_seed_same_values_and_another_seed_others(schema):
    first, same, other = (mmoe.build(schema, ModelConfig(), seed) for seed in (1, 1, 2))
    for a, b in zip(first.get_weights(), same.get_weights()):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(first.variables, other.variables):
        # Kernels and tables are drawn; biases and batch normalisation start alike.
        drawn = any(part in a.name for part in ("kernel", "table"))
        assert np.array_equal(a, b) != drawn, a.name
    kernels = [expert.dense[0].kernel.numpy() for expert in first.experts]
    assert not np.array_equal(kernels[0], kernels[1])


@pytest.mark.parametrize("composition", ["additive", "hadamard"])
def test_the_template_starts_from_the_plain_model(schema, composition):
    """B starts at zero, so nothing but the composition's cost is added."""
    inputs = batch(schema)
    plain = mmoe.build(schema, ModelConfig(), seed=3)(inputs)
    decoupled = mmoe.build(schema, ModelConfig(template=composition), seed=3)(inputs)
    for task in plain:
        np.testing.assert_allclose(plain[task], decoupled[task], atol=1e-6)


def test_template_formulas_by_hand():
    x = tf.constant([[[1.0, 2.0]]])
    for composition, expected in [
        ("none", [[[3.5]]]),
        ("additive", [[[3.5 + 3.0]], [[3.5]]]),
        ("hadamard", [[[0.5 + 1 * 2 + 2 * 2]], [[3.5]]]),
    ]:
        layer = template.TemplateDense(1, 0, ["a", "b"], composition, rank=1)
        layer(x)
        layer.kernel.assign([[1.0], [1.0]])
        layer.bias.assign([0.5])
        if composition != "none":
            layer.task_components[0].a.assign([[1.0], [1.0]])
            layer.task_components[0].b.assign([[1.0]])
        np.testing.assert_allclose(layer(x), expected)


def test_an_unknown_id_adds_nothing_before_training():
    layer = embedding.FeatureEmbedding("f", 3, 2)
    np.testing.assert_array_equal(layer(tf.constant([3])), [[0.0, 0.0]])
    assert np.all(layer(tf.constant([0, 1, 2])).numpy() != 0)


def test_gates_mix_experts_by_hand(schema):
    model = mmoe.build(
        schema, ModelConfig(experts=2, expert_units=(3,), tower_units=(), batch_norm=False), seed=1
    )
    inputs = batch(schema, rows=4)
    x = model.features(inputs)
    experts = np.stack(
        [np.maximum(x @ e.dense[0].kernel + e.dense[0].bias, 0) for e in model.experts], 1
    )
    for task, logits in model(inputs).items():
        scores = np.asarray(model.gates[task].dense(x))
        gate = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        mixed = (gate[:, :, None] * experts).sum(1)
        np.testing.assert_allclose(
            logits, np.asarray(model.towers[task].logit(mixed))[:, 0], rtol=1e-5
        )


def test_dropout_masks_depend_on_seed_and_layer_only():
    x = tf.ones([50, 20])
    first, second = dropout.SeededDropout(0.5, 1), dropout.SeededDropout(0.5, 2)
    seed = tf.constant([3, 4], tf.int64)
    np.testing.assert_array_equal(
        first(x, seed=seed, training=True), first(x, seed=seed, training=True)
    )
    assert not np.array_equal(
        first(x, seed=seed, training=True), second(x, seed=seed, training=True)
    )
    assert not np.array_equal(
        first(x, seed=seed, training=True), first(x, seed=seed + 1, training=True)
    )
    assert set(np.unique(first(x, seed=seed, training=True))) == {0.0, 2.0}
    np.testing.assert_array_equal(first(x, training=False), x)
    with pytest.raises(ValueError, match="needs a seed"):
        first(x, training=True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"experts": 0},
        {"dropout": 1.0},
        {"expert_units": ()},
        {"tower_units": (0,)},
        {"numeric_dim": -1},
    ],
)
def test_impossible_shapes_are_one_clear_error(wrong):
    (name,) = wrong
    with pytest.raises(errors.PfrecError, match=f"^{name} is .*; it must "):
        ModelConfig(**wrong)
