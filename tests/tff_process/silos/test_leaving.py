"""What has left counts under its own agreement, before and after the silo starts again."""

import dataclasses

import numpy as np
import pytest
from tensorflow_federated.proto.v0 import computation_pb2, executor_pb2

from tests.tff_process.silos import stand_in_worker as stand_in
from tff_process.privacy import mechanism
from tff_process.silos import gatekeeper as gatekeeper_lib
from tff_process.silos import labels, leaving, sessions, values


def report(driver, worker, value=1.0, asked=None):
    """Trains and fetches the report."""
    worker.answers = [stand_in.report(value)]
    return driver.fetch(driver.select(driver.train(asked=asked), 1))


def again(silo, **changed):
    """A driver of the silo as it starts again."""
    _, worker, book = silo
    return stand_in.Driver(gatekeeper_lib.Gatekeeper(stand_in.terms(**changed), worker, book))


def test_what_left_holds_after_a_restart(silo, driver):
    report(driver, silo[1], asked=stand_in.work(0, 5))
    restarted = again(silo)
    with stand_in.refused("a report of steps 0 to 5 of the same batches has left"):
        restarted.value(stand_in.work(0, 10))
    restarted.value(stand_in.work(5, 5))
    # Nor under a further agreement to the same plan: reports of 10 and of 5 batches from the same
    # values tell of 5 alone, where each has 10 behind it.
    with stand_in.refused("a report of steps 0 to 5 of the same batches has left"):
        again(silo, agreement_digest="cc" * 32).value(stand_in.work(0, 10))


def changed_work(data="d", **changed):
    known = stand_in.terms().receivable
    client = {**known.client, "data": known.client["data"] if data == "d" else data}
    return dataclasses.replace(
        known, work=dataclasses.replace(known.work, **changed), client=client
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"plan_digest": "cc" * 32},  # As of more rounds, or of another pfrec.
        {"receivable": changed_work(steps=10)},
        {"receivable": changed_work(round_steps=40)},
        {"receivable": changed_work(rounds=8)},
    ],
)
def test_the_same_batches_are_cut_the_same_whatever_else_is_agreed(silo, driver, changed):
    report(driver, silo[1], asked=stand_in.work(0, 5))
    with stand_in.refused("a report of steps 0 to 5 of the same batches has left"):
        again(silo, agreement_digest="cc" * 32, **changed).value(stand_in.work(0, 10))


@pytest.mark.parametrize("changed", [{"data": "d2"}, {"batch_size": 8}, {"seed": 4}])
def test_other_batches_are_cut_as_they_are_asked_for(silo, driver, changed):
    report(driver, silo[1], asked=stand_in.work(0, 5))
    other = changed_work(**changed)
    work = stand_in.work(0, 10, seed=changed["seed"]) if "seed" in changed else stand_in.work(0, 10)
    again(silo, receivable=other).value(work)


def test_reports_of_before_batches_were_noted_hold_under_their_agreement(silo, driver):
    book = silo[2]
    book.append(labels.REPORT, "bb" * 32, work=[0, 5])
    with stand_in.refused("a report of steps 0 to 5 of the same batches has left"):
        again(silo).value(stand_in.work(0, 10))
    again(silo, agreement_digest="cc" * 32).value(stand_in.work(0, 10))


def test_what_left_under_another_agreement_is_not_counted_in_this_one(silo, driver):
    _, worker, book = silo
    for number in range(8):
        report(driver, worker, number)
    with stand_in.refused("report after"):
        report(driver, worker)
    other = again(silo, agreement_digest="cc" * 32)
    for number in range(8):
        report(other, worker, number)
    with stand_in.refused("report after"):
        report(other, worker)
    assert len(book.entries) == 16


def test_trainings_that_began_count_after_a_restart(silo, driver):
    def write(of, training):
        place = of.text(f"runs/{training}/version_00000")
        return of.call("write", of.struct(private=of.private(), directory=place))

    write(driver, stand_in.ID)
    restarted = again(silo)
    write(restarted, stand_in.ID)
    with stand_in.refused("the agreement's 1 have begun; its owner.*--trainings=2 or more"):
        write(restarted, "f" * 16)
    write(again(silo, agreement_digest="cc" * 32), "f" * 16)


def test_an_owner_is_told_at_the_start_that_another_training_is_refused(silo, driver):
    """Also where an agreement to the same flags was written anew, which has the same digest."""
    book = silo[2]
    assert leaving.used_up(stand_in.terms(), book.entries) == ""
    place = driver.text(f"runs/{stand_in.ID}/version_00000")
    driver.call("write", driver.struct(private=driver.private(), directory=place))
    assert leaving.used_up(stand_in.terms(), book.entries) == (
        "a training that has begun may go on, and another is refused: the agreement's 1 have "
        "begun; its owner agrees to more by pfrec-agreement with --trainings=2 or more"
    )
    assert leaving.used_up(stand_in.terms(agreement_digest="cc" * 32), book.entries) == ""


def test_a_report_tells_the_work_that_it_comes_from(tmp_path):
    """Not that of the state that it goes on from; and it is charged under its own agreement."""
    (budget,) = mechanism.of(2.0, 1e-4, 1.0, 10, [100], [40]).budgets
    made = stand_in.made(tmp_path / "ledger.jsonl", budget=budget)
    gate, worker, book = made
    driver = stand_in.Driver(gate)
    before = driver.select(driver.train(asked=stand_in.work(0, 5)), 0)
    worker.answers = [stand_in.report()]
    driver.fetch(driver.select(driver.train(before, stand_in.work(20, 5)), 1))
    assert book.entries[-1]["work"] == [20, 5]
    assert book.entries[-1]["epsilon_spent"] == pytest.approx(budget.spent(10), abs=1e-4)
    other = again(made, agreement_digest="cc" * 32, budget=budget)
    report(other, worker, 0.5)
    assert book.entries[-1]["epsilon_spent"] == pytest.approx(budget.spent(5), abs=1e-4)


def test_what_could_not_be_answered_is_not_counted(silo, driver):
    gate, worker, book = silo
    result = driver.select(driver.train(), 1)
    for _ in range(9):
        worker.answers = [stand_in.tensor(np.zeros([100]))]
        with stand_in.refused("not of the type agreed"):
            driver.fetch(result)
    # Nor what says more than its type, where nobody looks.
    spoilt = executor_pb2.ComputeResponse(value=stand_in.report()).SerializeToString()
    worker.Compute = lambda request: spoilt + bytes([0xC0, 0x3E, 0x01])
    with stand_in.refused("not of the type agreed"):
        driver.fetch(result)
    del worker.Compute
    assert not any(gate._leaving.answered.values())
    assert not book.entries
    report(driver, worker)
    assert gate._leaving.answered[labels.REPORT] == 1


def test_a_value_is_no_computation_whatever_its_label(silo, driver):
    """The silo's secret and its facts have the names of the computations that read them."""
    held = driver.call("secret", driver.text("secret_of_rows"))
    asked = len(silo[1].asked)
    with stand_in.refused("a call of secret, which is no computation"):
        silo[0].create_call(
            executor_pb2.CreateCallRequest(
                executor=driver.executor,
                function_ref=held,
                argument_ref=driver.text("secret_of_rows"),
            )
        )
    # The name alone was sent on.
    assert len(silo[1].asked) == asked + 1


def test_the_worker_is_asked_by_known_fields_and_for_no_clients_of_its_own(silo, driver):
    gate, worker, _ = silo
    request = executor_pb2.CreateValueRequest(executor=driver.executor, value=stand_in.shared())
    hidden = request.SerializeToString() + bytes([0xC0, 0x3E, 0x01])
    gate.create_value(executor_pb2.CreateValueRequest.FromString(hidden))
    (sent,) = worker.asked[-1:]
    assert sent.value == stand_in.shared()
    assert not sent.SerializeToString().endswith(bytes([0xC0, 0x3E, 0x01]))
    clients = executor_pb2.Cardinality(
        placement=computation_pb2.Placement(uri="clients"), cardinality=1
    )
    with stand_in.refused("clients placed at this executor"):
        gate.get_executor(executor_pb2.GetExecutorRequest(cardinalities=[clients]))
    # The connection that there was goes on.
    driver.value(stand_in.shared())


def test_a_state_that_was_read_may_be_written_under_the_name_of_another_training(tmp_path):
    """It names the training that it is written for."""
    limits = stand_in.terms().limits
    silo = stand_in.made(tmp_path / "ledger.jsonl", limits=dataclasses.replace(limits, trainings=2))
    driver, book = stand_in.Driver(silo[0]), silo[2]

    def write(private, training):
        place = driver.text(f"runs/{training}/version_00000")
        return driver.call("write", driver.struct(private=private, directory=place))

    write(driver.private(), stand_in.ID)
    state = driver.call("read", driver.text(f"runs/{stand_in.ID}/version_00000"))
    write(driver.select(state, 0), "f" * 16)
    assert [entry["training"] for entry in book.entries] == [stand_in.ID, "f" * 16]


def test_a_connection_holds_eight_of_the_largest_messages(tmp_path):
    """What is let go of makes room for more."""
    table = values.Tensor(values.FLOAT, (1 << 18,))
    own = stand_in.terms().receivable
    taken = dataclasses.replace(own, shared={"common": {"table": table}, "consensus": {}})
    silo = stand_in.made(tmp_path / "ledger.jsonl", receivable=taken)
    driver = stand_in.Driver(silo[0])
    sent = stand_in.struct(
        common=stand_in.struct(table=stand_in.tensor(np.ones(1 << 18))), consensus=stand_in.struct()
    )
    # A message may be twice as large as a value, for a text may be as large.
    fitting = 8 * taken.most_bytes // table.bytes
    assert fitting == 16
    held = [driver.value(sent) for _ in range(fitting)]
    with stand_in.refused("more than 1.* bytes of values at once"):
        driver.value(sent)
    driver.dispose(held[0])
    driver.value(sent)


@pytest.mark.parametrize("label", [labels.PRIVATE, labels.TRAINED, labels.READ])
def test_what_holds_a_private_state_counts_as_one(driver, silo, label):
    session = silo[0]._session
    for number in range(64):
        session.require_room()
        session.hold(sessions.Held(label, executor_pb2.ValueRef(id=str(number))))
    with stand_in.refused("more than 64 private states at once"):
        session.require_room()
