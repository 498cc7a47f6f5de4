"""Tables of a terminal."""

from pfrec import text_table


def test_columns_are_as_wide_as_what_stands_in_them():
    rows = [("scenario", "task", "auc"), ("a_scenario_of_a_long_name", "buy", "0.5"), ("b", "", "")]

    assert text_table.aligned(rows, "llr") == [
        "scenario                   task  auc",
        "a_scenario_of_a_long_name  buy   0.5",
        "b",
    ]
