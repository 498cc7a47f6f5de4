import collections
import json

import numpy as np
import pytest

from pfrec import errors
from pfrec.commands import convert
from pfrec.data.converters import ali_ccp
from pfrec.data.dataset import dataset
from pfrec.data.reading import csv_stream
from tests.pfrec.data import raw_layouts, rows_back

pytestmark = pytest.mark.usefixtures("rows_in_source_order")


def _parsed(text):
    """The first id per field of a feature string: the plain reference."""
    found = {}
    for feature in text.split("\x01"):
        field, rest = feature.split("\x02")
        found.setdefault(field, rest.split("\x03")[0])
    return found


def _expected(skeleton, common, split):
    """Per kept row: its number in the file, and all its values."""
    users = {row[0]: _parsed(row[2]) for row in common[split]}
    rows = []
    for number, (_, click, buy, key, _, features) in enumerate(skeleton[split]):
        if (click, buy) != ("0", "1"):
            rows.append(
                (
                    number,
                    {**users[key], **_parsed(features), "click": int(click), "purchase": int(buy)},
                )
            )
    return rows


@pytest.mark.parametrize("block_bytes", [700, 1 << 20])
def test_every_row_comes_out_with_its_values(tmp_path, monkeypatch, block_bytes):
    monkeypatch.setattr(csv_stream, "BLOCK_BYTES", block_bytes)
    skeleton, common = raw_layouts.ali_ccp()
    raw_layouts.write_ali_ccp(tmp_path / "raw", skeleton, common)
    notes = convert.convert("ali_ccp", tmp_path / "raw", tmp_path / "data", min_count=40)
    assert notes == [
        "ids that occur fewer than 40 times in training rows share the unknown id of their field"
    ]
    data = dataset.Dataset.open(tmp_path / "data")
    assert data.scenarios == ("301_1", "301_2", "301_3")
    assert [feature.name for feature in data.schema.categorical] == list(ali_ccp.FIELDS)
    assert [feature.name for feature in data.schema.categorical if feature.policy == "private"] == [
        "101"
    ]
    train = _expected(skeleton, common, "train")
    kept = set(rows_back.in_order(300, 0, ali_ccp.FRACTIONS)[0].tolist())
    found = {scenario: rows_back.read_back(data, scenario, "train") for scenario in data.scenarios}
    for i, feature in enumerate(data.schema.categorical):
        counts = collections.Counter(row[feature.name] for _, row in train)
        common_ids = {word for word, count in counts.items() if count >= 40}
        assert set(feature.vocabulary) == common_ids
        for scenario in data.scenarios:
            rows = [row for number, row in train if number in kept and row["301"] == scenario[4:]]
            np.testing.assert_array_equal(
                found[scenario]["labels"], [[row["click"], row["purchase"]] for row in rows]
            )
            words = [
                feature.vocabulary[v] if v < len(feature.vocabulary) else None
                for v in found[scenario]["categorical"][:, i]
            ]
            assert words == [
                row[feature.name] if row[feature.name] in common_ids else None for row in rows
            ]
    tested = sum(data.rows(scenario, "test") for scenario in data.scenarios)
    assert tested == len(_expected(skeleton, common, "test")) < 300


@pytest.mark.parametrize(
    ("file", "row", "column", "value", "message"),
    [
        (
            "skeleton",
            4,
            3,
            "nobody",
            r"sample_skeleton_train.csv: line 5, column 'common': the key has no row in "
            r".*common_features_train",
        ),
        (
            "skeleton",
            4,
            3,
            "x" * 40,
            "sample_skeleton_train.csv: line 5, column 'common': the key is empty or longer "
            "than 32 bytes",
        ),
        (
            "skeleton",
            4,
            5,
            "301\x021",
            "sample_skeleton_train.csv: line 5, column 'features': a feature is not of the form",
        ),
        (
            "skeleton",
            4,
            5,
            "301\x02../x\x031.0",
            "sample_skeleton_train.csv: line 5, column '301': the scenario is '../x'",
        ),
        (
            "skeleton",
            4,
            5,
            "205\x021\x031.0",
            "sample_skeleton_train.csv: line 5, column '301': the scenario is 'missing'",
        ),
        (
            "skeleton",
            4,
            1,
            "2",
            "sample_skeleton_train.csv: line 5, column 'click': the label is 2",
        ),
        (
            "common",
            4,
            2,
            "101",
            "common_features_train.csv: line 5, column 'features': a feature is not of the form",
        ),
        (
            "common",
            4,
            0,
            "train" + "0" * 12,
            r"common_features_train.csv: row 4, column 'common': the key stands in an earlier row",
        ),
    ],
)
def test_a_wrong_value_is_one_line_or_left_out(tmp_path, file, row, column, value, message):
    skeleton, common = raw_layouts.ali_ccp()
    {"skeleton": skeleton, "common": common}[file]["train"][row][column] = value
    raw_layouts.write_ali_ccp(tmp_path / "raw", skeleton, common)
    with pytest.raises(errors.PfrecError, match=message) as raised:
        convert.convert("ali_ccp", tmp_path / "raw", tmp_path / "data")
    assert "\n" not in str(raised.value)
    convert.convert("ali_ccp", tmp_path / "raw", tmp_path / "data", on_bad_row="skip")
    assert json.loads((tmp_path / "data" / "dataset.json").read_text())["bad_rows"]["rows"] >= 1


def test_a_missing_file_is_named(tmp_path):
    raw_layouts.write_ali_ccp(tmp_path / "raw", *raw_layouts.ali_ccp())
    (tmp_path / "raw" / "common_features_test.csv").unlink()
    with pytest.raises(
        errors.PfrecError,
        match=r"common_features_test.csv: no such file; --input is a folder with sample_skeleton",
    ):
        convert.convert("ali_ccp", tmp_path / "raw", tmp_path / "data")
