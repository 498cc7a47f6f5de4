"""The private steps of a client, with what it answers in them replaced: by which seeds they draw,
what of the model they leave out, and what they do beside.
"""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from pfrec.data import schema as schema_lib
from tests.tff_process.privacy.one_client import ITEM, SECRET, Client
from tff_process.client import variables
from tff_process.client import work as work_lib
from tff_process.privacy import client as client_lib
from tff_process.privacy import sampled_gaussian, soundness

# Rows are read by functions of `tf.data`, which are a graph in any case.
pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config:UserWarning")


@pytest.fixture(scope="module")
def client(dataset):
    return Client("fedavg", dataset)


@pytest.fixture
def asked(monkeypatch):
    """What answered in each step, and by which seed; gradients are zeros."""
    found = []

    def sums(self, model, names, rows, seed):
        found.append((self, tuple(seed.numpy())))
        return {name: tf.zeros_like(model.variables[name]) for name in names}

    monkeypatch.setattr(sampled_gaussian.SampledGaussian, "sums", sums)
    tf.config.run_functions_eagerly(True)
    yield found
    tf.config.run_functions_eagerly(False)


def seeds_of(client, asked, **question):
    asked.clear()
    client.train(**question)
    return [seed for _, seed in asked]


@pytest.mark.parametrize(
    "changed",
    [
        *("seed", "first_step", "steps", "secret", "scenario", "incoming", "private"),
        *("rate", "deviation", "batch", "learning_rate", "context", "consensus"),
    ],
)
def test_every_step_of_every_question_draws_by_a_seed_of_its_own(
    client, asked, changed, monkeypatch
):
    """Were one drawn by twice, the difference of two answers would have no noise in it."""
    monkeypatch.setattr(client, "consensus", {ITEM: tf.constant(client.incoming[ITEM])})
    first = seeds_of(client, asked)
    assert len(set(first)) == 2
    assert seeds_of(client, asked, home_steps=0) == first
    slot = next(n for n in client.private if n.startswith(client_lib.RELEASED_OPTIMIZER))
    question = {
        **{"seed": {"seed": 2}, "first_step": {"first_step": 1}, "steps": {"steps": 3}},
        **{"secret": {"secret": np.array([5, 18])}, "scenario": {"scenario": "es"}},
        "incoming": {"incoming": {**client.incoming, ITEM: client.incoming[ITEM] + 1e-6}},
        "private": {"private": {**client.private, slot: client.private[slot] + np.float32(1e-6)}},
        "rate": {"own": {"rate": tf.constant(0.125, tf.float64)}},
        **{
            name: {"own": {name: tf.constant(0.25)}}
            for name in ("deviation", "batch", "learning_rate")
        },
    }.get(changed, {})
    if changed == "context":
        monkeypatch.setattr(client.strategy, "_context", "of another plan")
    elif changed == "consensus":
        monkeypatch.setattr(client, "consensus", {ITEM: client.consensus[ITEM] + 1e-6})
    assert not set(seeds_of(client, asked, **question)) & set(first)


def test_steps_answer_by_the_budget_and_the_mechanism(client, asked, monkeypatch):
    made = dataclasses.replace(client.made.mechanism, unit=soundness.GROUP, sparse_rows=7)
    monkeypatch.setattr(client.strategy, "_mechanism", made)
    client.train()
    budget, (answering, _) = made.budgets[0], asked[0]
    assert float(answering.rate) == budget.rate
    assert float(answering.deviation) == pytest.approx(budget.noise * made.clip)
    assert float(answering.divisor) == budget.batch
    assert answering.clip == made.clip
    assert (answering.unit, answering.sparse_rows) == (soundness.GROUP, 7)
    assert answering.absent == {"user"}


def test_the_pull_is_towards_the_consensus(client, asked, monkeypatch):
    """Adam's first step is as long as its rate, whatever the weight of the pull."""
    monkeypatch.setattr(client, "settings", work_lib.TrainingSettings(50, proximal=1e-3))
    name = "tower/ctr/tower_ctr/logit/kernel"
    monkeypatch.setattr(client, "consensus", {name: tf.constant(client.incoming[name] + 1.0)})
    upload, _, _ = client.train(steps=1)
    np.testing.assert_allclose(upload[name], client.incoming[name] + 0.05, rtol=1e-2)
    np.testing.assert_array_equal(upload[ITEM], client.incoming[ITEM])


def test_columns_that_the_clients_own_rows_normalise_are_absent(client):
    """And no others: what is agreed tells nothing of its rows."""
    schema = schema_lib.Schema(
        categorical=(),
        numerical=(
            schema_lib.Numerical("price", normalise="standard"),
            schema_lib.Numerical("age", shift=40.0, scale=10.0),
        ),
        tasks=(schema_lib.Task("click", "click"),),
    )
    strategy = client_lib.PrivateTraining(client.made.mechanism, schema, 0.25, "", 0.05)
    assert strategy.absent(client.layout) == {"user", "price"}


def test_numbers_are_normalised_by_nobodys_rows():
    def spec(name, trainable):
        shape = (2,)
        return variables.VariableSpec(name, "batch_norm", "g", "m", shape, trainable, "private")

    found = client_lib.agreed_scales(
        variables.ModelVariables(
            (spec("x/moving_mean", False), spec("x/moving_variance", False), spec("x/gamma", True))
        )
    )
    assert {name: value.numpy().tolist() for name, value in found.items()} == {
        "x/moving_mean": [0.0, 0.0],
        "x/moving_variance": [1.0, 1.0],
    }


def test_a_silos_own_budget_is_the_only_one_whatever_its_number(client):
    made = client.made.mechanism
    alone = dataclasses.replace(made, budgets=made.budgets[1:2])
    strategy = client_lib.PrivateTraining(alone, client.dataset.schema, 0.25, "", 0.05)
    one = strategy.own_work(tf.constant(1), tf.constant(SECRET))
    of_all = client.strategy.own_work(tf.constant(1), tf.constant(SECRET))
    assert float(of_all["rate"]) != made.budgets[0].rate
    assert int(one["home_epoch_steps"]) == made.budgets[1].home_epoch_steps
    for name, value in of_all.items():
        np.testing.assert_array_equal(one[name], value)
