"""Each new answer is charged before it is used, and no budget is passed."""

import os

import numpy as np
import pytest

from pfrec import errors
from tff_process.privacy import charges, mechanism


@pytest.fixture
def budgets():
    made = mechanism.of(2.0, 1e-4, 1.0, 10, rows=[100, 200], steps=[6, 6])
    return dict(zip(("nl", "fr"), made.budgets))


def values(number):
    return {"a": np.full([2], number, np.float32), "b": np.zeros([1], np.float32)}


def test_answers_add_up_to_the_budget_and_not_beyond(tmp_path, budgets):
    book = charges.Charges(tmp_path / charges.FILE, budgets)
    for number in range(3):
        book.charge("nl", values(number), 2)
    assert 1.9 < book.epsilon("nl") <= 2.0
    assert book.epsilon("fr") == 0.0
    with pytest.raises(errors.PfrecError, match=r"nl has spent epsilon .* and 2 more would pass"):
        book.charge("nl", values(3), 2)
    book.charge("fr", values(3), 2)


def test_a_replay_is_free_and_another_answer_is_not(tmp_path, budgets):
    book = charges.Charges(tmp_path / charges.FILE, budgets)
    book.charge("nl", values(0), 2)
    once = book.epsilon("nl")
    book.charge("nl", values(0), 2)
    assert book.epsilon("nl") == once
    book.charge("nl", values(1), 2)
    assert book.epsilon("nl") > once


def test_an_answer_is_told_by_all_of_it_and_is_its_scenarios_own(tmp_path, budgets):
    book = charges.Charges(tmp_path / charges.FILE, budgets)
    zeros, ones = np.zeros([2], np.float32), np.ones([2], np.float32)
    answers = [
        {"a": zeros, "b": ones},
        {"a": ones, "b": zeros},
        {"a": zeros, "b": zeros},
        {"a": zeros, "c": zeros},
    ]
    for number, answer in enumerate(answers, 1):
        book.charge("nl", answer, 1)
        book.charge("nl", dict(reversed(answer.items())), 1)
        assert book.to_json()["nl"]["steps_spent"] == number
    # What another scenario sent costs this one as much as if nobody had.
    book.charge("fr", answers[0], 1)
    assert book.to_json()["fr"]["steps_spent"] == 1


def test_the_last_step_is_spent_and_not_one_more(tmp_path, budgets):
    book = charges.Charges(tmp_path / charges.FILE, budgets)
    book.charge("nl", values(0), 5)
    with pytest.raises(errors.PfrecError, match="and 2 more would pass"):
        book.charge("nl", values(1), 2)
    book.charge("nl", values(1), 1)
    with pytest.raises(errors.PfrecError, match="and 1 more would pass"):
        book.charge("nl", values(2), 1)
    assert book.to_json()["nl"]["steps_spent"] == 6
    assert (tmp_path / charges.FILE).stat().st_mode & 0o777 == 0o600


def test_a_charge_is_on_the_disk_before_the_answer_is_used(tmp_path, budgets, monkeypatch):
    book, synced = charges.Charges(tmp_path / charges.FILE, budgets), []

    def sync(descriptor):
        synced.append(os.fstat(descriptor).st_size)
        if len(synced) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(charges.os, "fsync", sync)
    book.charge("nl", values(0), 2)
    assert synced == [(tmp_path / charges.FILE).stat().st_size]
    with pytest.raises(errors.PfrecError, match="No space left"):
        book.charge("nl", values(1), 2)
    assert book.to_json()["nl"]["steps_spent"] == 2


def test_a_resumed_run_goes_on_from_what_was_spent(tmp_path, budgets):
    path = tmp_path / charges.FILE
    first = charges.Charges(path, budgets)
    first.charge("nl", values(0), 2)
    first.charge("nl", values(1), 2)
    path.write_bytes(path.read_bytes() + b'{"scenario": "nl", "st')
    again = charges.Charges(path, budgets)
    assert again.to_json() == first.to_json()
    again.charge("nl", values(1), 2)
    again.charge("nl", values(2), 2)
    with pytest.raises(errors.PfrecError, match="would pass"):
        again.charge("nl", values(3), 2)
    assert path.read_text(encoding="utf-8").count("\n") == 3
    assert charges.Charges(path, budgets).to_json() == again.to_json()


def test_a_damaged_ledger_is_refused(tmp_path, budgets):
    path = tmp_path / charges.FILE
    path.write_text('{"scenario": "nl"}\n', encoding="utf-8")
    with pytest.raises(errors.PfrecError, match="line 1 is no charge"):
        charges.Charges(path, budgets)
