"""Why a metric has no value is told in one word, and NaN is not "one class"."""

import pytest

from pfrec import cells

NAN = float("nan")


@pytest.mark.parametrize(
    ("cell", "auc", "logloss"),
    [
        ({"auc": 0.5, "logloss": 0.25, "rows": 4.0}, "0.5000", "0.2500"),
        ({"auc": NAN, "logloss": 0.25, "rows": 4.0}, "one class", "0.2500"),
        ({"auc": NAN, "logloss": NAN, "rows": 4.0}, "NaN", "NaN"),
        ({"auc": None, "logloss": None, "rows": 4}, "NaN", "NaN"),
        ({"auc": NAN, "logloss": NAN, "rows": 0.0}, "no rows", "no rows"),
        ({"auc": NAN, "logloss": NAN, "rows": NAN}, "unknown", "unknown"),
        ({"auc": None, "logloss": None, "rows": None}, "unknown", "unknown"),
        ({"auc": 0.5, "logloss": float("inf"), "rows": 4.0}, "0.5000", "inf"),
    ],
)
def test_each_reason_has_its_own_word(cell, auc, logloss):
    assert (cells.text(cell, "auc"), cells.text(cell, "logloss")) == (auc, logloss)
    assert cells.predicts_nan(cell) == (auc == "NaN")


def test_what_a_json_file_cannot_hold_is_none():
    found = cells.plain({"auc": NAN, "logloss": float("inf"), "rows": 4.0, "positives": NAN})
    assert found == {"auc": None, "logloss": None, "rows": 4, "positives": None}
    assert isinstance(found["rows"], int)


def test_a_task_that_a_scenario_does_not_serve_has_its_own_word():
    cell = cells.not_served(["auc", "logloss", "rows", "positives"])
    assert (cells.text(cell, "auc"), cells.text(cell, "rows")) == ("not served", "not served")
    assert not cells.served(cell)
    assert not cells.predicts_nan(cell)
    assert cells.served({"auc": None, "rows": 0})
