import csv
import pathlib
import shutil

import pytest
import tensorflow as tf

from pfrec import errors
from pfrec.commands import convert
from pfrec.data.converters import aliexpress
from pfrec.data.dataset import dataset, row_block

pytestmark = pytest.mark.usefixtures("rows_in_source_order")

_RAW = pathlib.Path(__file__).resolve().parents[4] / ".." / "shared" / "data" / "AliExpress_US"
_COLUMNS = ("search_id", *aliexpress.CATEGORICAL, *aliexpress.NUMERICAL, "click", "conversion")


def _write(folder, counts=(200, 20), **cells):
    """A country; `cells` replaces a column's value in line 3 of train.csv."""
    folder.mkdir(parents=True)
    for name, count in zip(("train.csv", "test.csv"), counts):
        with (folder / name).open("w", newline="") as stream:
            writer = csv.DictWriter(stream, _COLUMNS)
            writer.writeheader()
            for i in range(count):
                row = dict.fromkeys(aliexpress.CATEGORICAL, i % 3)
                row.update(dict.fromkeys(aliexpress.NUMERICAL, 0.25))
                row.update(search_id=i // 4, click=i % 2, conversion=int(i % 4 == 1))
                if i == 1 and name == "train.csv":
                    row.update(cells)
                writer.writerow(row)


def test_the_real_rows(tmp_path):
    if not _RAW.is_dir():
        pytest.skip(f"{_RAW} is absent")
    convert.convert("aliexpress", _RAW, tmp_path / "data")
    data = dataset.Dataset.open(tmp_path / "data")
    assert data.scenarios == ("US",)
    assert [data.rows("US", split) for split in ("train", "valid", "test")] == [91, 9, 20]
    # Clicked: 60 of the 100 training rows and 10 of the 20 test rows; bought: 2 and 2.
    assert [data.counts["US"][split].positives for split in ("train", "valid", "test")] == [
        {"ctr": 54, "ctcvr": 1},
        {"ctr": 6, "ctcvr": 1},
        {"ctr": 10, "ctcvr": 2},
    ]
    with (_RAW / "train.csv").open() as stream:
        train = list(csv.DictReader(stream))
    with (_RAW / "test.csv").open() as stream:
        test = list(csv.DictReader(stream))
    for task, column in (("ctr", "click"), ("ctcvr", "conversion")):
        assert data.positives("US", "test", task) == sum(int(row[column]) for row in test)
        assert sum(data.positives("US", split, task) for split in ("train", "valid")) == sum(
            int(row[column]) for row in train
        )
    cardinalities = [
        1 + max(int(row[name]) for row in (*train, *test)) for name in aliexpress.CATEGORICAL
    ]
    assert [feature.cardinality for feature in data.schema.categorical] == cardinalities
    record = next(iter(tf.data.TFRecordDataset(data.shards("US", "test")))).numpy()
    rows = row_block.decode(record, data.schema)
    assert rows.group.tolist() == [int(row["search_id"]) for row in test]
    assert rows.categorical[3].tolist() == [int(test[3][name]) for name in aliexpress.CATEGORICAL]
    assert rows.numerical[3].tolist() == pytest.approx(
        [float(test[3][name]) for name in aliexpress.NUMERICAL], rel=1e-6
    )


def test_countries_share_one_schema(tmp_path):
    _write(tmp_path / "raw" / "AliExpress_NL", categorical_2="9.0")
    _write(tmp_path / "raw" / "AliExpress_ES", counts=(300, 10))
    (tmp_path / "raw" / "notes").mkdir()
    convert.convert("aliexpress", tmp_path / "raw", tmp_path / "data")
    data = dataset.Dataset.open(tmp_path / "data")
    assert data.scenarios == ("ES", "NL")
    assert [feature.cardinality for feature in data.schema.categorical] == [3, 10] + [3] * 14
    assert data.rows("ES", "train") + data.rows("ES", "valid") == 300
    assert data.counts["NL"]["test"] == dataset.Counts(
        20, {"ctr": 20, "ctcvr": 20}, {"ctr": 10, "ctcvr": 5}
    )


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"categorical_3": "x"}, "train.csv: line 3, column 'categorical_3': 'x' is not a number"),
        (
            {"categorical_3": "-2"},
            "train.csv: line 3, column 'categorical_3': the id -2 is not one of 0 to 2",
        ),
        ({"categorical_3": "1.5"}, "train.csv: line 3, column 'categorical_3': the id 1.5 is not"),
        (
            {"categorical_3": "9e18"},
            "train.csv: line 3, column 'categorical_3': the id 9e\\+18 is not one of 0 to 2",
        ),
        ({"categorical_3": ""}, "train.csv: line 3, column 'categorical_3': the id is empty"),
        (
            {"numerical_9": "nan"},
            "train.csv: line 3, column 'numerical_9': the value is empty or NaN",
        ),
        ({"numerical_9": "inf"}, "train.csv: line 3, column 'numerical_9': the value is infinite"),
        ({"click": "2"}, "train.csv: line 3, column 'click': the label is 2; labels are 0 or 1"),
    ],
)
def test_a_wrong_value_is_one_line_and_leaves_nothing(tmp_path, cells, message):
    _write(tmp_path / "raw" / "AliExpress_NL", **cells)
    with pytest.raises(errors.PfrecError, match=message) as raised:
        convert.convert("aliexpress", tmp_path / "raw", tmp_path / "data")
    assert "\n" not in str(raised.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["raw"]


def test_missing_things(tmp_path):
    with pytest.raises(errors.PfrecError, match="no such directory; --input is a folder"):
        convert.convert("aliexpress", tmp_path / "none", tmp_path / "data")
    (tmp_path / "raw").mkdir()
    with pytest.raises(errors.PfrecError, match="holds no folder AliExpress_XX"):
        convert.convert("aliexpress", tmp_path / "raw", tmp_path / "data")
    _write(tmp_path / "raw" / "AliExpress_NL")
    test = tmp_path / "raw" / "AliExpress_NL" / "test.csv"
    test.write_text("search_id,click\n1,0\n")
    with pytest.raises(
        errors.PfrecError,
        match=r"test.csv: no columns 'categorical_1', .*; columns found: search_id, click",
    ):
        convert.convert("aliexpress", tmp_path / "raw", tmp_path / "data")
    test.unlink()
    with pytest.raises(errors.PfrecError, match=r"test.csv: no such file"):
        convert.convert("aliexpress", tmp_path / "raw", tmp_path / "data")
    shutil.rmtree(tmp_path / "raw")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_test_file_is_an_empty_split(tmp_path):
    _write(tmp_path / "raw" / "AliExpress_NL", counts=(200, 0))
    with pytest.raises(errors.PfrecError, match="scenario 'NL' has no test rows"):
        convert.convert("aliexpress", tmp_path / "raw", tmp_path / "data")
