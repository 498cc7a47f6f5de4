"""A hostile driver asks for other work than was agreed, and more often: what it asks is of the
agreement, and ends with it.
"""

import dataclasses

import numpy as np
import pytest
from tensorflow_federated.proto.v0 import executor_pb2

from pfrec import errors
from tests.tff_process.silos import stand_in_worker as stand_in
from tff_process.commands import ledger as ledger_command
from tff_process.privacy import mechanism
from tff_process.silos import gatekeeper as gatekeeper_lib
from tff_process.silos import labels


def test_evaluation_is_of_valid_and_test_and_counting_of_train(driver):
    shards = {
        split: driver.value(stand_in.tensor(np.array(names, object), np.str_))
        for split, names in stand_in.SHARDS.items()
    }
    parts = {"client_id": driver.value(stand_in.tensor(0, np.int32)), "private": driver.private()}
    for split in ("valid", "test"):
        driver.struct(**parts, shards=shards[split])
        with stand_in.refused("count takes"):
            driver.call("count", shards[split])
    with stand_in.refused("no computation takes"):
        driver.struct(**parts, shards=shards["train"])
    driver.call("count", shards["train"])


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        ({"steps": 1}, "at least 4"),
        ({"steps": 0}, "at least 4"),
        ({"steps": -5}, "at least 4"),
        ({"first_step": 1}, "not one of its aggregation steps"),
        ({"first_step": -20}, "round 0"),
        ({"first_step": 40}, "round 3; the agreement has 2"),
        ({"steps": 40}, "not one of its"),
        ({"epoch_steps": 1}, "an epoch has 20"),
        ({"learning_rate": 1e6}, "learning rate"),
        ({"seed": 4}, "seed agreed is 3"),
        ({"task_weights": [2.0, 1.0]}, "other task weights than agreed"),
        ({"positive_weights": [1.0, 9.0]}, "other weights of positive rows than agreed"),
    ],
)
def test_work_is_what_was_agreed(driver, asked, match):
    with stand_in.refused(match):
        driver.value(stand_in.work(**asked))


def test_the_ledger_says_to_whom_it_was(silo, driver):
    gatekeeper, worker, book = silo
    result = driver.select(driver.train(), 1)
    worker.answers = [stand_in.report()] * 3
    asked = executor_pb2.ComputeRequest(executor=driver.executor, value_ref=result)
    for port in (4711, 4712, 4711):
        gatekeeper.compute(asked, port)
    assert [entry["to"] for entry in book.entries] == ["10.0.0.9", "unknown", "10.0.0.9"]


def test_two_cuts_of_a_round_would_tell_a_single_batch(silo, driver):
    silo[1].answers = [stand_in.report()] * 2
    quarter = driver.select(driver.train(asked=stand_in.work(0, 5)), 1)
    third = driver.select(driver.train(asked=stand_in.work(0, 6)), 1)
    driver.fetch(quarter)
    told = "a report of steps 0 to 5 of the same batches has left"
    with stand_in.refused(told):
        driver.fetch(third)
    with stand_in.refused(told):
        driver.value(stand_in.work(0, 6))
    with stand_in.refused("not one of its aggregation steps"):
        driver.value(stand_in.work(5, 6))
    assert [entry["work"] for entry in silo[2].entries] == [[0, 5]]


def test_replays_end_with_the_agreement(silo, driver):
    _, worker, book = silo
    result = driver.select(driver.train(), 1)
    worker.answers = [stand_in.report()] * 20
    for _ in range(8):
        driver.fetch(result)
    with stand_in.refused("report after the agreement's 8 have left"):
        driver.fetch(result)
    with stand_in.refused("report after"):
        driver.train()
    # Nor does a new start of the silo begin anew.
    again = gatekeeper_lib.Gatekeeper(stand_in.terms(), worker, book)
    with stand_in.refused("report after"):
        stand_in.Driver(again).train()


def evaluated(worker, driver, value, spreads=None, shape=(2, 4)):
    """An evaluation of values, at several spreads or as they are."""
    names = np.array(stand_in.SHARDS["valid"], object)
    parts = {}
    if spreads is not None:
        parts["serves"] = driver.value(stand_in.tensor([1.0, 1.0]))
        parts["spreads"] = driver.value(spreads)
    client = driver.struct(
        client_id=driver.value(stand_in.tensor(0, np.int32)),
        private=driver.private(),
        shards=driver.value(stand_in.tensor(names, np.str_)),
        **parts,
    )
    argument = driver.struct(
        shared=driver.value(stand_in.shared(value)),
        personal=driver.value(stand_in.personal()),
        client=client,
    )
    worker.answers = [stand_in.tensor(np.zeros(shape), np.float64)]
    return driver.fetch(driver.call("evaluate", argument))


def test_questions_by_evaluations_end_with_the_agreement(silo, driver):
    """Each is of other values, so that it answers something else."""
    _, worker, book = silo
    for number in range(6):
        evaluated(worker, driver, float(number))
    with stand_in.refused("metrics after the agreement's 6 have left"):
        evaluated(worker, driver, 6.0)
    again = gatekeeper_lib.Gatekeeper(stand_in.terms(), worker, book)
    with stand_in.refused("metrics after"):
        evaluated(worker, stand_in.Driver(again), 7.0)


def test_an_answer_of_several_spreads_is_as_many_evaluations(silo, driver):
    _, worker, book = silo
    several = stand_in.spreads()
    evaluated(worker, driver, 1.0, several, (3, 2, 4))
    evaluated(worker, driver, 2.0, stand_in.spreads([1.0]))
    # Four of six have left, and it would be three more.
    with stand_in.refused("metrics after the agreement's 6 have left"):
        evaluated(worker, driver, 3.0, several, (3, 2, 4))
    again = gatekeeper_lib.Gatekeeper(stand_in.terms(), worker, book)
    restarted = stand_in.Driver(again)
    with stand_in.refused("metrics after"):
        evaluated(worker, restarted, 4.0, several, (3, 2, 4))
    for number in range(2):
        evaluated(worker, restarted, float(number))
    with stand_in.refused("metrics after"):
        evaluated(worker, restarted, 5.0, stand_in.spreads([1.0]))
    left = [(e["what"], e["leaves"][0][1]) for e in book.entries if "metrics" in e["what"]]
    assert left[:2] == [(labels.SPREADS_METRICS, [3, 2, 4]), (labels.METRICS, [2, 4])]
    assert len(left) == 4


@pytest.mark.parametrize(
    "factors", [(), (0.5,), (1.0, 0.5), (1.0, 0.5, 2.0, 2.0), (1.0, 0.5, 1e30), (0.5, 1.0, 2.0)]
)
def test_the_spreads_evaluated_are_those_agreed(driver, factors):
    with stand_in.refused("other spreads in one answer than 1 alone or 1, 0.5, 2"):
        driver.value(stand_in.spreads(factors))


def test_an_answer_at_several_spreads_has_as_many_metrics(silo, driver):
    _, worker, _ = silo
    with stand_in.refused("not of the type agreed"):
        evaluated(worker, driver, 1.0, stand_in.spreads([1.0]), (3, 2, 4))
    with stand_in.refused("not of the type agreed"):
        evaluated(worker, driver, 1.0, stand_in.spreads(), (4, 2, 4))


def test_a_plan_that_finds_no_spread_takes_none(tmp_path):
    terms = stand_in.terms()
    terms = dataclasses.replace(
        terms, receivable=dataclasses.replace(terms.receivable, spreads=None)
    )
    gatekeeper, _, _ = stand_in.made(tmp_path / "ledger.jsonl", receivable=terms.receivable)
    with stand_in.refused("spreads, which the agreed plan does not find"):
        stand_in.Driver(gatekeeper).value(stand_in.spreads())


def test_no_more_trainings_begin_than_agreed(driver):
    def write(training):
        return driver.call(
            "write",
            driver.struct(
                private=driver.private(), directory=driver.text(f"runs/{training}/version_00000")
            ),
        )

    write(stand_in.ID)
    write(stand_in.ID)
    with stand_in.refused("another training: the agreement's 1 have begun"):
        write("f" * 16)
    with stand_in.refused("did not begin under this agreement"):
        driver.call("read", driver.text(f"runs/{'e' * 16}/version_00000"))


def test_reports_spend_the_budget_and_none_passes_it(tmp_path):
    (budget,) = mechanism.of(2.0, 1e-4, 1.0, 10, [100], [10]).budgets
    gate, worker, book = stand_in.made(tmp_path / "ledger.jsonl", budget=budget)
    driver = stand_in.Driver(gate)

    def ask(value):
        worker.answers = [stand_in.report(value)]
        driver.fetch(driver.select(driver.train(), 1))
        return book.entries[-1]["epsilon_spent"]

    first = ask(0.25)
    assert first == pytest.approx(budget.spent(5), abs=1e-4)
    # The same bytes again tell nothing new; another answer to the same work does.
    assert ask(0.25) == first
    assert first < ask(0.5) <= 2.0
    with stand_in.refused("would pass epsilon 2"):
        ask(0.75)
    entries = len(book.entries)
    assert ask(0.5) == book.entries[entries - 1]["epsilon_spent"]
    # A gatekeeper that is started again knows what was spent.
    again = gatekeeper_lib.Gatekeeper(gate._terms, worker, book)
    worker.answers = [stand_in.report(0.75)]
    other = stand_in.Driver(again)
    with stand_in.refused("would pass"):
        other.fetch(other.select(other.train(), 1))
    (told,) = ledger_command.privacy_spent(book.entries)
    assert told.startswith("bbbbbbbbbbbb: epsilon ")
    assert told.endswith(" spent at delta 0.0001")
    assert float(told.split()[2]) == pytest.approx(budget.spent(10), abs=1e-3)
    # Nor does it go on with another noise, as of a version that takes another batch.
    (other_batch,) = mechanism.of(2.0, 1e-4, 1.0, 20, [100], [20]).budgets
    with pytest.raises(errors.PfrecError, match=r"10 steps have spent .* agree anew"):
        gatekeeper_lib.Gatekeeper(
            dataclasses.replace(gate._terms, budget=other_batch), worker, book
        )


def test_of_training_at_home_nobody_learns_but_that_it_is_over(silo, driver):
    _, worker, book = silo
    made = driver.call("train_at_home", driver.client())
    for kept in (made, driver.select(made, 0)):
        with stand_in.refused("does not leave this silo"):
            driver.fetch(kept)
    with stand_in.refused("no element 2"):
        driver.select(made, 2)
    worker.answers = [stand_in.tensor(0, np.int32)]
    driver.fetch(driver.select(made, 1))
    assert book.entries[-1]["what"] == labels.ACKNOWLEDGEMENT
    with stand_in.refused("train_at_home takes client to train, not private"):
        driver.call("train_at_home", driver.private())


def test_a_silo_whose_clients_do_not_train_at_home_has_no_computation_of_it(tmp_path):
    own = {name: it for name, it in stand_in.terms().computations.items() if "home" not in name}
    gate, _, _ = stand_in.made(tmp_path / "ledger.jsonl", computations=own)
    driver = stand_in.Driver(gate)
    asked = driver.client()
    with stand_in.refused("the computation 'train_at_home': this silo has train, "):
        driver.call("train_at_home", asked)


def test_what_a_home_model_may_be_asked():
    def driver(most):
        rules = dataclasses.replace(stand_in.terms().receivable.work, home_steps=most)
        return dataclasses.replace(stand_in.terms().receivable, work=rules)

    def asked(steps, split="valid"):
        made, given = executor_pb2.Value(), stand_in.work()
        for element in given.struct.element:
            made.struct.element.append(element)
            if element.name == "epoch_steps":
                made.struct.element.add(name="home_steps", value=stand_in.tensor(steps, np.int64))
                named = stand_in.tensor(np.array(stand_in.SHARDS[split], object), np.str_)
                made.struct.element.add(name="valid_shards", value=named)
        return made

    assert driver(60).receive(asked(60)).label == labels.WORK
    for steps in (61, -1):
        with stand_in.refused("a home model of"):
            driver(60).receive(asked(steps))
    for split in ("train", "test"):
        with stand_in.refused("chosen on other rows"):
            driver(60).receive(asked(60, split))
    with stand_in.refused(labels.WORK):
        driver(None).receive(asked(0))
    with stand_in.refused(labels.WORK):
        driver(60).receive(stand_in.work())
