"""Pooled training in a loop of a graph, here or in a worker, is what a plain loop makes of the same
batches.
"""

import contextlib
import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from pfrec import evaluation, groups, store
from pfrec.data.dataset import pipeline
from pfrec.models import networks
from tests import small_model
from tff_process import plan as plan_lib
from tff_process.process import computations
from tff_process.runtime import calls, hosts
from tff_process.training import loop, pooled

PLAN = plan_lib.Plan(
    "pooled_mmoe",
    rounds=2,
    batch_size=60,
    aggregations=2,
    weight_decay=0.0,
    model=small_model.SHAPE,
)


def made(plan, dataset):
    """The network and its ranker as they begin."""
    network = networks.build(
        plan.name, dataset.schema, plan.model, plan.seed, len(dataset.scenarios)
    )
    return network, networks.make_ranker(network, dataset.schema)


def batches_of(plan, dataset):
    """Those of the first round."""
    shards = [
        (shard, number)
        for number, scenario in enumerate(dataset.scenarios)
        for shard in dataset.shards(scenario, "train")
    ]
    steps = pipeline.steps_per_epoch(
        sum(dataset.rows(scenario, "train") for scenario in dataset.scenarios), plan.batch_size
    )
    return pipeline.training_batches(
        tf.constant([shard for shard, _ in shards]),
        dataset.schema,
        plan.batch_size,
        seed=pipeline.stream_seed(plan.seed, 0),
        first_step=0,
        steps=steps,
        epoch_steps=steps,
        scenarios=tf.constant([number for _, number in shards]),
    )


def plain_loop(plan, dataset):
    """The values of the network's variables after a round, and the loss of each batch."""
    network, ranker = made(plan, dataset)
    optimizer = tf.keras.optimizers.legacy.Adam(plan.learning_rate)

    @tf.function(autograph=False)
    def step(batch):
        with tf.GradientTape() as tape:
            loss = ranker.compute_loss(batch, training=True)
        trained = network.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, trained), trained))
        return loss

    losses = [float(step(batch)) for batch in batches_of(plan, dataset)]
    return {item.name: item.variable.numpy() for item in groups.tag(network)}, losses


@pytest.mark.parametrize("algorithm", ["pooled_mmoe", "pooled_star", "pooled_esmm"])
def test_a_round_is_that_of_a_plain_loop(algorithm, dataset):
    # Where a norm follows, a bias has no slope but rounding, of which Adam makes steps; the MMoE's
    # is zero exactly.
    model = dataclasses.replace(PLAN.model, batch_norm=algorithm == "pooled_mmoe")
    plan = dataclasses.replace(PLAN, algorithm=algorithm, model=model)
    expected, losses = plain_loop(plan, dataset)
    training = pooled.PooledTraining(plan, dataset)
    report = training.train_round(0)
    assert training._parts == 2
    assert report.loss["pooled"] == pytest.approx(np.mean(losses), rel=1e-5)
    for name, value in expected.items():
        np.testing.assert_allclose(
            training._trained[name], value, rtol=2e-3, atol=2e-5, err_msg=name
        )


def test_each_scenario_is_evaluated_by_its_own_parts_on_its_own_rows(dataset):
    plan = dataclasses.replace(PLAN, algorithm="pooled_star")
    network, _ = made(plan, dataset)

    found = pooled.PooledTraining(plan, dataset).evaluate("valid")

    for number, scenario in enumerate(dataset.scenarios):

        def own(batch, training, number=number):
            rows = tf.shape(batch["categorical"])[0]
            return network({**batch, "scenario": tf.fill([rows], number)}, training=training)

        expected = evaluation.Evaluator(own, dataset.schema)(dataset.shards(scenario, "valid"))
        np.testing.assert_allclose(found[number], expected, rtol=1e-6)
    assert len({value.tobytes() for value in found}) == len(dataset.scenarios)


def test_the_optimizer_counts_the_batches(dataset):
    training = pooled.PooledTraining(PLAN, dataset)
    for number in range(2):
        training.train_round(number)
        steps = training.to_save().server["optimizer/0000"]
        assert steps.dtype == np.int64
        assert steps == (number + 1) * training.round_steps


def test_moments_are_saved_in_pairs_in_the_order_of_the_networks_variables(dataset):
    """As Keras's Adam had them, so that earlier runs go on."""
    model = dataclasses.replace(PLAN.model, batch_norm=False)
    plan = dataclasses.replace(PLAN, algorithm="pooled_star", batch_size=1_000, model=model)
    network, ranker = made(plan, dataset)
    (batch,) = batches_of(plan, dataset)
    with tf.GradientTape() as tape:
        loss = ranker.compute_loss(batch, training=True)
    gradients = tape.gradient(loss, network.trainable_variables)
    training = pooled.PooledTraining(plan, dataset)
    training.train_round(0)
    saved = training.to_save()
    of_adam = [saved.server[name] for name in sorted(saved.server) if name.startswith("optimizer/")]
    assert len(of_adam) == 1 + 2 * len(gradients)
    for i, gradient in enumerate(map(tf.convert_to_tensor, gradients)):
        first, second = of_adam[2 * i + 1 : 2 * i + 3]
        np.testing.assert_allclose(first, 0.1 * gradient, rtol=1e-3, atol=1e-7)
        np.testing.assert_allclose(second, 1e-3 * gradient**2, rtol=2e-3, atol=1e-9)
    slots = {name: np.array(value) for name, value in training._slots.items()}
    training._slots = {name: np.zeros_like(value) for name, value in slots.items()}
    training.restore(saved)
    for name, value in slots.items():
        np.testing.assert_array_equal(training._slots[name], value)


@contextlib.contextmanager
def in_a_worker(plan, dataset, log):
    """A training in a worker of its own, and the worker's host."""
    host = hosts.LocalHost("the worker", log, 1, 120.0, threads=1)
    try:
        training = pooled.PooledTraining(
            plan, dataset, calling=lambda function: calls.WorkerFunction(host, function)
        )
        host.up()
        yield training, host
    finally:
        host.down()


def test_a_worker_that_is_lost_changes_nothing(dataset, tmp_path):
    outcome = loop.train(PLAN, dataset, tmp_path / "run")
    assert (tmp_path / "run" / "logs" / "worker.log").exists()
    saved = outcome.run.load(2).server
    with in_a_worker(PLAN, dataset, tmp_path / "log") as (training, host):
        training.train_round(0)
        host._process.kill()
        training.train_round(1)
    assert host.generation == 2
    found = training.to_save().server
    for name, value in saved.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_large_values_and_weights_pass_in_parts(dataset, tmp_path, monkeypatch):
    plan = dataclasses.replace(PLAN, task_weights="ctr=2", positive_weights="cvr=3")
    training = pooled.PooledTraining(plan, dataset)
    training.train_round(0)
    monkeypatch.setattr(calls, "_TOGETHER", 1)
    with in_a_worker(plan, dataset, tmp_path / "log") as (other, _):
        other.train_round(0)
    assert list(other._slots) == list(training._slots)
    for name, value in training._trained.items():
        np.testing.assert_allclose(other._trained[name], value, rtol=1e-3, atol=1e-5, err_msg=name)


def test_nothing_is_traced_twice(dataset, tmp_path, monkeypatch):
    """Neither for another seed, rate or number of parts, nor for the weights of a task."""
    monkeypatch.setenv(store.VARIABLE, str(tmp_path / "cache"))
    weighted = dataclasses.replace(PLAN, task_weights="ctr=2")
    first = pooled.PooledTraining(weighted, dataset).train_round(0)
    monkeypatch.setattr(computations.Body, "trace", None)
    assert pooled.PooledTraining(weighted, dataset).train_round(0) == first
    changes = {"task_weights": "cvr=3", "learning_rate": 1e-2, "seed": 5, "aggregations": 1}
    changed = dataclasses.replace(weighted, **changes)
    assert pooled.PooledTraining(changed, dataset).train_round(0) != first
    with pytest.raises(TypeError):  # What is not kept is traced.
        pooled.PooledTraining(dataclasses.replace(weighted, batch_size=50), dataset)
