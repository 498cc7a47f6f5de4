"""What noise would not cover is refused, with the reason."""

import dataclasses

import pytest

from pfrec import errors
from pfrec.data import schema as schema_lib
from pfrec.models.config import ModelConfig
from tff_process import plan as plan_lib
from tff_process.algorithms import registry
from tff_process.client import strategy
from tff_process.privacy import soundness

SOUND = {
    "clustered",
    "fedadam",
    "fedamp",
    "fedavg",
    "fedbn",
    "fedhca2",
    "fedper",
    "fedprox",
    "fedyogi",
    "pf_msmtrec",
}


def test_a_strategy_of_ones_own_is_refused_for_what_it_may_do(schema):
    class Mine(strategy.Strategy):
        pass

    made = dataclasses.replace(registry.find("fedavg").build(schema), client=Mine())
    with pytest.raises(errors.PfrecError, match=r"a Strategy of its own, which may .* \(Mine\)"):
        soundness.check_algorithm(made, 3)


@pytest.mark.parametrize("name", sorted(registry.FEDERATED))
def test_algorithms_whose_clients_train_once_for_what_they_send(name, schema):
    algorithm = registry.find(name).build(schema)
    uploads = 0 if name == "local" else 3
    if name in SOUND:
        soundness.check_algorithm(algorithm, uploads)
        return
    reason = "nothing that is trained leaves" if name == "local" else "noise in what they send"
    with pytest.raises(errors.PfrecError, match=reason):
        soundness.check_algorithm(algorithm, uploads)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"lazy_adam": True}, "which rows of a table move"),
        ({"model": ModelConfig(dropout=0.1)}, "--dropout"),
        ({"model": ModelConfig(template="additive")}, "without noise"),
        ({"algorithm": "pooled_mmoe"}, "--algorithm"),
    ],
)
def test_settings_that_do_not_go_with_it(changed, message):
    given = {"algorithm": "fedavg", **changed}
    plan_lib.Plan(**given)
    with pytest.raises(errors.PfrecError, match=message):
        plan_lib.Plan(**given, dp_epsilon=3.0)


def test_it_says_nothing_else_and_normalises_no_batch():
    plan = plan_lib.Plan("pf_msmtrec", dp_epsilon=3.0)
    assert set(plan.withhold) == {"loss", "metrics", "row_counts"}
    assert not plan.model.batch_norm
    assert plan_lib.Plan.from_json(plan.to_json()) == plan
    without = dataclasses.replace(plan, dp_epsilon=0.0, model=ModelConfig(), withhold=())
    assert without == plan_lib.Plan("pf_msmtrec")


def test_batches_are_large():
    plan = plan_lib.Plan("fedavg", dp_epsilon=3.0)
    assert plan.fitting([17_000, 16_000]).batch_size == 4096
    assert plan.fitting([4_000, 2_144]).batch_size == 1024  # A third of the mean, 3,072.
    assert plan.fitting([4_000, 2_142]).batch_size == 512
    assert plan.fitting([10**6]).batch_size == 8192
    assert plan.fitting([100]).batch_size == 32
    assert plan_lib.Plan("fedavg").fitting([17_000, 16_000]).batch_size == 256


def test_settings_that_a_clipped_gradient_does_not_know():
    for name in ("task_weights", "positive_weights"):
        with pytest.raises(errors.PfrecError, match=f"--{name}: a row's gradient is clipped"):
            plan_lib.Plan("fedavg", dp_epsilon=3.0, **{name: "click=2"})


@pytest.mark.parametrize(
    ("feature", "weight", "message"),
    [
        ({"table": "item"}, None, "last reads the table of item"),
        ({"table": "item", "pooling": "attention"}, None, "last reads the table of item"),
        ({}, "importance", "rows have weights"),
    ],
)
def test_features_whose_gradients_norm_is_not_known(feature, weight, message):
    made = schema_lib.Schema(
        categorical=(
            schema_lib.Categorical("item", 9, values=1),
            schema_lib.Categorical("last", 9, values=4, separator="|", **feature),
        ),
        numerical=(),
        tasks=(schema_lib.Task("click", "click"),),
        weight=weight,
    )
    with pytest.raises(errors.PfrecError, match=message):
        soundness.check_schema(made)
    plain = dataclasses.replace(made, categorical=made.categorical[:1], weight=None)
    soundness.check_schema(plain)


def test_groups_are_protected_where_there_are_some_and_nothing_pulls(schema):
    with pytest.raises(errors.PfrecError, match="names no group"):
        soundness.check_schema(dataclasses.replace(schema, group=None), soundness.GROUP)
    soundness.check_schema(dataclasses.replace(schema, group="user"), soundness.GROUP)
    prox = registry.find("fedprox").build(schema)
    soundness.check_algorithm(prox, 3)
    with pytest.raises(errors.PfrecError, match="how its pull compares"):
        soundness.check_algorithm(prox, 3, soundness.GROUP)
