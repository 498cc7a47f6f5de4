import random

import pytest

from pfrec import errors
from pfrec.commands import convert
from pfrec.data.dataset import dataset
from pfrec.data.reading import csv_stream

_SCHEMA = """
group = "user"
[scenario]
column = "site"
[[categorical]]
name = "user"
cardinality = 50
encoding = "hash"
[[categorical]]
name = "city"
vocabulary = ["Rome", "Oslo"]
[[numerical]]
name = "price"
default = 7.0
[[task]]
name = "ctr"
column = "click"
[[task]]
name = "cvr"
column = "buy"
given = "ctr"
[split]
valid = 0.2
test = 0.2
"""


def _raw(path, rows=300, seed=0, **cells):
    """A file of two sites; `cells` replaces a column's value in line 3."""
    draw = random.Random(seed)
    lines = ["site,user,city,price,click,buy"]
    for i in range(rows):
        click = draw.randint(0, 1)
        row = {
            "site": "ab"[i % 2],
            "user": f"u{i % 7}",
            "city": draw.choice(["Rome", "Oslo", "Bari"]),
            "price": i / 2,
        }
        row.update(click=click, buy=click * draw.randint(0, 1))
        if i == 1:
            row.update(cells)
        lines.append(",".join(map(str, row.values())))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def schema_path(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text(_SCHEMA)
    return path


def _open(path):
    return dataset.Dataset.open(path)


def test_scenarios_from_a_column(tmp_path, schema_path):
    convert.convert("csv", _raw(tmp_path / "log.csv"), tmp_path / "data", schema_path=schema_path)
    data = _open(tmp_path / "data")
    assert data.scenarios == ("a", "b")
    for scenario in data.scenarios:
        assert sum(data.rows(scenario, split) for split in ("train", "valid", "test")) == 150
        for split in ("train", "valid", "test"):
            assert data.observed(scenario, split, "cvr") == data.positives(scenario, split, "ctr")


def test_scenarios_from_files(tmp_path, schema_path):
    schema_path.write_text(_SCHEMA.replace('column = "site"', ""))
    (tmp_path / "raw").mkdir()
    _raw(tmp_path / "raw" / "NL.csv", 200)
    _raw(tmp_path / "raw" / "ES.csv", 100)
    convert.convert("csv", tmp_path / "raw", tmp_path / "data", schema_path=schema_path)
    data = _open(tmp_path / "data")
    assert data.scenarios == ("ES", "NL")
    assert sum(data.rows("ES", split) for split in ("train", "valid", "test")) == 100


@pytest.mark.parametrize("block_bytes", [200, 1000])
def test_the_dataset_does_not_depend_on_chunks(tmp_path, schema_path, monkeypatch, block_bytes):
    raw = _raw(tmp_path / "log.csv")
    convert.convert("csv", raw, tmp_path / "one", schema_path=schema_path)
    monkeypatch.setattr(csv_stream, "BLOCK_BYTES", block_bytes)
    convert.convert("csv", raw, tmp_path / "two", schema_path=schema_path)
    assert (tmp_path / "one" / "dataset.json").read_bytes() == (
        tmp_path / "two" / "dataset.json"
    ).read_bytes()


def test_missing_numbers_are_imputed_with_a_note(tmp_path, schema_path):
    raw = _raw(tmp_path / "log.csv", price="")
    notes = convert.convert(
        "csv", raw, tmp_path / "data", schema_path=schema_path, missing_numerical="impute"
    )
    assert notes[0] == "price: 1 missing values imputed"
    assert notes[1].startswith("WARNING: 'price' enters the model as raw numbers")
    assert notes[2].startswith("WARNING: 'city': 3")  # Bari is not in the vocabulary


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"price": ""}, "log.csv: line 3, column 'price': the value is empty or NaN"),
        ({"price": "cheap"}, "log.csv: line 3, column 'price': 'cheap' is not a number"),
        ({"click": "3"}, "log.csv: line 3, column 'click': the label is 3"),
        ({"user": ""}, "log.csv: line 3, column 'user': the group is empty"),
        ({"site": "../x"}, r"scenario '\.\./x' \(1 row, no "),
        ({"site": ""}, "log.csv: line 3, column 'site': the scenario is empty"),
        ({"site": "alone"}, "scenario 'alone' \\(1 row, no "),
        ({"city": "Rome,Oslo"}, "log.csv: line 3: 7 values where the header names 6 columns"),
    ],
)
def test_a_wrong_value_is_one_line_and_leaves_nothing(tmp_path, schema_path, cells, message):
    raw = _raw(tmp_path / "log.csv", **cells)
    with pytest.raises(errors.PfrecError, match=message) as raised:
        convert.convert("csv", raw, tmp_path / "data", schema_path=schema_path)
    assert "\n" not in str(raised.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.csv", "s.toml"]


def test_what_is_missing_is_named(tmp_path, schema_path):
    raw = _raw(tmp_path / "log.csv")
    with pytest.raises(errors.PfrecError, match="--schema: the csv format needs one"):
        convert.convert("csv", raw, tmp_path / "data")
    with pytest.raises(
        errors.PfrecError, match="no such directory; --input is a CSV file or a folder"
    ):
        convert.convert("csv", tmp_path / "none.csv", tmp_path / "data", schema_path=schema_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(errors.PfrecError, match=r"holds no \*.csv or \*.tsv file"):
        convert.convert("csv", tmp_path / "folder", tmp_path / "data", schema_path=schema_path)
    schema_path.write_text(_SCHEMA.replace('"price"', '"cost"'))
    with pytest.raises(
        errors.PfrecError,
        match=r"log.csv: no column 'cost'; columns found: site, user, city, price, click, buy",
    ):
        convert.convert("csv", raw, tmp_path / "data", schema_path=schema_path)
