"""Resident execution against the pure process: the same numbers,
with private state that never passes through the driver.
"""

import os
import pathlib
import signal

import numpy as np
import pytest
import tensorflow_federated as tff

from pfrec import checkpoint, errors, run_directory
from tests.tff_process.runtime import small_training
from tff_process.client import variables
from tff_process.process import federation, spread
from tff_process.process import reference as reference_lib
from tff_process.runtime import (
    guard,
    hosts,
    reference_context,
    remote,
    resident,
)

ROUNDS = 3


def run_rounds(training):
    """What the server holds after each round, and the metrics; notes who trained in each."""
    states, metrics = [], []
    training.trained = []
    for number in range(ROUNDS):
        training.trained.append(training.turns.working(number))
        training.train_aggregation_step(number)
        metrics.append(training.evaluate("valid"))
        if training.finds_spread:
            metrics += [*training.evaluate_spreads("valid", (1.0, *spread.FACTORS))]
        states.append({name: np.array(value) for name, value in training.to_save().server.items()})
    return states, metrics


# Four aggregations are more than the smallest client has batches: it has none in some.
@pytest.fixture(scope="module", params=[("pf_msmtrec", 2), ("apfl", 4)], ids=lambda it: it[0])
def both(request, dataset, workers, a_crew, computations, tmp_path_factory):
    """Three rounds, in each of which one client of three or two are absent, by the pure process,
    by one worker and by two. One client has no labels of the second task.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            federation.Federation,
            "_serves",
            lambda self, client: np.array([1.0, client != 1], np.float32),
        )
        return _both(request, dataset, workers, a_crew, computations, tmp_path_factory)


def _both(request, dataset, workers, a_crew, computations, tmp_path_factory):
    algorithm, aggregations = request.param
    reference_log = tmp_path_factory.mktemp("reference") / "worker.log"
    with (
        reference_context.Worker(reference_log) as running,
        tff.framework.get_context_stack().install(running.context()),
    ):
        reference = reference_lib.FederatedTraining(
            small_training.make_plan(algorithm, aggregations), dataset
        )
        # As it goes on where a resident one was stopped before it had counted ids.
        begun = reference.to_save()
        server = {
            name: np.zeros_like(value) if name.startswith("row_counts/") else value
            for name, value in begun.server.items()
        }
        assert any(np.any(begun.server[name] != value) for name, value in server.items())
        uncounted = {**begun.meta, "counted": False}
        reference.restore(run_directory.RoundState(server, begun.clients, uncounted))
        expected = run_rounds(reference)
    one = small_training.resident_training(
        dataset,
        algorithm,
        [workers[0]] * 3,
        a_crew,
        computations,
        tmp_path_factory.mktemp("one"),
        aggregations,
    )
    two = small_training.resident_training(
        dataset,
        algorithm,
        [workers[0], workers[1], workers[0]],
        a_crew,
        computations,
        tmp_path_factory.mktemp("two"),
        aggregations,
    )
    return reference, expected, one, run_rounds(one), two, run_rounds(two)


def test_equals_the_pure_process_bit_for_bit_with_one_worker_and_two(both):
    _, (expected_states, expected_metrics), _, (states, metrics), _, (two_states, two_metrics) = (
        both
    )
    for expected, one, two in zip(expected_states, states, two_states):
        assert set(expected) == set(one) == set(two)
        for name in expected:
            np.testing.assert_array_equal(one[name], expected[name], err_msg=name)
            np.testing.assert_array_equal(two[name], expected[name], err_msg=name)
    np.testing.assert_array_equal(metrics, expected_metrics)
    np.testing.assert_array_equal(two_metrics, expected_metrics)


def test_a_client_is_told_no_consensus_of_a_task_that_it_has_no_labels_of(both, dataset):
    _, _, one, _, _, _ = both
    if not one.finds_spread:
        pytest.skip("it is told none")
    consensus = one.server.state["consensus"]
    everybody, without = (
        one.server.spreads((1.0, 0.5), serves)["consensus"] for serves in ([1, 1], [1, 0])
    )
    of_task = {
        spec.name
        for spec in one.layout.joined(variables.PERSONAL)
        if spec.kind in variables.TASK_KINDS and spec.member == dataset.schema.tasks[1].name
    }
    assert 0 < len(of_task) < len(consensus)
    for name, value in consensus.items():
        np.testing.assert_array_equal(everybody[name], value)
        np.testing.assert_array_equal(without[name], 0 * value if name in of_task else value)


def test_the_clients_own_files_hold_the_private_state_of_the_pure_process(both, dataset):
    reference, _, one, _, _, _ = both
    assert reference.trained == one.trained
    absent_in_the_last = set(range(3)) - set(one.trained[-1])
    assert absent_in_the_last
    idle = [set(one.turns.participants(n)) - set(one.trained[n]) for n in range(ROUNDS)]
    assert any(idle) == (one.aggregation_steps == 4)
    for number, client in enumerate(one.clients):
        assert (client.version < ROUNDS) == (number in absent_in_the_last)
        values, _ = checkpoint.load(pathlib.Path(client.version_path(client.version)))
        assert set(values) == set(reference._private[number])
        for name, value in reference._private[number].items():
            np.testing.assert_array_equal(values[name], value, err_msg=name)


class Struck(resident.ResidentTraining):
    """A training whose worker is killed before some aggregation steps,
    each time one of `blows` names it.
    """

    def train_aggregation_step(self, number):
        if number in self.blows:
            self.blows.remove(number)
            os.kill(self.clients[0].handle.host.pid, signal.SIGKILL)
        return super().train_aggregation_step(number)


@pytest.fixture
def mortal(tmp_path):
    """A worker of a test's own."""
    host = hosts.LocalHost("mortal", tmp_path / "mortal.log", 2, 120.0)
    host.up()
    yield host
    host.down()


def struck(dataset, host, a_crew, computations, path, blows):
    for scenario in dataset.scenarios:
        (path / scenario).mkdir(parents=True)
    made = Struck(
        small_training.make_plan("pf_msmtrec"),
        dataset,
        [host] * 3,
        lambda scenario: str(path / scenario),
        a_crew,
        cache=computations,
    )
    made.blows = list(blows)
    return made


def test_a_private_state_does_not_keep_the_call_that_made_it(
    dataset, workers, a_crew, computations, tmp_path, monkeypatch
):
    """What is selected of a call that still runs keeps the whole call in the worker, and with its
    arguments the private state before: a client's is selected of one that is over.
    """
    selected, over, kept = [], [], []

    def select(there, source, index, call=remote.Remote.select):
        reference = call(there, source, index)
        selected.append((reference, source))
        if not any(source is one for one in over):
            kept.append(reference)
        return reference

    def fetch_all(there, references, call=remote.Remote.fetch_all):
        values = call(there, references)
        over.extend(source for one, source in selected if any(one is of for of in references))
        return values

    monkeypatch.setattr(remote.Remote, "select", select)
    monkeypatch.setattr(remote.Remote, "fetch_all", fetch_all)
    training = small_training.resident_training(
        dataset, "pf_msmtrec", [workers[0]] * 3, a_crew, computations, tmp_path
    )
    for number in range(2):  # The second one ends the round, where states are written.
        training.train_aggregation_step(number)
        for client in training.turns.participants(number):
            reference = training.clients[client].private.reference
            assert not any(reference is one for one in kept)
    assert kept


def test_messages_count_rounds_and_not_aggregations(
    dataset, workers, a_crew, computations, tmp_path, caplog
):
    hosts_of = [workers[0]] * 3
    training = small_training.resident_training(
        dataset, "pf_msmtrec", hosts_of, a_crew, computations, tmp_path
    )
    training._rules = guard.Rules(min_clients=4)
    training.train_round(0)
    assert "round 1, aggregation 1 of 2: 2 clients accepted of at least 4" in caplog.text
    assert "round 1, aggregation 2 of 2: 2 clients accepted of at least 4" in caplog.text
    assert "round 2" not in caplog.text


@pytest.mark.parametrize("blows", [[1], [3], [2, 3]])
def test_a_round_whose_worker_dies_within_it_is_trained_again_bit_for_bit(
    dataset, workers, mortal, a_crew, computations, tmp_path, blows, caplog
):
    whole = small_training.resident_training(
        dataset, "pf_msmtrec", [workers[0]] * 3, a_crew, computations, tmp_path / "whole"
    )
    hit = struck(dataset, mortal, a_crew, computations, tmp_path / "hit", blows)
    for number in range(2):
        expected, found = whole.train_round(number), hit.train_round(number)
        assert found.loss == expected.loss
    assert "it is trained again from its start" in caplog.text
    assert not hit.blows
    saved, expected = hit.to_save(), whole.to_save()
    assert saved.meta == expected.meta
    for name, value in expected.server.items():
        np.testing.assert_array_equal(saved.server[name], value, err_msg=name)
    for one, other in zip(hit.clients, whole.clients):
        values, wanted = (
            checkpoint.load(pathlib.Path(client.version_path(client.version)))[0]
            for client in (one, other)
        )
        for name, value in wanted.items():
            np.testing.assert_array_equal(values[name], value, err_msg=name)


def test_a_worker_that_always_dies_within_a_round_ends_the_run(
    dataset, mortal, a_crew, computations, tmp_path
):
    training = struck(dataset, mortal, a_crew, computations, tmp_path / "hit", [1, 1, 1])
    with pytest.raises(
        errors.PfrecError,
        match=r"client \w+: its worker was lost in the middle of a round, 3 times",
    ):
        training.train_round(0)
