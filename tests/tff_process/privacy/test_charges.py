"""Each new answer is charged before it is used, and no budget is passed."""

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


def test_a_damaged_ledger_is_refused(tmp_path, budgets):
    path = tmp_path / charges.FILE
    path.write_text('{"scenario": "nl"}\n', encoding="utf-8")
    with pytest.raises(errors.PfrecError, match="line 1 is no charge"):
        charges.Charges(path, budgets)
