"""Resident execution against the pure process: the same numbers, with private state that never passes through the driver."""

import pathlib

import numpy as np
import pytest
import tensorflow_federated as tff

from pfrec import checkpoint, run_directory
from pfrec.models.config import ModelConfig
from tff_process import federated, plan, worker
from tff_process.runtime import crew, hosts, resident

SMALL = ModelConfig(
    embedding_dim=3, numeric_dim=2, experts=2, expert_units=(4,), tower_units=(3,), dropout=0.1, template="additive", rank=2
)
ROUNDS = 3


def make_plan(algorithm):
    return plan.Plan(algorithm, batch_size=40, participation=0.67, model=SMALL)


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    """Two workers, which all trainings of this module use."""
    log = tmp_path_factory.mktemp("logs")
    made = [hosts.LocalHost(f"worker {i}", log / f"{i}.log", 2, 120.0) for i in range(2)]
    for host in made:
        host.up()
    yield made
    for host in made:
        host.down()


@pytest.fixture(scope="module")
def a_crew():
    made = crew.Crew(2)
    yield made
    made.close()


def resident_training(dataset, algorithm, client_hosts, a_crew, path):
    for scenario in dataset.scenarios:
        (path / scenario).mkdir(parents=True, exist_ok=True)
    return resident.ResidentTraining(make_plan(algorithm), dataset, client_hosts, lambda scenario: str(path / scenario), a_crew)


def run_rounds(training):
    """What the server holds after each round, and the metrics."""
    states, metrics = [], []
    for number in range(ROUNDS):
        training.train_round(number)
        metrics.append(training.evaluate("valid"))
        states.append({name: np.array(value) for name, value in training.to_save().server.items()})
    return states, metrics


@pytest.fixture(scope="module", params=["pf_msmtrec", "apfl"])
def both(request, dataset, workers, a_crew, tmp_path_factory):
    """Three rounds, in each of which one client of three is absent, by the pure process, by one worker and by two."""
    algorithm = request.param
    reference_log = tmp_path_factory.mktemp("reference") / "worker.log"
    with worker.Worker(reference_log) as running, tff.framework.get_context_stack().install(running.context()):
        reference = federated.FederatedTraining(make_plan(algorithm), dataset)
        expected = run_rounds(reference)
    one = resident_training(dataset, algorithm, [workers[0]] * 3, a_crew, tmp_path_factory.mktemp("one"))
    two = resident_training(dataset, algorithm, [workers[0], workers[1], workers[0]], a_crew, tmp_path_factory.mktemp("two"))
    return reference, expected, one, run_rounds(one), two, run_rounds(two)


def test_equals_the_pure_process_bit_for_bit_with_one_worker_and_two(both):
    _, (expected_states, expected_metrics), _, (states, metrics), _, (two_states, two_metrics) = both
    for expected, one, two in zip(expected_states, states, two_states):
        assert set(expected) == set(one) == set(two)
        for name in expected:
            np.testing.assert_array_equal(one[name], expected[name], err_msg=name)
            np.testing.assert_array_equal(two[name], expected[name], err_msg=name)
    np.testing.assert_array_equal(metrics, expected_metrics)
    np.testing.assert_array_equal(two_metrics, expected_metrics)


def test_the_clients_own_files_hold_the_private_state_of_the_pure_process(both, dataset):
    reference, _, one, _, _, _ = both
    absent_in_the_last = set(range(3)) - set(reference.participants(ROUNDS - 1))
    assert absent_in_the_last
    for number, client in enumerate(one.clients):
        assert (client.version < ROUNDS) == (number in absent_in_the_last)
        values, _ = checkpoint.load(pathlib.Path(client.version_path(client.version)))
        assert set(values) == set(reference._private[number])
        for name, value in reference._private[number].items():
            np.testing.assert_array_equal(values[name], value, err_msg=name)


def test_restoring_an_earlier_round_gives_the_same_rounds_after_it(dataset, workers, a_crew, tmp_path):
    first = resident_training(dataset, "pf_msmtrec", [workers[0]] * 3, a_crew, tmp_path)
    first.train_round(0)
    first.train_round(1)
    saved = first.to_save()
    assert saved.clients == {}
    expected = first.train_round(2).loss
    other = resident_training(dataset, "pf_msmtrec", [workers[1]] * 3, a_crew, tmp_path)
    other.restore(run_directory.RoundState(saved.server, {}, saved.meta))
    assert other.train_round(2).loss == expected
    for name, value in first.to_save().server.items():
        np.testing.assert_array_equal(other.to_save().server[name], value)
