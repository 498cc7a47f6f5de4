"""Rows that a dataset holds already are told when they come as further ones."""

import json

import numpy as np
import pytest

from pfrec import errors
from pfrec.commands import convert
from pfrec.data import splits
from pfrec.data.conversion import repeats, watch
from pfrec.data.dataset import dataset

_SCHEMA = """
[scenario]
column = "site"
[split]
valid = 0.25
test = 0.25
[[categorical]]
name = "item"
cardinality = 7
[[numerical]]
name = "price"
[[task]]
name = "click"
"""
_SITES = ("nl", "fr")


def _log(path, lines):
    path.write_text("site,item,price,click\n" + "\n".join(lines) + "\n")


def _month(number, rows=400, values=10**6):
    """Lines of a month; few `values` of the price make rows repeat."""
    random = np.random.default_rng(number)
    return [
        f"{_SITES[n % 2]},{random.integers(7)},{random.integers(values)},{random.integers(2)}"
        for n in range(rows)
    ]


@pytest.fixture
def started(tmp_path):
    """A function that converts the first month and appends the second, each of such lines."""

    def start(first, second):
        (tmp_path / "s.toml").write_text(_SCHEMA)
        _log(tmp_path / "1.csv", first)
        _log(tmp_path / "2.csv", second)
        convert.convert("csv", tmp_path / "1.csv", tmp_path / "1", schema_path=tmp_path / "s.toml")
        notes = convert.convert("csv", tmp_path / "2.csv", tmp_path / "2", append=tmp_path / "1")
        assert not [note for note in notes if "already" in note]
        return tmp_path

    return start


def _rows(path):
    data = dataset.Dataset.open(path)
    return sum(data.rows(s, split) for s in data.scenarios for split in splits.SPLITS)


@pytest.mark.parametrize("values", [10**6, 3])
def test_a_month_that_is_appended_twice_is_refused_also_where_rows_repeat(started, values):
    """With 3 prices there are 42 different rows in a scenario, of 200."""
    path = started(_month(1, values=values), _month(2, values=values))
    # In another order and in two files: rows are the same.
    (path / "again").mkdir()
    lines = _month(2, values=values)[::-1]
    _log(path / "again" / "a.csv", lines[:150])
    _log(path / "again" / "b.csv", lines[150:])
    with pytest.raises(errors.PfrecError) as told:
        convert.convert("csv", path / "again", path / "3", append=path / "2")
    assert str(told.value) == (
        f"--input: the 400 new rows of fr, nl are in {path / '2'} already, appended or converted "
        "before; name the rows that follow them as --input, or pass --on_repeated_rows=keep to "
        "add them"
    )
    assert not (path / "3").exists()
    notes = convert.convert(
        "csv", path / "again", path / "3", append=path / "2", on_repeated_rows="keep"
    )
    line = f"the 400 new rows of fr, nl are in {path / '2'} already; they stand twice now"
    assert f"WARNING: {line}" in notes
    assert line in json.loads((path / "3" / "dataset.json").read_text())["warnings"]
    assert _rows(path / "3") == 1200
    # The first month is known too, two inputs later.
    with pytest.raises(errors.PfrecError, match="the 400 new rows of fr, nl are in"):
        convert.convert("csv", path / "1.csv", path / "4", append=path / "3")


def test_without_the_rows_of_before_nothing_stands_twice_and_who_goes_on_is_warned(started):
    path = started(_month(1), _month(2))
    notes = convert.convert("csv", path / "2.csv", path / "3", append=path / "2", keep_rows=False)
    (line,) = (note for note in notes if "already" in note)
    assert line.endswith("already; a run of these that goes on has learned them before")
    # What it holds is the second month alone: the first is not there.
    convert.convert("csv", path / "1.csv", path / "4", append=path / "3")
    assert _rows(path / "4") == 800


def test_one_scenario_whose_rows_came_before_is_named(started):
    path = started(_month(1), _month(2))
    stale = [line for line in _month(2) if line.startswith("nl")]
    _log(path / "3.csv", stale + [line for line in _month(3) if line.startswith("fr")])
    with pytest.raises(errors.PfrecError, match="the 200 new rows of nl are in"):
        convert.convert("csv", path / "3.csv", path / "3", append=path / "2")


def test_few_rows_of_a_scenario_do_not_hide_many_of_another(started):
    few = [line for line in _month(2, rows=120) if line.startswith("nl")]
    many = [line for line in _month(3, rows=800) if line.startswith("fr")]
    path = started(_month(1), few + many)
    _log(path / "3.csv", few + many[:399])
    told = "459 of 459 new rows equal in every feature and label"
    with pytest.raises(errors.PfrecError, match=f"{told} .* --on_repeated_rows"):
        convert.convert("csv", path / "3.csv", path / "3", append=path / "2")
    assert not (path / "3").exists()
    notes = convert.convert(
        "csv", path / "3.csv", path / "3", append=path / "2", on_repeated_rows="keep"
    )
    one, other = (note for note in notes if "already" in note)
    assert one.startswith("WARNING: the 60 new rows of nl are in")
    assert other.startswith(f"WARNING: {told}")


def test_rows_of_before_that_come_with_later_ones_are_counted(started):
    """A log that is exported from its beginning each month."""
    path = started(_month(1), _month(2))
    _log(path / "3.csv", _month(2) + _month(3))
    notes = convert.convert("csv", path / "3.csv", path / "3", append=path / "2")
    (line,) = (note for note in notes if "already" in note)
    assert line.startswith("WARNING: 400 of 800 new rows equal in every feature and label a row")
    assert "50% where rows that repeat explain 0%" in line


def test_a_month_that_lacks_some_rows_is_refused(started):
    path = started(_month(1), _month(2))
    _log(path / "3.csv", _month(2)[:390])
    with pytest.raises(errors.PfrecError, match=r"390 of 390 new rows equal .* --on_repeated_rows"):
        convert.convert("csv", path / "3.csv", path / "3", append=path / "2")
    convert.convert("csv", path / "3.csv", path / "3", append=path / "2", on_repeated_rows="keep")
    assert _rows(path / "3") == 1190


@pytest.mark.parametrize("values", [3, 30, 300])
def test_honest_repeats_are_not_told(started, values):
    path = started(_month(1, values=values), _month(2, values=values))
    _log(path / "3.csv", _month(3, values=values))
    notes = convert.convert("csv", path / "3.csv", path / "3", append=path / "2")
    assert not [note for note in notes if "already" in note]


def test_few_rows_that_are_there_are_told_and_not_refused(started):
    path = started(_month(1), _month(2, rows=60))
    notes = convert.convert("csv", path / "2.csv", path / "3", append=path / "2")
    assert (
        f"WARNING: the 60 new rows of fr, nl are in {path / '2'} already; they stand twice now"
        in notes
    )


def test_a_scenario_whose_new_rows_are_all_bad_each_month_repeats_nothing(started):
    def month(number):
        return [line for line in _month(number) if line.startswith("nl")] + ["fr,1,x,0"] * 5

    path = started(_month(1), _month(2))
    for number in (3, 4):
        _log(path / f"{number}.csv", month(number))
        notes = convert.convert(
            "csv",
            path / f"{number}.csv",
            path / f"{number}",
            append=path / f"{number - 1}",
            on_bad_row="skip",
        )
        assert not [note for note in notes if "already" in note]


def test_a_dataset_of_a_version_that_did_not_sum_up_its_inputs_is_read(started):
    path = started(_month(1), _month(2))
    place = path / "2" / "dataset.json"
    told = json.loads(place.read_text())
    del told["inputs"]
    place.write_text(json.dumps(told))
    with pytest.raises(errors.PfrecError, match="400 of 400 new rows equal"):
        convert.convert("csv", path / "2.csv", path / "3", append=path / "2")


def test_a_sum_does_not_depend_on_order_and_goes_on_from_a_state():
    prints = np.arange(1000, dtype=np.uint64)
    whole, parts = repeats.Contents({}), repeats.Contents({})
    whole.add("nl", prints)
    parts.add("nl", prints[::-2])
    parts = repeats.Contents(json.loads(json.dumps(parts.state())))
    parts.add("nl", prints[::2])
    assert whole.state() == parts.state()
    expected = sum(int(v) for v in splits.splitmix64(prints)) % (1 << 64)
    assert whole.state() == {"nl": {"rows": 1000, "sum": f"{expected:016x}"}}


def test_how_often_rows_repeat_is_the_same_however_they_come(monkeypatch):
    """By hand: the smallest sample of at most 50 different ones, and how many rows of it stand
    once.
    """
    monkeypatch.setattr(repeats, "_KEPT", 50)
    random = np.random.default_rng(0)
    prints = random.choice(random.integers(0, 1 << 63, 400, dtype=np.uint64) << 1, 1000)
    for shift in range(64):
        _, counts = np.unique(watch.sampled(prints, shift), return_counts=True)
        if len(counts) <= 50:
            break
    expected = 1.0 - (counts == 1).sum() / counts.sum()
    assert 0.0 < expected < 1.0
    for size in (1, 7, 300, 1000):
        kinds = repeats._Kinds()
        for start in range(0, len(prints), size):
            kinds.add(prints[start : start + size])
        assert kinds.repeating == expected
