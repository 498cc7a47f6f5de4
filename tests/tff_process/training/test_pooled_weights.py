"""Pooled training weighs rows as its federated kin do, scenario by scenario."""

import dataclasses

import numpy as np
import pytest

from pfrec.models.config import ModelConfig
from tff_process import plan as plan_lib
from tff_process.training import pooled

SHAPE = ModelConfig(embedding_dim=2, numeric_dim=2, experts=1, expert_units=(3,), tower_units=())
PLAN = plan_lib.Plan("pooled_mmoe", rounds=2, batch_size=60, aggregations=2, model=SHAPE)


def test_a_weight_of_all_scales_the_loss_and_one_of_a_scenario_its_rows(dataset):
    def first_loss(**settings):
        # So small a rate that nothing moves.
        made = dataclasses.replace(PLAN, learning_rate=1e-9, **settings)
        return pooled.PooledTraining(made, dataset).train_round(0).loss["pooled"]

    plain = first_loss()
    assert first_loss(task_weights="ctr=1") == plain
    assert first_loss(task_weights="ctr=2,cvr=2") == pytest.approx(2 * plain, rel=1e-4)
    every = ",".join(f"{name}/{task}=3" for name in dataset.scenarios for task in ("ctr", "cvr"))
    assert first_loss(task_weights=every) == pytest.approx(3 * plain, rel=1e-4)
    one = first_loss(task_weights="nl/ctr=3,nl/cvr=3")
    assert plain < one < 3 * plain
    assert plain < first_loss(positive_weights="ctr=3") < 3 * plain


def test_the_rate_follows_the_schedule(dataset):
    made = dataclasses.replace(PLAN, learning_rate=0.01, schedule="cosine")
    training = pooled.PooledTraining(made, dataset)
    # The second of four parts: x is 1/4.
    rate = training.work_of(0, 1, 1, 1)["learning_rate"]
    np.testing.assert_allclose(rate, 0.01 * 0.5 * (1 + np.cos(np.pi / 4)), rtol=1e-6)
