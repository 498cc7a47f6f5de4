"""Which split a row goes to by its time, on chunks made by hand."""

import pathlib

import numpy as np
import pytest

from pfrec import errors
from pfrec.data.conversion import splitting
from pfrec.data.reading import source

DAY, START = 86_400, 19_675 * 86_400  # midnight of 14 November 2023
PARTS = (0.6, 0.2, 0.2)
TIME = splitting.Rule(splitting.TIME, "ts")


def chunk(when):
    column = np.array(when, object) if isinstance(when[0], str) else np.array(when, np.float64)
    return source.RawChunk(pathlib.Path("log.csv"), np.arange(len(when)), {"ts": column})


def placed(rule, *chunks, fractions=PARTS):
    """The splits of all rows in order, and the numbers of those that are left out."""
    splitter = splitting.Splitter(rule, 0, fractions)
    if splitter.open:
        for when in chunks:
            splitter.see(chunk(when))
        splitter.close()
    made = [splitter.place(chunk(when)) for when in chunks]
    return (
        np.concatenate([one.places for one in made]).tolist(),
        [int(row) for one in made for faults in one.faults for row in faults.rows],
    )


def test_rows_are_parted_by_time_in_whatever_order_they_come():
    """Ten times: the seventh begins valid and the ninth test."""
    when = START + np.array([9, 0, 8, 1, 7, 2, 6, 3, 5, 4])
    assert placed(TIME, when)[0] == [2, 0, 2, 0, 1, 0, 1, 0, 0, 0]
    assert placed(TIME, when[:5], when[5:])[0] == [2, 0, 2, 0, 1, 0, 1, 0, 0, 0]


def test_rows_of_one_time_are_not_parted_and_valid_is_not_empty():
    """Seven of ten rows are of the last of three days: it is test, and the day before valid."""
    days = [0] + [1] * 2 + [2] * 7
    found, _ = placed(TIME, [START + day * DAY for day in days])
    assert found == [0] + [1] * 2 + [2] * 7


def test_the_first_second_of_a_split_is_its_own():
    rule = splitting.Rule(splitting.TIME, "ts", starts=(float(START + 10), float(START + 20)))
    when = [START + second for second in (9, 10, 19, 20)]
    assert placed(rule, when) == ([0, 1, 1, 2], [])


def test_the_last_days_are_whole():
    """Two of test up to the last row's, one of valid before them."""
    rule = splitting.Rule(splitting.TIME, "ts", days=(1, 2))
    when = [START + second for second in (-1, 0, DAY - 1, DAY, 2 * DAY - 1, 2 * DAY)]
    assert placed(rule, when)[0] == [0, 1, 1, 2, 2, 2]


def test_what_is_no_time_has_no_split():
    when = [START, np.nan, START + 2, START + 3, START + 4, np.nan, START + 6]
    rule = splitting.Rule(splitting.TIME, "ts", starts=(float(START + 3), float(START + 6)))
    assert placed(rule, when) == ([0, 0, 1, 1, 2], [1, 5])
    # Nor does it count where parts of all rows are asked for.
    assert placed(TIME, when) == ([0, 0, 0, 1, 2], [1, 5])
    with pytest.raises(errors.PfrecError, match="column 'ts' holds no time"):
        placed(TIME, [np.nan, np.nan])


def test_of_very_many_times_some_are_kept(monkeypatch):
    """As many of the first rows as of the last ones, so that splits begin where they would."""
    monkeypatch.setattr(splitting, "_MOST_TIMES", 400)
    pieces = np.split(START + np.arange(2_000), 4)
    found, _ = placed(TIME, *pieces)
    np.testing.assert_allclose(np.bincount(found), [1_200, 400, 400], atol=20)
    splitter = splitting.Splitter(TIME, 0, PARTS)
    for piece in pieces:
        splitter.see(chunk(piece))
        assert sum(map(len, splitter._times)) <= 400
