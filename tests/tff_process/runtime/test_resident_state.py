"""The state of a resident training: in workers within a round, in files after it, and restored."""

import concurrent.futures
import pathlib
import weakref

import numpy as np

from pfrec import checkpoint, run_directory
from tests.tff_process.runtime import small_training
from tff_process.runtime import executor, options


def test_restoring_an_earlier_round_gives_the_same_rounds_after_it(
    dataset, workers, a_crew, computations, tmp_path
):
    first = small_training.resident_training(
        dataset, "pf_msmtrec", [workers[0]] * 3, a_crew, computations, tmp_path
    )
    first.train_aggregation_step(0)
    first.train_aggregation_step(1)
    saved = first.to_save()
    assert saved.clients == {}
    expected = first.train_aggregation_step(2).loss
    other = small_training.resident_training(
        dataset, "pf_msmtrec", [workers[1]] * 3, a_crew, computations, tmp_path
    )
    # And as a run of the pure process says it, which has counted ids as it began.
    pure = {name: saved.meta[name] for name in ("participations", "versions")}
    for meta in (saved.meta, pure):
        other.restore(run_directory.RoundState(saved.server, {}, meta))
        assert other.train_aggregation_step(2).loss == expected
        for name, value in first.to_save().server.items():
            np.testing.assert_array_equal(other.to_save().server[name], value)


def test_what_clients_begin_with_is_held_until_the_last_has_trained(
    dataset, workers, a_crew, computations, tmp_path
):
    training = small_training.resident_training(
        dataset, "pf_msmtrec", [workers[0]] * 3, a_crew, computations, tmp_path
    )
    # Of several threads: clients begin at once.
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda client: training._calls.load(client, 0), training.clients))
    begun = [weakref.ref(client.private.reference) for client in training.clients]
    assert begun[0]() is begun[1]() is begun[2]() is not None
    for client in training.clients:
        assert begun[0]() is not None
        client.private = None
    assert begun[0]() is None


def test_a_state_that_is_in_a_file_goes_once_another_is_made_of_it(
    dataset, workers, a_crew, computations, tmp_path
):
    """And is read again where that one is refused; one that is in no file stays."""
    training = small_training.resident_training(
        dataset, "pf_msmtrec", [workers[0]] * 3, a_crew, computations, tmp_path
    )
    training.train_round(0)
    number = training.turns.working(2)[0]
    client, calls = training.clients[number], training._calls

    def train(step):
        return calls.train(client, training.server, training._work(number, step), None)[0]

    before = weakref.ref(client.private.reference)
    made = train(2)
    assert before() is None
    there = client.handle.host.remote
    found = there.fetch(calls._private(client))
    wanted, _ = checkpoint.load(pathlib.Path(client.version_path(client.version)))
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    client.private, client.version = made, client.version + 1
    train(3)
    assert client.private is made


def test_private_states_are_written_once_a_round(dataset, workers, a_crew, computations, tmp_path):
    """Two aggregation steps a round:
    versions of odd number are those of a client that missed the last one, version 0 that of one
    that missed the whole first round.
    """
    training = small_training.resident_training(
        dataset, "pf_msmtrec", [workers[0]] * 3, a_crew, computations, tmp_path
    )
    assert training.aggregation_steps == 2
    expected = {scenario: set() for scenario in dataset.scenarios}
    for round_number in range(3):
        training.train_round(round_number)
        for client, scenario in enumerate(dataset.scenarios):
            took_part = [
                n
                for n in (2 * round_number, 2 * round_number + 1)
                if client in training.turns.participants(n)
            ]
            if took_part:
                expected[scenario].add(f"version_{took_part[-1] + 1:05d}")
            elif not round_number:
                expected[scenario].add("version_00000")
    assert "version_00005" in expected["nl"]
    assert "version_00000" in expected["fr"]
    assert {
        scenario: {path.name for path in (tmp_path / scenario).iterdir()}
        for scenario in dataset.scenarios
    } == expected


def test_a_client_that_cannot_write_at_the_end_of_a_round_goes_on_from_what_it_has(
    dataset, workers, computations, tmp_path
):
    """Client nl is in the first aggregation step of the third round alone, and may be skipped."""
    lenient = executor.ClientExecutor(2, options.SKIP)
    training = small_training.resident_training(
        dataset, "pf_msmtrec", [workers[0]] * 3, lenient, computations, tmp_path
    )
    (tmp_path / "nl" / "version_00005").write_text("in the way")
    for round_number in range(3):
        training.train_round(round_number)
    versions = training.to_save().meta["versions"]
    assert versions == {"es": 6, "fr": 6, "nl": 4}
    assert np.isfinite(training.evaluate("valid")[2]).any()
    lenient.close()
