"""A report is charged with all private work that it follows from, by which way a driver ever had it
done.
"""

import dataclasses

import pytest

from tests.tff_process.silos import stand_in_worker as stand_in
from tff_process.privacy import mechanism
from tff_process.silos import labels, ledger

(BUDGET,) = mechanism.of(2.0, 1e-4, 1.0, 10, [100], [20]).budgets


class Silo:
    """A gatekeeper with a budget of 20 steps, and its driver."""

    def __init__(self, path, **changed):
        self.path = path
        gate, self.worker, self.book = stand_in.made(path, budget=BUDGET, **changed)
        self.driver = stand_in.Driver(gate)

    def again(self, **changed):
        """As it starts again."""
        self.book.close()
        return Silo(self.path, **changed)

    def trained(self, before=None, first_step=0, rate=0.5):
        """What was trained from a private state, of five steps."""
        return self.driver.train(before, stand_in.work(first_step, 5, learning_rate=rate))

    def private(self, *args, **named):
        """The state after it; its report does not leave."""
        return self.driver.select(self.trained(*args, **named), 0)

    def report(self, trained, value=1.0):
        """Fetches the report; the steps that are spent then."""
        self.worker.answers = [stand_in.report(value)]
        self.driver.fetch(self.driver.select(trained, 1))
        told = self.book.entries[-1]["epsilon_spent"]
        (steps,) = [n for n in range(0, 21, 5) if abs(BUDGET.spent(n) - told) < 1e-4]
        return steps

    def at_home(self, private):
        """What becomes of a state by the training at home, which is asked for as work is."""
        asked = self.driver.client(private, stand_in.work())
        return self.driver.select(self.driver.call("train_at_home", asked), 0)

    def write(self, private, version=1):
        name = self.driver.text(f"runs/{stand_in.ID}/version_{version:05d}")
        self.driver.call("write", self.driver.struct(private=private, directory=name))

    def read(self, version=1):
        name = self.driver.text(f"runs/{stand_in.ID}/version_{version:05d}")
        return self.driver.select(self.driver.call("read", name), 0)


@pytest.fixture
def silo(tmp_path):
    return Silo(tmp_path / "ledger.jsonl")


def scheduled():
    own = stand_in.terms().receivable
    return dataclasses.replace(own, work=dataclasses.replace(own.work, scheduled=True))


def test_work_of_which_no_report_left_is_charged_with_what_follows_from_it(silo):
    """Moments of the released model and what of it stays are made of noised sums as well."""
    first = silo.private()
    second = silo.private(first, 5)
    assert silo.report(silo.trained(second, 10)) == 15
    # Nothing of it twice: neither what went before, nor its own report that leaves late.
    assert silo.report(silo.trained(first, 5), 2.0) == 15
    assert silo.report(silo.trained(), 3.0) == 15
    assert silo.report(silo.trained(second, 15), 4.0) == 20


def test_training_at_home_costs_nothing_and_hides_nothing_that_is_charged(silo):
    """However often it is asked for, between which steps, and of which no report left."""
    silo.write(silo.at_home(silo.at_home(silo.private())))
    again = silo.again()
    second = again.private(again.at_home(again.read()), 5)
    assert again.report(again.trained(again.at_home(second), 10)) == 15
    third = again.private(again.at_home(second), 10)
    assert again.report(again.trained(third, 15), 2.0) == 20
    again.at_home(third)


def test_what_is_trained_again_from_the_same_is_free(silo):
    private = silo.private()
    assert silo.report(silo.trained()) == 5
    assert silo.report(silo.trained(), 1.0) == 5
    assert silo.report(silo.trained(private, 5)) == 10
    assert silo.report(silo.trained(silo.private(), 5)) == 10


def test_the_same_work_of_other_noise_is_charged_anew(silo):
    """As of another secret, or of a pfrec that draws otherwise: what is behind a report counts too,
    whether its own report is fetched or not.
    """
    assert silo.report(silo.trained(silo.private(), 5)) == 10
    again = silo.again(noise="another")
    assert again.report(again.trained(again.private(), 5), 2.0) == 20


def test_reports_of_the_same_bytes_are_charged_by_what_was_trained(tmp_path):
    """At a rate of 0 a report is what was received, and the state behind it goes on."""
    silo = Silo(tmp_path / "ledger.jsonl", receivable=scheduled())
    private, spent = None, []
    for _ in range(4):
        trained = silo.trained(private, rate=0.0)
        spent.append(silo.report(trained))
        private = silo.driver.select(trained, 0)
    assert spent == [5, 10, 15, 20]
    with stand_in.refused("would pass epsilon 2"):
        silo.trained(private, rate=0.0)


def test_no_more_is_trained_on_than_the_budget_has_steps(silo):
    private = None
    for _ in range(4):
        private = silo.private(private)
    with stand_in.refused("would pass epsilon 2: .* a new agreement and another --output"):
        silo.trained(private)
    assert silo.report(silo.trained()) == 5  # What nobody asked about is not charged.


def test_a_state_on_the_disk_keeps_what_is_behind_it(silo):
    silo.write(silo.private())
    states = [entry for entry in silo.book.entries if entry["what"] == ledger.STATE]
    assert [entry["state"] for entry in states] == [f"{stand_in.ID}/version_00001"]
    assert list(states[0]["behind"].values()) == [5]
    again = silo.again()
    assert again.report(again.trained(again.read(), 5)) == 10
    assert again.report(again.trained()) == 10
    restarted = again.again()
    assert restarted.report(restarted.trained(restarted.read(), 5)) == 10
    with stand_in.refused("does not tell the origin"):
        restarted.read(5)


def test_a_state_that_was_written_in_two_ways_is_new_each_time(silo):
    """Nobody knows which of both is read while one is written."""
    silo.write(silo.private())
    silo.write(silo.private(first_step=5))
    again = silo.again()
    assert again.report(again.trained(again.read(), 10)) == 15
    assert again.report(again.trained(again.read(), 10)) == 20


def test_other_rows_are_another_question(silo):
    assert silo.report(silo.trained()) == 5
    own = stand_in.terms().receivable
    other = dataclasses.replace(own, client={**own.client, "data": "other rows"})
    again = silo.again(receivable=other)
    assert again.report(again.trained()) == 10


def test_what_left_before_origins_were_told_stays_charged(silo):
    silo.book.append(
        labels.REPORT,
        stand_in.terms().agreement_digest,
        work=[0, 5],
        epsilon_spent=round(BUDGET.spent(5), 4),
        delta=BUDGET.delta,
    )
    again = silo.again()
    assert again.report(again.trained()) == 10
