"""A scenario's model is found again in a run, whatever the algorithm;
in pooled training every row comes with its scenario.
"""

import numpy as np
import pytest
import tensorflow as tf

from pfrec import evaluation, metrics, run_directory, run_model
from pfrec.data.dataset import pipeline
from pfrec.models.config import ModelConfig
from tff_process import plan
from tff_process.training import loop

SHAPE = ModelConfig(
    embedding_dim=3, numeric_dim=2, experts=2, expert_units=(4,), tower_units=(3,), dropout=0.1
)


def batches(dataset, **more):
    shards = [
        shard for scenario in dataset.scenarios for shard in dataset.shards(scenario, "train")
    ]
    numbers = {"seed": 3, "first_step": 2, "steps": 6, "epoch_steps": 5}
    return list(
        pipeline.training_batches(tf.constant(shards), dataset.schema, 100, **numbers, **more)
    )


def test_the_scenario_travels_with_its_rows_and_changes_no_order(dataset):
    numbers = tf.constant(
        [
            n
            for n, scenario in enumerate(dataset.scenarios)
            for _ in dataset.shards(scenario, "train")
        ]
    )
    rows_of = {n: set() for n in range(3)}
    for number, scenario in enumerate(dataset.scenarios):
        for batch in pipeline.evaluation_batches(
            tf.constant(dataset.shards(scenario, "train")), dataset.schema
        ):
            rows_of[number] |= {row.tobytes() for row in batch["numerical"].numpy()}
    plain, told = batches(dataset), batches(dataset, scenarios=numbers)
    assert len(plain) == len(told) == 6
    for a, b in zip(plain, told):
        assert set(b) - set(a) == {"scenario"}
        for name, value in a.items():
            np.testing.assert_array_equal(value, b[name], err_msg=name)
        for scenario, row in zip(b["scenario"].numpy(), b["numerical"].numpy()):
            assert row.tobytes() in rows_of[scenario]


@pytest.mark.parametrize("algorithm", ["pooled_star", "apfl"])
def test_a_finished_run_evaluates_afresh_to_the_same(algorithm, dataset, tmp_path):
    """STAR's model of a scenario needs no scenario as an input; of the three models that APFL's
    clients hold, it is the mixture.
    """
    outcome = loop.train(
        plan.Plan(algorithm, rounds=1, batch_size=50, model=SHAPE, learning_rate=1e-2),
        dataset,
        tmp_path / "run",
    )
    run = run_directory.open_run(tmp_path / "run")
    for scenario in dataset.scenarios:
        evaluator = evaluation.Evaluator(run_model.load(run, scenario), dataset.schema)
        found = evaluator(tf.constant(dataset.shards(scenario, "test"))).numpy()
        expected = [
            [outcome.summary["test"][scenario][task.name][metric] for metric in ("auc", "logloss")]
            for task in dataset.schema.tasks
        ]
        columns = [metrics.METRICS.index(metric) for metric in ("auc", "logloss")]
        # Clients tell their metrics to four decimals.
        atol = 1e-6 if algorithm == "pooled_star" else 5.1e-5
        np.testing.assert_allclose(found[:, columns], expected, rtol=0, atol=atol)
