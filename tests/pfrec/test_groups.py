"""Variable groups follow layer types and declared roles, whatever things are called."""

import re

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from pfrec import errors, groups, sharing
from pfrec.data import schema as schema_lib
from pfrec.models import roles
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import mmoe

ALL_SHARED = sharing.SharingPolicy((("*", "shared"),))


def build(layer: tf.keras.layers.Layer, width: int = 3) -> tf.keras.layers.Layer:
    layer(tf.zeros([2, width]))
    return layer


def nested(names: "list[str]", norm_name: str) -> tf.keras.Model:
    """A BatchNormalization below as many Sequentials as there are names,
    in a layer with a shared role.
    """
    inner: tf.keras.layers.Layer = tf.keras.layers.BatchNormalization(name=norm_name)
    for name in names:
        inner = tf.keras.Sequential([tf.keras.layers.Dense(3, name="dense"), inner], name=name)
    outer = tf.keras.Sequential([inner], name="outer")
    roles.declare(outer, roles.expert(0))
    return build(outer)


NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True)


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(NAMES, st.lists(NAMES, max_size=3))
def test_batch_normalisation_stays_local_under_any_name_and_nesting(norm_name, names):
    model = nested(names, norm_name)
    norms = [
        layer for layer in model.submodules if isinstance(layer, tf.keras.layers.BatchNormalization)
    ]
    own = {id(v) for layer in norms for v in layer.weights}
    assert len(own) == 4
    for item in groups.tag(model):
        if id(item.variable) in own:
            assert item.kind == "batch_norm"
            assert not ALL_SHARED.shares(item.group)
        else:
            assert item.kind == "expert"
            assert ALL_SHARED.shares(item.group)


@pytest.mark.parametrize(
    "layer",
    [
        tf.keras.layers.BatchNormalization(),
        tf.keras.layers.BatchNormalization(synchronized=True),
        tf.keras.layers.experimental.SyncBatchNormalization(),
        tf.compat.v1.keras.layers.BatchNormalization(),
        type("MyNorm", (tf.keras.layers.BatchNormalization,), {})(name="dense"),
        tf.keras.layers.Normalization(),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_every_kind_of_layer_with_statistics_is_local(layer):
    roles.declare(layer, roles.tower("ctr"))
    assert {item.kind for item in groups.tag(build(layer))} == {"batch_norm"}


def test_a_dense_layer_called_bn_is_shared():
    dense = tf.keras.layers.Dense(2, name="bn_batch_normalization")
    roles.declare(dense, roles.tower("ctr"))
    assert all(ALL_SHARED.shares(item.group) for item in groups.tag(build(dense)))


def test_a_layer_without_a_role_is_refused():
    with pytest.raises(ValueError, match="has no role"):
        groups.tag(build(tf.keras.layers.Dense(2)))


def test_a_variable_that_is_not_trained_is_refused_where_it_could_be_shared():
    class Counter(tf.keras.layers.Layer):
        def build(self, shape):
            self.seen = self.add_weight("seen", [], trainable=False)

        def call(self, x):
            return x

    layer = Counter()
    roles.declare(layer, roles.tower("ctr"))
    with pytest.raises(ValueError, match="statistics"):
        groups.tag(build(layer))


def test_what_is_a_kernel_is_its_layers_word_and_not_a_name():
    class Offsets(tf.keras.layers.Layer):
        def build(self, shape):
            self.matrix = self.add_weight("own_bias", [shape[-1], 2])
            self.offsets = self.add_weight("kernel", [4, 2])
            self.vector = self.add_weight("vector", [2])

        def call(self, x):
            return tf.matmul(x, self.matrix) + self.offsets[0] + self.vector

    layer = Offsets()
    roles.declare(layer, roles.tower("ctr"))
    roles.declare_biases(layer, "offsets")
    kernels = {item.name for item in groups.tag(build(layer)) if item.is_kernel}
    assert kernels == {"tower/ctr/own_bias"}


@pytest.mark.parametrize("template", ["none", "additive", "hadamard"])
def test_every_variable_of_an_mmoe_is_in_exactly_one_group(schema, template):
    model = mmoe.build(schema, ModelConfig(template=template, rank=2))
    tagged = groups.tag(model)
    assert sorted(id(item.variable) for item in tagged) == sorted(id(v) for v in model.variables)
    kinds = {item.kind for item in tagged}
    expected = {"embedding", "numeric", "expert", "gate", "tower", "batch_norm"}
    assert kinds == (expected if template == "none" else expected | {"expert_task"})


def test_groups_are_those_of_the_design(schema):
    tagged = groups.tag(mmoe.build(schema, ModelConfig(experts=1, template="additive")))
    found = {item.group for item in tagged if item.kind != "batch_norm"}
    assert found == {
        "embedding/user", "embedding/item", "numeric",
        "expert/0/shared", "expert/0/task/ctr", "expert/0/task/cvr",
        "gate/ctr", "gate/cvr", "tower/ctr", "tower/cvr",
    }  # fmt: skip


def test_the_last_matching_rule_decides_and_silence_is_private():
    policy = sharing.SharingPolicy((("expert/*/shared", "shared"), ("expert/1/*", "private")))
    assert policy.shares("expert/0/shared")
    assert not policy.shares("expert/1/shared")
    assert not policy.shares("gate/ctr")
    assert policy.override([("gate/*", "shared")]).shares("gate/ctr")


def test_a_rule_that_is_given_again_is_the_last():
    rules = [("gate/*", "shared"), ("*", "private"), ("gate/*", "shared")]
    assert sharing.SharingPolicy(()).override(rules).shares("gate/ctr")


@pytest.mark.parametrize("rule", ["embeding/*=private", "gate=private", "tower/ctrr=shared"])
def test_a_rule_that_no_group_matches_is_refused(rule):
    names = ["embedding/user", "gate/ctr", "tower/ctr", "batch_norm/expert_0/norm_0"]
    sharing.require_matching([("embedding/*", "private"), ("batch_norm/*", "shared")], names)
    with pytest.raises(errors.PfrecError, match=re.escape(f"sharing {rule}: there is no such")):
        sharing.require_matching([sharing.parse(rule, "sharing")], names)


def test_batch_normalisation_alone_is_no_match_of_a_rule_that_does_not_reach_it():
    with pytest.raises(errors.PfrecError, match=r"there are batch_norm/numeric"):
        sharing.require_matching([("*", "shared")], ["batch_norm/numeric"])


def test_batch_normalisation_is_shared_only_where_a_rule_names_it():
    assert not ALL_SHARED.shares("batch_norm/expert_0/norm_0")
    assert ALL_SHARED.override([("batch_norm/*", "shared")]).shares("batch_norm/expert_0/norm_0")


def test_an_unknown_rule_is_one_clear_error():
    with pytest.raises(errors.PfrecError, match="gate/ctr=public: not one of private, shared"):
        sharing.SharingPolicy((("gate/ctr", "public"),))


def test_the_table_counts_bytes(schema):
    tagged = groups.tag(mmoe.build(schema, ModelConfig(embedding_dim=4)))
    policy = sharing.SharingPolicy(sharing.feature_rules(schema))
    row = next(row for row in policy.table(tagged) if row["group"] == "embedding/item")
    assert row == {
        "group": "embedding/item",
        "kind": "embedding",
        "leaves": True,
        "shapes": [[10, 4]],
        "bytes": 160,
    }
    assert "embedding/user" in policy.describe(tagged)


def test_feature_rules_follow_the_schema():
    schema = schema_lib.Schema(
        (schema_lib.Categorical("a", 2), schema_lib.Categorical("b", 2, "shared")),
        (),
        (schema_lib.Task("t", "t"),),
    )
    assert sharing.feature_rules(schema) == (("embedding/a", "private"), ("embedding/b", "shared"))


def test_a_saved_value_of_another_shape_or_type_is_refused_by_name():
    item = groups.tag(nested([], "norm"))[0]
    for value in (None, np.zeros(7, np.float32), np.zeros(item.variable.shape, np.float64)):
        with pytest.raises(errors.PfrecError, match=f"run: holds .* for {item.name}"):
            groups.assign(item, value, place="run")
    groups.assign(item, np.ones(item.variable.shape, np.float32), place="run")
    np.testing.assert_array_equal(item.variable, np.ones(item.variable.shape))
