"""Splits of a user's own files: by time, column, group and file."""

import json

import pytest

from pfrec import errors
from tests.pfrec.data import rows_back
from tests.pfrec.data.converters import small_log


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (
            'time = "ts"\nvalid_from = 1700000060\ntest_from = 1700000100',
            {"train": 60, "valid": 40, "test": 20},
        ),
        (
            'time = "ts"\nvalid_from = "2023-11-14T22:14:20Z"\ntest_from = "2023-11-14T22:15:00Z"',
            {"train": 60, "valid": 40, "test": 20},
        ),
        (
            'time = "ts"\nvalid_from = 2023-11-14T22:14:20Z\ntest_from = 2023-11-14T22:15:00Z',
            {"train": 60, "valid": 40, "test": 20},
        ),
        ('time = "ts"', {"train": 72, "valid": 24, "test": 24}),
        ('column = "part"', {"train": 72, "valid": 24, "test": 24}),
    ],
)
def test_splits_by_time_and_by_column(said, wanted, tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "log.csv").write_text(small_log.csv(small_log.rows()))
    data, _ = small_log.convert(tmp_path, said)
    assert {split: len(rows) for split, rows in small_log.stored(data).items()} == wanted
    record = json.loads((tmp_path / "data" / "dataset.json").read_text())["split"]
    assert record["kind"] == said.split(" ", maxsplit=1)[0]
    assert record["repeated"]["sampled"] == 1.0


def test_the_last_days_are_of_test(tmp_path):
    (tmp_path / "raw").mkdir()
    rows = small_log.rows()
    for i, row in enumerate(rows):
        row[4] = f"2023-11-{1 + i // 12:02d} 10:00:00"
    (tmp_path / "raw" / "log.csv").write_text(small_log.csv(rows))
    data, _ = small_log.convert(tmp_path, 'time = "ts"\nvalid_days = 2\ntest_days = 3\n')
    assert {s: len(r) for s, r in small_log.stored(data).items()} == {
        "train": 60,
        "valid": 24,
        "test": 36,
    }
    record = json.loads((tmp_path / "data" / "dataset.json").read_text())["split"]
    assert (record["valid_from"], record["test_from"]) == (
        "2023-11-06T00:00:00Z",
        "2023-11-08T00:00:00Z",
    )


def test_a_group_is_not_cut(tmp_path):
    (tmp_path / "raw").mkdir()
    rows = [[*row[:6], f"q{i // 2}"] for i, row in enumerate(small_log.rows())]
    (tmp_path / "raw" / "log.csv").write_text(small_log.csv(rows))
    schema = 'group = "search"\n' + small_log.SCHEMA
    data, _ = small_log.convert(tmp_path, 'by = "search"\n', schema)
    places = {}
    for split in ("train", "valid", "test"):
        for scenario in data.scenarios:
            for path in data.shards(scenario, split):
                for row in rows_back.rows_of(path, data.schema):
                    places.setdefault(int(row.group[0]), set()).add(split)
    assert len(places) == small_log.ROWS // 2
    assert all(len(found) == 1 for found in places.values())


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("valid", [True, False])
def test_splits_by_files(nested, valid, tmp_path):
    names = ["train", "validation", "test"] if valid else ["train", "test"]
    for name in names:
        path = tmp_path / "raw" / (f"{name}/part-0.csv" if nested else f"{name}.csv")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(small_log.csv(small_log.rows()))
    data, _ = small_log.convert(tmp_path, "files = true\n")
    found = {split: len(rows) for split, rows in small_log.stored(data).items()}
    assert found["test"] == small_log.ROWS
    assert found["train"] + found["valid"] == small_log.ROWS * (len(names) - 1)
    assert found["valid"] == small_log.ROWS if valid else 10 < found["valid"] < 40
    if valid:
        record = json.loads((tmp_path / "data" / "dataset.json").read_text())["split"]
        assert record["repeated"]["test"] == {
            "rows": small_log.ROWS,
            "also_in_train": small_log.ROWS,
        }


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ('time = "ts"\nby = "item"', "time and by do not go together"),
        ('valid_from = 3\nby = "item"', "go with time alone"),
        ('time = "ts"\nvalid_from = 3', "give both valid_from and test_from"),
        ('time = "ts"\nvalid_days = 0\ntest_days = 1', "must be at least 1"),
        ('time = "ts"\nvalid_from = "soon"\ntest_from = 5', "valid_from = 'soon' is no time"),
        ('time = "ts"\nvalid_from = 5\ntest_from = 5', "valid_from must be before test_from"),
        ("files = false", "files must be true"),
        ("files = true", "called train, valid or test"),
        ('time = "item"\nvalid_from = 1\ntest_from = 9999', "no test rows.*--min_rows"),
        ('time = "part"', r"holds no time \(but 'train'\); write times as seconds.*2023-11-14T22"),
        ('column = "site"', "line 2, column 'site': 'a' is not train, valid or test"),
        ('time = "never"', "no column 'never'"),
    ],
)
def test_splits_that_cannot_be(said, message, tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "log.csv").write_text(small_log.csv(small_log.rows()))
    with pytest.raises(errors.PfrecError, match=message):
        small_log.convert(tmp_path, said)
