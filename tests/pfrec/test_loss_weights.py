"""Weights of the loss as a user writes them."""

import pytest

from pfrec import errors, loss_weights

TASKS = ("click", "buy")


def test_what_a_scenario_says_goes_over_what_is_said_of_all():
    text = "buy=2, nl/buy=4 fr/click=0.5"
    assert loss_weights.of(text, "task_weights", "nl", TASKS) == (1.0, 4.0)
    assert loss_weights.of(text, "task_weights", "fr", TASKS) == (0.5, 2.0)
    assert loss_weights.of("", "task_weights", "fr", TASKS) == (1.0, 1.0)


@pytest.mark.parametrize(
    "text", ["buy", "buy=", "=2", "buy=x", "buy=0", "buy=-1", "buy=inf", "buy=nan", "nl/=2"]
)
def test_what_is_no_weight_is_refused(text):
    with pytest.raises(errors.PfrecError, match=r"task_weights=.* is not TASK=WEIGHT or"):
        loss_weights.parse(text, "task_weights")


def test_names_must_be_known_and_stand_once():
    with pytest.raises(errors.PfrecError, match="no task 'by'; there are click, buy"):
        loss_weights.require_known("by=2", "task_weights", ("nl",), TASKS)
    with pytest.raises(errors.PfrecError, match="no scenario 'fr'; there are nl"):
        loss_weights.require_known("fr/buy=2", "task_weights", ("nl",), TASKS)
    with pytest.raises(errors.PfrecError, match="nl/buy stands twice"):
        loss_weights.parse("nl/buy=2,nl/buy=3", "task_weights")
