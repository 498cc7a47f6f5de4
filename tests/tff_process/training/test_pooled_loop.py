"""Pooled training in a loop of the graph is what Keras's own loop makes of the same batches."""

import numpy as np
import tensorflow as tf

from pfrec.data.dataset import pipeline
from pfrec.models.config import ModelConfig
from tff_process import plan as plan_lib
from tff_process.training import pooled

SHAPE = ModelConfig(embedding_dim=2, numeric_dim=2, experts=2, expert_units=(4,), tower_units=(3,))
PLAN = plan_lib.Plan("pooled_mmoe", rounds=2, batch_size=60, aggregations=2, model=SHAPE)


def test_a_round_is_that_of_keras_bit_for_bit(dataset):
    own, kept = (pooled.PooledTraining(PLAN, dataset) for _ in range(2))
    own.train_round(0)
    assert own._parts == 2
    kept._ranker.compile(optimizer=kept._optimizer)
    kept._optimizer.learning_rate.assign(PLAN.learning_rate)
    batches = pipeline.training_batches(
        tf.constant(kept._shards),
        dataset.schema,
        PLAN.batch_size,
        seed=pipeline.stream_seed(PLAN.seed, 0),
        first_step=0,
        steps=kept.round_steps,
        epoch_steps=kept._epoch_steps,
        scenarios=tf.constant(kept._scenario_of_shard),
    )
    kept._ranker.fit(batches, epochs=1, verbose=0)
    for name, value in own._trained.items():
        np.testing.assert_array_equal(value, kept._variables[name].numpy(), err_msg=name)


def test_the_optimizer_counts_the_batches_and_no_end_of_data(dataset):
    """Keras's loop counts the call in which it finds that there is no further batch."""
    training = pooled.PooledTraining(PLAN, dataset)
    for number in range(2):
        training.train_round(number)
        assert training._optimizer.iterations.numpy() == (number + 1) * training.round_steps


def test_the_loss_is_the_mean_over_the_batches(dataset):
    training = pooled.PooledTraining(PLAN, dataset)
    losses = []
    step = training._step

    def noted(batch):
        loss = step(batch)
        tf.py_function(lambda value: losses.append(float(value)), [loss], [])
        return loss

    training._step = noted
    report = training.train_round(0)
    assert len(losses) == training.round_steps
    np.testing.assert_allclose(report.loss["pooled"], np.mean(losses), rtol=1e-6)
