"""Averages of what is served: by hand, against plain averaging of runs without it, and that
training itself is not touched.
"""

import collections

import numpy as np
import pytest
import tensorflow as tf

from pfrec import errors, sharing
from pfrec.models.config import ModelConfig
from tff_process import plan
from tff_process.algorithms import averaging, base
from tff_process.client import strategy, variables
from tff_process.client import work as work_lib
from tff_process.process import federation
from tff_process.training import pooled

SMALL = ModelConfig(embedding_dim=2, numeric_dim=2, experts=2, expert_units=(3,), tower_units=(2,))


def test_parts_by_hand():
    """With s = 1 the mean of all; with s = 0.25 the fifth aggregation counts half;
    with s = 0 the last alone.
    """
    values, mean = [3.0, 5.0, 13.0], 100.0
    for number, value in enumerate(values, 1):
        mean += averaging.part(tf.constant(number), 1.0).numpy() * (value - mean)
    assert mean == pytest.approx(7.0)
    assert averaging.part(tf.constant(5), 0.25) == 0.5
    assert averaging.part(tf.constant(5), 0.0) == 1.0


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_shares_out_of_range_are_refused(share):
    with pytest.raises(errors.PfrecError, match="average_over"):
        plan.Plan("fedavg", average_over=share)


def counting_algorithm():
    """Each aggregation adds one to the common value w and two to the personal one;
    it keeps in `extra` what w was.
    """

    def aggregate(layout, tasks, state, reports):
        plus = {
            part: {name: value + step for name, value in getattr(state, part).items()}
            for part, step in STEPS.items()
        }
        extra = collections.OrderedDict(before=state.common["w"])
        return base.ServerState(
            state.round + 1, plus["common"], plus["personal"], plus["consensus"], extra
        ), {}

    return base.Algorithm(
        "counting",
        sharing.SharingPolicy(()),
        (),
        aggregate,
        initial_extra=lambda layout, clients: collections.OrderedDict(before=tf.constant(0.0)),
    )


STEPS = {"common": 1.0, "personal": 2.0, "consensus": 2.0}
LAYOUT = variables.ModelVariables(
    tuple(
        variables.VariableSpec(name, "expert", "expert/0/shared", "", (), True, join)
        for name, join in (("w", variables.COMMON), ("p", variables.PERSONAL))
    )
)


def test_server_trains_from_the_values_and_serves_their_average():
    algorithm = averaging.averaged(counting_algorithm(), 1.0)
    state = base.initial_state(algorithm, LAYOUT, 2, {"w": tf.constant(0.0), "p": tf.constant(0.0)})
    for _ in range(3):
        state, _ = algorithm.aggregate(LAYOUT, (), state, None)
    # w was 1, 2 and 3; p was 2, 4 and 6.
    assert state.common["w"] == 2.0
    np.testing.assert_allclose(state.personal["p"], [4.0, 4.0])
    assert state.consensus["p"] == 4.0
    trained = base.training_state(state)
    assert trained.common["w"] == 3.0
    np.testing.assert_allclose(trained.personal["p"], [6.0, 6.0])
    assert (
        state.extra["before"] == 2.0
    )  # the algorithm's own, of the values and not of their average


def test_without_a_share_nothing_is_kept_beside():
    algorithm = counting_algorithm()
    assert averaging.averaged(algorithm, 0.0) is algorithm
    state = base.initial_state(algorithm, LAYOUT, 2, {"w": tf.constant(0.0), "p": tf.constant(0.0)})
    assert list(state.extra) == ["before"]


class Doubling(strategy.Strategy):
    """Doubles its private value."""

    def train(self, model, inputs):
        private = inputs.private
        return work_lib.ClientRound(
            {"v": 2.0 * private["v"], "optimizer/0": private["optimizer/0"]}, {}, 1.0, 0.0
        )


def test_client_averages_what_never_leaves_it():
    layout = variables.ModelVariables(
        (
            variables.VariableSpec(
                "v", "batch_norm", "batch_norm/x", "", (), True, variables.PRIVATE
            ),
        )
    )
    client = averaging.Averaged(Doubling(), 1.0)
    assert [item.name for item in client.kept(layout)] == ["trained/v", "averaged"]
    private = {
        "v": tf.constant(1.0),
        "trained/v": tf.constant(1.0),
        "averaged": tf.constant(0.0),
        "optimizer/0": tf.constant(9.0),
    }
    for _ in range(3):
        inputs = work_lib.ClientInputs(layout, work_lib.TrainingSettings(), {}, {}, private, {})
        private = client.train(None, inputs).private
    # 2, 4 and 8.
    assert float(private["v"]) == pytest.approx(14 / 3)
    assert float(private["trained/v"]) == 8.0
    assert float(private["optimizer/0"]) == 9.0


@pytest.mark.parametrize("algorithm", ["pf_msmtrec", "ditto", "fedadam", "local"])
def test_layouts_of_all_kinds_have_a_trained_copy_of_what_is_served(dataset, algorithm):
    made = federation.Federation(
        plan.Plan(algorithm, batch_size=16, model=SMALL, average_over=0.5), dataset
    )
    names = {item.name for item in made.algorithm.client.kept(made.layout)}
    served = {spec.name for spec in made.layout.joined(variables.PRIVATE)} | (
        names & {spec.name for spec in made.layout.specs}
    )
    assert {f"trained/{name}" for name in served} <= names
    assert made._initial[f"trained/{min(served)}"] is made._initial[min(served)]


def test_pooled_training_serves_the_mean_of_its_parts(dataset):
    """With a share of 1 the mean over the parts of a round of the run that serves the last;
    training goes on alike.
    """
    asked = {
        "batch_size": 16,
        "model": SMALL,
        "aggregations": 1,
        "aggregate_every": 10**6,
        "learning_rate": 0.01,
    }
    last = pooled.PooledTraining(plan.Plan("pooled_mmoe", average_over=0.0, **asked), dataset)
    mean = pooled.PooledTraining(plan.Plan("pooled_mmoe", average_over=1.0, **asked), dataset)
    seen = []
    for number in range(3):
        last.train_round(number)
        mean.train_round(number)
        if number == 1:
            # What a resumed run goes on from.
            saved, mean = (
                mean.to_save(),
                pooled.PooledTraining(plan.Plan("pooled_mmoe", average_over=1.0, **asked), dataset),
            )
            mean.restore(saved)
        seen.append(last.to_save().server)
    found = mean.to_save().server
    for name in [name for name in found if name.startswith("common/")]:
        np.testing.assert_allclose(
            found[name], np.mean([one[name] for one in seen], axis=0), rtol=1e-4, atol=1e-6
        )
        np.testing.assert_allclose(
            found[name.replace("common/", "trained/")], seen[-1][name], rtol=1e-5, atol=1e-7
        )
