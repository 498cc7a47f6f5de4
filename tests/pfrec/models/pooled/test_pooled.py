"""The pooled models: shapes, serialisation, budget,
and for each a limit that another model or a hand gives.
"""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from pfrec import errors, groups
from pfrec.data import schema as schema_lib
from pfrec.data.dataset import row_block
from pfrec.models import networks
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import mmoe
from pfrec.models.pooled import (
    aitm,
    chain,
    esmm,
    hmoe,
    pepnet,
    ple,
    shared_bottom,
    single_task,
    star,
)
from pfrec.models.pooled import base as pooled

SHAPE = ModelConfig(
    embedding_dim=3, numeric_dim=2, experts=4, expert_units=(5, 4), tower_units=(3,), dropout=0.1
)
SCENARIOS = 3


def batch(schema, rows=6, seed=0):
    rng = np.random.default_rng(seed)
    ids = np.concatenate(
        [rng.integers(0, f.cardinality, (rows, f.values)) for f in schema.categorical], 1
    )
    return {
        "categorical": tf.constant(ids, tf.int32),
        "numerical": tf.constant(rng.normal(size=(rows, len(schema.numerical))), tf.float32),
        "scenario": tf.constant(rng.integers(0, SCENARIOS, rows), tf.int32),
    }


def built(name, schema, shape=SHAPE, seed=1):
    model = networks.build(name, schema, shape, seed, SCENARIOS)
    # Off their first values, where gates are one and auxiliaries zero.
    for number, variable in enumerate(model.trainable_variables):
        variable.assign_add(0.1 * tf.random.stateless_normal(variable.shape, [number, 2]))
    return model


@pytest.mark.parametrize("name", sorted(networks.POOLED))
def test_shapes_groups_and_serialisation(name, schema):
    model, inputs = built(name, schema), batch(schema)
    logits = model(inputs)
    assert {task: value.shape.as_list() for task, value in logits.items()} == {
        "ctr": [6],
        "cvr": [6],
    }
    # Every variable has a role and a name of its own.
    assert len(groups.tag(model)) == len(model.variables)
    again = tf.keras.utils.deserialize_keras_object(tf.keras.utils.serialize_keras_object(model))
    again(inputs)
    again.set_weights(model.get_weights())
    assert again.get_config() == model.get_config()
    for task, value in again(inputs).items():
        np.testing.assert_array_equal(value, logits[task])
    # As one scenario sees it, it needs no scenario.
    alone = networks.for_scenario(model, 2)
    plain = {name: value for name, value in inputs.items() if name != "scenario"}
    expected = model({**plain, "scenario": tf.fill([6], 2)})
    for task, value in alone(plain).items():
        np.testing.assert_array_equal(value, expected[task])


@pytest.mark.parametrize("name", sorted(networks.POOLED))
def test_lists_of_one_value_are_single_values(name, schema):
    user, item = schema.categorical
    listed = dataclasses.replace(
        schema, categorical=(dataclasses.replace(user, values=2, separator="|"), item)
    )
    single, several = built(name, schema), built(name, listed)
    several.set_weights(single.get_weights())
    inputs = batch(schema)
    user_ids, item_ids = tf.split(inputs["categorical"], 2, axis=1)
    lists = {**inputs, "categorical": tf.concat([user_ids, tf.fill([6, 1], -1), item_ids], axis=1)}
    for task, value in single(inputs).items():
        np.testing.assert_allclose(several(lists)[task], value, rtol=1e-6)


@pytest.mark.parametrize("name", sorted(networks.POOLED))
def test_one_step_trains_every_part(name, schema):
    model = built(name, schema)
    labels = tf.constant([[1, 1], [1, 0], [0, 255], [0, 255], [1, 1], [1, 0]], tf.uint8)
    inputs = {**batch(schema), "labels": labels, "dropout_seed": tf.constant([1, 2], tf.int64)}
    with tf.GradientTape() as tape:
        loss = model.make_ranker().compute_loss(inputs, training=True)
    slopes = tape.gradient(loss, model.trainable_variables)
    assert np.isfinite(float(loss))
    assert all(slope is not None for slope in slopes)


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("pooled_shared_bottom", 1.1),
        ("pooled_single_task", 1.1),
        ("pooled_esmm", 1.1),
        # What the methods have on top: transfers, a second level, gates, a factor for each of three
        # scenarios.
        ("pooled_aitm", 1.3),
        ("pooled_ple", 1.4),
        ("pooled_pepnet", 1.6),
        ("pooled_star", 4.0),
        ("pooled_hmoe", 1.6),
    ],
)
def test_the_budget_is_that_of_the_mmoe(name, most):
    """Trained weights against the MMoE's at the default shape, tables aside,
    with the columns of AliExpress; none has fewer.
    """
    schema = schema_lib.Schema(
        tuple(schema_lib.Categorical(f"c{i}", 9) for i in range(16)),
        tuple(schema_lib.Numerical(f"n{i}") for i in range(63)),
        (schema_lib.Task("click", "click"), schema_lib.Task("buy", "buy", given="click")),
    )

    def weights(model):
        return sum(
            v.shape.num_elements() for v in model.trainable_variables if "table" not in v.name
        )

    ratio = weights(networks.build(name, schema, ModelConfig(), 0, SCENARIOS)) / weights(
        mmoe.build(schema, ModelConfig())
    )
    assert 0.99 < ratio < most


def test_widths_solve_the_budget():
    assert pooled.widened(10, [6, 4], 1) == (6, 4)
    assert pooled.widened(10, [6], 3) == (18,)
    # s * 100 * 50 + s^2 * 50 * 20 = 4 * (100 * 50 + 50 * 20) has s = 3.0.
    assert pooled.widened(100, [50, 20], 4) == (150, 60)


def copied(source, target):
    """The values of one layer in another of the same make."""
    target.set_weights(source.get_weights())


def test_ple_of_one_shared_expert_is_a_shared_bottom(schema):
    one = ple.PLE(schema, SHAPE, 1, levels=1, own=0, shared=1)
    other = shared_bottom.SharedBottom(schema, SHAPE, 1, copies=1)
    inputs = batch(schema)
    one(inputs), other(inputs)
    copied(one.experts[0][ple.SHARED][0], other.bottom)
    for mine, its in [*zip(one.embeddings, other.embeddings), (one.numeric, other.numeric)]:
        copied(mine, its)
    for task in one.towers:
        copied(one.towers[task], other.towers[task])
    for task, value in one(inputs).items():
        np.testing.assert_allclose(value, other(inputs)[task], rtol=1e-6)


def test_a_ple_gate_mixes_own_and_shared_experts_by_hand(schema):
    model = ple.PLE(
        schema,
        ModelConfig(experts=3, expert_units=(2,), tower_units=(), batch_norm=False),
        1,
        levels=1,
    )
    inputs = batch(schema)
    logits, x = model(inputs), model.features(inputs)
    for task in ("ctr", "cvr"):
        experts = [*model.experts[0][task], *model.experts[0][ple.SHARED]]
        outputs = np.stack(
            [np.maximum(x @ e.dense[0].kernel + e.dense[0].bias, 0) for e in experts], 1
        )
        mixed = (np.asarray(model.gates[0][task](x))[:, :, None] * outputs).sum(1)
        np.testing.assert_allclose(
            logits[task], np.asarray(model.towers[task].logit(mixed))[:, 0], rtol=1e-5
        )


def test_single_task_networks_do_not_touch_each_other(schema):
    model, inputs = built("pooled_single_task", schema), batch(schema)
    assert isinstance(model, single_task.SingleTask)
    before = model(inputs)
    for variable in model.networks["ctr"].variables:
        variable.assign(tf.zeros_like(variable))
    after = model(inputs)
    np.testing.assert_array_equal(after["cvr"], before["cvr"])
    assert not np.array_equal(after["ctr"], before["ctr"])


def test_aitm_attends_evenly_over_equal_inputs():
    """Whatever the query and key, two equal inputs weigh a half each: the value of one of them."""
    layer = aitm.Transfer("cvr", 4, seed=3)
    x = tf.constant(np.random.default_rng(0).normal(size=(5, 4)), tf.float32)
    np.testing.assert_allclose(layer(x, x), layer.value(x), rtol=1e-5)
    # And a query of zero gives the mean of both values.
    layer.query.kernel.assign(tf.zeros([4, 4]))
    np.testing.assert_allclose(layer(x, 3.0 * x), 2.0 * layer.value(x), rtol=1e-5)


def tasks(*given):
    made = tuple(schema_lib.Task(name, name, parent) for name, parent in given)
    return schema_lib.Schema((), (schema_lib.Numerical("x"),), made)


def test_aitm_follows_the_chain_and_without_one_the_schema():
    chained = aitm.AITM(tasks(("buy", "click"), ("click", None)), SHAPE)
    assert chained.order == ["click", "buy"]
    assert set(chained.transfers) == {"buy"}
    free = aitm.AITM(tasks(("like", None), ("follow", None), ("share", None)), SHAPE)
    assert free.parents == {"like": None, "follow": "like", "share": "follow"}
    assert free.order == ["like", "follow", "share"]


def test_a_chain_lists_its_ancestors_and_refuses_a_circle():
    assert chain.ancestors(tasks(("pay", "buy"), ("buy", "click"), ("click", None)), "pay") == [
        "buy",
        "click",
    ]
    with pytest.raises(errors.PfrecError, match="circle"):
        tasks(("a", "b"), ("b", "a"))


class Fixed(tf.keras.Model):
    """A network of given logits."""

    def __init__(self, schema, **logits):
        super().__init__()
        self.schema, self._logits = (
            schema,
            {name: tf.constant(value) for name, value in logits.items()},
        )

    def call(self, inputs, training=None):
        return self._logits


def test_esmm_learns_the_product_on_all_rows_by_hand():
    """Four rows: bought, clicked only, not clicked,
    clicked with the purchase unknown. pCTR = 0.5, pCVR = 0.25: pCTCVR = 0.125.
    """
    schema = tasks(("click", None), ("buy", "click"))
    network = Fixed(schema, click=[0.0] * 4, buy=[float(np.log(1 / 3))] * 4)
    unknown = row_block.UNOBSERVED
    labels = tf.constant([[1, 1], [1, 0], [0, unknown], [1, unknown]], tf.uint8)
    loss = esmm.ESMMRanker(network, ["click", "buy"]).compute_loss({"labels": labels})
    click = -np.log(0.5)
    both = (-np.log(0.125) - 2 * np.log(0.875)) / 3
    np.testing.assert_allclose(loss, click + both, rtol=1e-6)
    np.testing.assert_allclose(
        np.exp(
            esmm.joint_log_probability(
                [tf.constant([0.0]), tf.constant([np.log(1 / 3)], tf.float32)]
            )
        ),
        [0.125],
        rtol=1e-6,
    )


def test_star_of_factors_of_one_is_plain(schema):
    """At first every domain's kernel is one, its shift zero and the auxiliary network silent: a
    shared bottom, in evaluation and training.
    """
    model = networks.build("pooled_star", schema, SHAPE, 1, 1)
    other = shared_bottom.SharedBottom(schema, SHAPE, 1)
    inputs = {
        **batch(schema),
        "scenario": tf.zeros([6], tf.int32),
        "dropout_seed": tf.constant([1, 2], tf.int64),
    }
    other(inputs)
    for layer, norm, its, its_norm in zip(
        model.star.dense, model.star.norms, other.bottom.dense, other.bottom.norms
    ):
        its.kernel.assign(layer.kernel)
        its_norm.gamma.assign(norm.gamma)
    for mine, its in [
        *zip(model.embeddings, other.embeddings),
        (model.numeric, other.numeric),
        *zip(model.towers.values(), other.towers.values()),
    ]:
        copied(mine, its)
    for training in (False, True):
        expected = other(inputs, training=training)
        for task, value in model(inputs, training=training).items():
            np.testing.assert_allclose(value, expected[task], atol=1e-5)
    for norm, its in zip(model.star.norms, other.bottom.norms):
        np.testing.assert_allclose(norm.moving_variance[0], its.moving_variance, rtol=1e-5)


def test_star_layers_by_hand():
    dense = star.StarDense(1, 2)
    dense(tf.ones([2, 2]), tf.constant([0, 1]))
    dense.kernel.assign([[1.0], [2.0]])
    dense.own_kernel.assign([[[1.0], [1.0]], [[3.0], [0.5]]])
    dense.bias.assign([0.5])
    dense.own_bias.assign([[0.0], [1.0]])
    # Domain 0: 1 + 2 + 0.5. Domain 1: 3 + 1 + 0.5 + 1.
    np.testing.assert_allclose(dense(tf.ones([2, 2]), tf.constant([0, 1])), [[3.5], [5.5]])

    norm = star.PartitionedNormalization(3, momentum=0.5, epsilon=0.0)
    x, domain = tf.constant([[1.0], [3.0], [10.0], [14.0]]), tf.constant([0, 0, 2, 2])
    # Each domain by its own mean and deviation; the one without rows keeps its statistics.
    np.testing.assert_allclose(
        norm(x, domain, training=True), [[-1.0], [1.0], [-1.0], [1.0]], rtol=1e-6
    )
    np.testing.assert_allclose(norm.moving_mean, [[1.0], [0.0], [6.0]])
    np.testing.assert_allclose(norm.moving_variance, [[1.0], [1.0], [2.5]])


def test_pepnet_starts_from_networks_without_gates(schema):
    """Gates start at 2 * sigmoid(0) = 1; one that is shut shuts its task alone."""
    gate = pepnet.GateNU("a", 3, 2)
    np.testing.assert_array_equal(gate(tf.ones([1, 4])), [[1.0, 1.0]])
    model, inputs = networks.build("pooled_pepnet", schema, SHAPE, 1, SCENARIOS), batch(schema)
    # Private features are the prior.
    assert model.priors == [0]
    h = model.features(inputs)
    for block in model.layers_of["ctr"]:
        h = block(h)[0]
    before = model(inputs)
    np.testing.assert_allclose(before["ctr"], model.towers["ctr"](h), rtol=1e-5)
    model.ppnets["ctr"][-1].second.bias.assign([-50.0] * model.ppnets["ctr"][-1].units)
    after = model(inputs)
    np.testing.assert_array_equal(after["cvr"], before["cvr"])
    np.testing.assert_allclose(after["ctr"], model.towers["ctr"](tf.zeros_like(h)), atol=1e-6)


def test_hmoe_of_one_scenario_is_the_mmoe(schema):
    model = networks.build("pooled_hmoe", schema, SHAPE, 1, 1)
    other = mmoe.build(schema, SHAPE, 2)
    pairs = [
        *zip(model.embeddings, other.embeddings),
        (model.numeric, other.numeric),
        *zip(model.experts, other.experts),
        *((model.gates[0][task], other.gates[task]) for task in model.tasks),
        *((model.towers[0][task], other.towers[task]) for task in model.tasks),
    ]
    for own, its in pairs:
        its.set_weights(own.get_weights())
    inputs = {**batch(schema), "scenario": tf.zeros([6], tf.int32)}
    expected = other(inputs)
    for task, value in model(inputs).items():
        np.testing.assert_allclose(value, expected[task], rtol=1e-5, atol=1e-6)


def test_hmoes_rows_train_their_own_scenario_and_the_mixture(schema):
    model, inputs = built("pooled_hmoe", schema), batch(schema)
    assert isinstance(model, hmoe.HMoE)
    inputs["scenario"] = tf.ones([6], tf.int32)
    with tf.GradientTape(persistent=True) as tape:
        loss = tf.add_n([tf.reduce_sum(value) for value in model(inputs).values()])

    def moved(layer):
        return [
            gradient is not None and bool(tf.reduce_any(tf.not_equal(gradient, 0.0)))
            for gradient in tape.gradient(loss, layer.trainable_variables)
        ]

    assert not any(any(moved(model.towers[s][task])) for s in (0, 2) for task in model.tasks)
    assert all(any(moved(model.towers[1][task])) for task in model.tasks)
    assert all(any(moved(model.mixes[task])) for task in model.tasks)
    # What other scenarios say counts all the same.
    before = model(inputs)["ctr"]
    model.towers[0]["ctr"].logit.bias.assign_add([1.0])
    assert not np.allclose(before, model(inputs)["ctr"])
