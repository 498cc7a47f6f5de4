"""Scenarios of a user's own files: their spellings, which are converted, and what one lacks."""

import numpy as np
import pytest

from pfrec import errors
from pfrec.data.conversion import survey
from tests.pfrec.data.converters import small_log


def test_spellings_of_a_scenario_are_joined_or_told(tmp_path):
    (tmp_path / "raw").mkdir()
    rows = [
        [row[0].upper() if i % 4 < 2 else row[0], *row[1:]]
        for i, row in enumerate(small_log.rows())
    ]
    (tmp_path / "raw" / "log.csv").write_text(small_log.csv(rows))
    data, notes = small_log.convert(tmp_path)
    assert data.scenarios == ("A", "B", "a", "b")
    assert sum("differ in case, blanks" in note for note in notes) == 2
    (tmp_path / "joined").mkdir()
    (tmp_path / "joined" / "raw").symlink_to(tmp_path / "raw")
    joined = small_log.SCHEMA.replace('"site"', '"site"\naliases = {A = "a", B = "b"}')
    data, notes = small_log.convert(tmp_path / "joined", schema=joined)
    assert data.scenarios == ("a", "b")
    assert notes == []


def test_names_that_differ_in_the_encoding_of_an_accent_alone_are_told():
    counts = dict.fromkeys(("é", "e\u0301", "e"), np.ones(3, int))

    told = [note for note in survey._notes([], list(counts), counts) if "differ in" in note]

    assert len(told) == 1
    assert "scenarios 'é' and 'e\u0301' differ in" in told[0]


def test_scenarios_are_chosen_and_small_ones_left_out(tmp_path):
    (tmp_path / "raw").mkdir()
    rows = [*small_log.rows(), *[["tiny place", *row[1:]] for row in small_log.rows()[:2]]]
    (tmp_path / "raw" / "log.csv").write_text(small_log.csv(rows))
    with pytest.raises(errors.PfrecError, match=r"scenario 'tiny place' \(2 rows, no .*--min_rows"):
        small_log.convert(tmp_path)
    with pytest.raises(errors.PfrecError, match="no scenario 'c'; there are a, b, tiny place"):
        small_log.convert(tmp_path, scenarios=["c"])
    with pytest.raises(errors.PfrecError, match="no scenario has 1,000 rows"):
        small_log.convert(tmp_path, min_rows=1000)
    data, notes = small_log.convert(tmp_path, min_rows=10, scenarios=["b"])
    assert data.scenarios == ("b",)
    assert notes == ["scenarios left out: 'a' (60 rows), 'tiny place' (2 rows)"]


def test_a_scenario_without_the_column_of_a_label_does_not_serve_the_task(tmp_path):
    """Where an empty label is an unobserved one; otherwise the column is missing."""
    schema = """
[[categorical]]
name = "item"
encoding = "hash"
cardinality = 97
[[task]]
name = "click"
[[task]]
name = "part"
positive = ["train"]
given = "click"
missing = "unobserved"
[split]
valid = 0.2
test = 0.2
"""
    raw = tmp_path / "raw"
    raw.mkdir()
    for scenario, names in (
        ("nl", small_log.NAMES),
        ("fr", [n for n in small_log.NAMES if n != "part"]),
    ):
        kept = [small_log.NAMES.index(name) for name in names]
        lines = [names, *([row[i] for i in kept] for row in small_log.rows())]
        (raw / f"{scenario}.csv").write_text("".join(",".join(line) + "\n" for line in lines))
    with pytest.raises(errors.PfrecError, match=r"fr.csv: no column 'part'"):
        small_log.convert(tmp_path, schema=schema.replace('missing = "unobserved"', ""))
    data, _ = small_log.convert(tmp_path, schema=schema)
    assert data.observed("fr", "train", "part") == 0
    assert data.observed("fr", "train", "click") == data.rows("fr", "train")
    assert data.observed("nl", "train", "part") > 0
