import json
import shutil
import zipfile

import numpy as np
import pandas as pd
import pytest

from pfrec import errors
from pfrec.commands import convert
from pfrec.data.converters import aliexpress_raw
from pfrec.data.dataset import dataset
from pfrec.data.reading import csv_stream
from tests.pfrec.data import raw_layouts, rows_back

pytestmark = pytest.mark.usefixtures("rows_in_source_order")


@pytest.fixture(scope="module")
def made():
    return raw_layouts.aliexpress()


@pytest.fixture(scope="module")
def converted(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ali")
    raw_layouts.write_aliexpress(folder / "raw", "NL", made)
    convert.convert("aliexpress_raw", folder / "raw", folder / "data")
    return dataset.Dataset.open(folder / "data")


def _joined(made, split):
    """The plain pandas join: the reference."""
    users = pd.DataFrame(made.users[split], columns=aliexpress_raw.USER_COLUMNS)
    items = pd.DataFrame(made.items[split], columns=aliexpress_raw.ITEM_COLUMNS)
    return items.merge(users, how="left", left_on="item_1", right_on="user_1")


def test_the_columns_are_those_of_the_publication(converted):
    names = [feature.name for feature in converted.schema.categorical]
    assert names[:9] == [f"user_{i}" for i in (2, 3, 4, 5, 6, 7, 8, 32, 33)]
    assert names[9:] == [f"item_{i}" for i in (19, 34, 35, 36, 40, 41, 42)]
    assert len(converted.schema.numerical) == 63
    assert {feature.policy for feature in converted.schema.categorical} == {"shared"}
    assert converted.schema.group == "item_1"
    assert converted.scenarios == ("NL",)


def test_every_row_comes_out_with_its_values(made, converted):
    for split, raw_split in (("test", "test"), ("train", "train"), ("valid", "train")):
        expected = _joined(made, raw_split)
        numbers = rows_back.in_order(len(expected), 0, aliexpress_raw.FRACTIONS)
        if split != "test":
            expected = expected.iloc[numbers[0 if split == "train" else 1]]
        rows = rows_back.read_back(converted, "NL", split)
        assert len(rows["labels"]) == len(expected)
        np.testing.assert_array_equal(rows["group"], expected["item_1"].astype(int))
        np.testing.assert_array_equal(rows["labels"][:, 0], expected["item_49"].isin(["1", "2"]))
        np.testing.assert_array_equal(rows["labels"][:, 1], expected["item_49"] == "2")
        for i, feature in enumerate(converted.schema.categorical):
            words = np.array([*feature.vocabulary, None], object)
            found = words[rows["categorical"][:, i]]
            np.testing.assert_array_equal(found, expected[feature.name])
        for i, column in enumerate(converted.schema.numerical):
            np.testing.assert_array_equal(
                rows["numerical"][:, i], expected[column.name].astype(float).astype(np.float32)
            )


@pytest.mark.parametrize("how", ["short", "zips", "plain"])
def test_zipped_or_unpacked_gives_the_same_dataset(made, converted, tmp_path, how):
    raw_layouts.write_aliexpress(tmp_path / "raw", "NL", made, how)
    convert.convert("aliexpress_raw", tmp_path / "raw", tmp_path / "data")
    assert dataset.Dataset.open(tmp_path / "data").files == converted.files


@pytest.mark.parametrize("block_bytes", [300, 5000])
def test_the_dataset_does_not_depend_on_chunks(made, converted, tmp_path, monkeypatch, block_bytes):
    raw_layouts.write_aliexpress(tmp_path / "raw", "NL", made, "plain")
    monkeypatch.setattr(csv_stream, "BLOCK_BYTES", block_bytes)
    convert.convert("aliexpress_raw", tmp_path / "raw", tmp_path / "data")
    assert dataset.Dataset.open(tmp_path / "data").files == converted.files


@pytest.mark.parametrize("seed", [1, 2])
def test_any_line_end_gives_the_same_dataset(tmp_path, seed):
    made = raw_layouts.aliexpress(seed, pages=15)
    found = []
    for name, line_end in (("lf", "\n"), ("crlf", "\r\n")):
        (tmp_path / name).mkdir()
        for kind, rows in (("user", made.users), ("item", made.items)):
            for split in ("train", "test"):
                content = raw_layouts.text(rows[split], line_end)
                (tmp_path / name / f"FR_{kind}_{split}.csv").write_bytes(
                    content[: -len(line_end)]
                )  # no line end at the end
        convert.convert("aliexpress_raw", tmp_path / name, tmp_path / f"{name}_data")
        found.append(dataset.Dataset.open(tmp_path / f"{name}_data").files)
    assert found[0] == found[1]


def test_a_value_that_only_the_test_rows_have_is_unknown(made, tmp_path):
    changed = raw_layouts.AliExpress(
        made.users, {**made.items, "test": [list(row) for row in made.items["test"]]}
    )
    changed.items["test"][0][18] = "never seen"
    raw_layouts.write_aliexpress(tmp_path / "raw", "NL", changed)
    convert.convert("aliexpress_raw", tmp_path / "raw", tmp_path / "data")
    data = dataset.Dataset.open(tmp_path / "data")
    place = [feature.name for feature in data.schema.categorical].index("item_19")
    ids = rows_back.read_back(data, "NL", "test")["categorical"][:, place]
    assert ids[0] == data.schema.categorical[place].cardinality
    assert (ids[1:] < data.schema.categorical[place].cardinality).all()


def test_several_countries_share_one_schema(made, tmp_path):
    raw_layouts.write_aliexpress(tmp_path / "raw", "NL", made)
    raw_layouts.write_aliexpress(tmp_path / "raw", "ES", raw_layouts.aliexpress(seed=1, pages=20))
    convert.convert("aliexpress_raw", tmp_path / "raw", tmp_path / "data")
    assert dataset.Dataset.open(tmp_path / "data").scenarios == ("ES", "NL")


def _broken(made, kind, row, column, value):
    rows = {split: [list(r) for r in getattr(made, kind)[split]] for split in ("train", "test")}
    rows["train"][row][column] = value
    return raw_layouts.AliExpress(**{**{"users": made.users, "items": made.items}, kind: rows})


@pytest.mark.parametrize(
    ("kind", "column", "value", "message"),
    [
        (
            "items",
            0,
            "999999",
            r"NL_item_train.csv: line 3, column 'item_1': the search 999999 has no row in "
            r".*NL_user_train.csv",
        ),
        (
            "items",
            0,
            "x",
            "NL_item_train.csv: line 3, column 'item_1': the search id is not a whole number",
        ),
        ("items", 48, "3", "NL_item_train.csv: line 3, column 'item_49': the label is 3; it is 0"),
        ("items", 48, "", "NL_item_train.csv: line 3, column 'item_49': the label is empty"),
        (
            "items",
            1,
            "cheap",
            "NL_item_train.csv: line 3, column 'item_2': 'cheap' is not a number",
        ),
        ("items", 1, "", "NL_item_train.csv: line 3, column 'item_2': the value is empty or NaN"),
        (
            "items",
            1,
            "1,2",
            "NL_item_train.csv: line 3: 50 values where the header names 49 columns",
        ),
        (
            "users",
            10,
            "cheap",
            "NL_user_train.csv: line 3, column 'user_11': 'cheap' is not a number",
        ),
        (
            "users",
            0,
            "1.5",
            "NL_user_train.csv: line 3, column 'user_1': the search id is not a whole number",
        ),
    ],
)
def test_a_wrong_value_is_one_line_or_left_out(made, tmp_path, kind, column, value, message):
    raw_layouts.write_aliexpress(
        tmp_path / "raw", "NL", _broken(made, kind, 2, column, value), "plain"
    )
    with pytest.raises(errors.PfrecError, match=message) as raised:
        convert.convert("aliexpress_raw", tmp_path / "raw", tmp_path / "data")
    assert "\n" not in str(raised.value)
    assert [p.name for p in tmp_path.iterdir()] == ["raw"]
    convert.convert("aliexpress_raw", tmp_path / "raw", tmp_path / "data", on_bad_row="skip")
    record = json.loads((tmp_path / "data" / "dataset.json").read_text())
    assert record["bad_rows"]["examples"][0]["line"] == 3
    kept = sum(counts["rows"] for counts in record["counts"]["NL"].values())
    left_out = record["bad_rows"]["rows"] - (
        kind == "users"
    )  # a bad search page takes the items shown on it with it
    assert kept == len(made.items["train"]) + len(made.items["test"]) - left_out


def test_a_search_page_that_stands_twice_is_refused(made, tmp_path):
    raw_layouts.write_aliexpress(
        tmp_path / "raw", "NL", _broken(made, "users", 2, 0, made.users["train"][0][0]), "plain"
    )
    with pytest.raises(
        errors.PfrecError,
        match=r"NL_user_train.csv: row 2, column 'user_1': the search stands in an earlier row too",
    ):
        convert.convert("aliexpress_raw", tmp_path / "raw", tmp_path / "data")


def test_what_is_missing_or_damaged_is_named(made, tmp_path):
    with pytest.raises(
        errors.PfrecError,
        match=r"no such directory; --input is a folder with aliexpress_XX_datasets.zip",
    ):
        convert.convert("aliexpress_raw", tmp_path / "none", tmp_path / "data")
    raw = raw_layouts.write_aliexpress(tmp_path / "raw", "NL", made, "zips")
    (raw / "NL_user_test.zip").rename(tmp_path / "moved.zip")
    with pytest.raises(errors.PfrecError, match=r"no file NL_user_test \(.csv or .zip\)"):
        convert.convert("aliexpress_raw", raw, tmp_path / "data")
    (raw / "NL_user_test.zip").write_bytes((tmp_path / "moved.zip").read_bytes()[:-30])
    with pytest.raises(errors.PfrecError, match=r"NL_user_test.zip: damaged or not decompressible"):
        convert.convert("aliexpress_raw", raw, tmp_path / "data")
    with zipfile.ZipFile(raw / "NL_user_test.zip", "w") as archive:
        archive.writestr("a.csv", "1")
        archive.writestr("b.csv", "1")
    with pytest.raises(errors.PfrecError, match="holds 2 files where one CSV file belongs"):
        convert.convert("aliexpress_raw", raw, tmp_path / "data")
    shutil.copyfile(tmp_path / "moved.zip", raw / "NL_user_test.zip")
    (raw / "NL_user_test.csv").write_text("1\n")
    with pytest.raises(errors.PfrecError, match="stands a second time"):
        convert.convert("aliexpress_raw", raw, tmp_path / "data")
