import csv
import pathlib

import numpy as np
import pytest

from pfrec import errors
from pfrec.commands import convert
from pfrec.data.converters import kuairand
from pfrec.data.dataset import dataset
from tests.pfrec.data import raw_layouts, rows_back

pytestmark = pytest.mark.usefixtures("rows_in_source_order")

_SAMPLE = pathlib.Path(__file__).resolve().parents[4] / ".." / "shared" / "data" / "kuairand"


def _table(file):
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_joined_sample(tmp_path):
    if not _SAMPLE.is_dir():
        pytest.skip(f"{_SAMPLE} is absent")
    convert.convert("kuairand", _SAMPLE, tmp_path / "data")
    data = dataset.Dataset.open(tmp_path / "data")
    assert data.scenarios == ("tab_1",)
    assert [data.rows("tab_1", split) for split in ("train", "valid", "test")] == [144, 21, 35]
    # 32 of the 200 rows were clicked, as `cut -d, -f3 kuairand_sample.csv | sort | uniq -c` counts.
    assert (
        sum(data.positives("tab_1", split, "click") for split in ("train", "valid", "test")) == 32
    )
    assert [task.name for task in data.schema.tasks] == ["click"]
    names = {feature.name for feature in (*data.schema.categorical, *data.schema.numerical)}
    assert names.isdisjoint(
        {"play_time_ms", "profile_stay_time", "comment_stay_time", "is_click", "tab"}
    )
    rows = _table(_SAMPLE / "kuairand_sample.csv")
    numbers = rows_back.in_order(200, 0, kuairand.FRACTIONS)[0]
    found = rows_back.read_back(data, "tab_1", "train")
    np.testing.assert_array_equal(found["group"], [int(rows[i]["user_id"]) for i in numbers])
    place = [feature.name for feature in data.schema.categorical].index("onehot_feat4")
    words = [data.schema.categorical[place].vocabulary[v] for v in found["categorical"][:, place]]
    assert words == [str(int(float(rows[i]["onehot_feat4"]))) for i in numbers]
    place = [column.name for column in data.schema.numerical].index("duration_ms")
    np.testing.assert_allclose(
        found["numerical"][:, place],
        np.log1p([float(rows[i]["duration_ms"]) for i in numbers]),
        rtol=1e-6,
    )


@pytest.mark.parametrize("name", ["pure", "1k"])
def test_logs_are_joined_with_their_features(tmp_path, name):
    raw = raw_layouts.write_kuairand(tmp_path / "raw", name)
    convert.convert("kuairand", raw, tmp_path / "data", missing_numerical="impute")
    data = dataset.Dataset.open(tmp_path / "data")
    assert data.scenarios == ("tab_0", "tab_1", "tab_2", "tab_4", "tab_6")
    assert [task.name for task in data.schema.tasks] == ["click", "long_view", "like"]
    users = {row["user_id"]: row for row in _table(raw / "data" / f"user_features_{name}.csv")}
    videos = {
        row["video_id"]: row for row in _table(raw / "data" / f"video_features_basic_{name}.csv")
    }
    numbers = rows_back.in_order(400, 0, kuairand.FRACTIONS)[2]
    rows = []
    for log in sorted((raw / "data").glob("log_*")):
        rows += [row for i, row in enumerate(_table(log)) if i in numbers and row["tab"] == "2"]
    rows = [{**row, **users[row["user_id"]], **videos[row["video_id"]]} for row in rows]
    found = rows_back.read_back(data, "tab_2", "test")
    labels = [[int(row[column]) for column in ("is_click", "long_view", "is_like")] for row in rows]
    np.testing.assert_array_equal(found["labels"], labels)
    for i, column in enumerate(data.schema.numerical):
        np.testing.assert_allclose(
            found["numerical"][:, i], np.log1p([float(row[column.name]) for row in rows]), rtol=1e-6
        )
    for feature, ids in zip(data.schema.categorical, data.schema.id_places):
        expected = [row[feature.name] for row in rows] if feature.name in rows[0] else []
        if feature.name == "tag":
            assert (feature.vocabulary, feature.values) == (("12", "65"), 8)
            words = [
                ",".join(feature.vocabulary[v] for v in row if v >= 0)
                for row in found["categorical"][:, ids]
            ]
            assert words == expected
            assert set(words) == {"12", "12,65", ""}
        elif feature.encoding == "vocabulary":
            words = [
                feature.vocabulary[v] if v < feature.cardinality else ""
                for v in found["categorical"][:, ids.start]
            ]
            assert words == [value[:-2] if value.endswith(".0") else value for value in expected]


def test_only_tags_are_cut_into_values():
    assert kuairand._words("tag", ["12, 65", "", "7"]) == ("12", "65", "7")
    assert kuairand._words("upload_type", [" Long", "a,b", ""]) == (" Long", "a,b")


def test_scenarios_and_tasks_may_be_chosen(tmp_path):
    raw = raw_layouts.write_kuairand(tmp_path / "raw")
    options = {"scenarios": ["tab_3", "0"], "tasks": ["follow"], "sample_users": 0.5}
    convert.convert("kuairand", raw, tmp_path / "data", **options)
    data = dataset.Dataset.open(tmp_path / "data")
    assert data.scenarios == ("tab_0", "tab_3")
    assert [task.column for task in data.schema.tasks] == ["is_follow"]


@pytest.mark.parametrize(
    ("file", "change", "options", "message"),
    [
        (
            "log_standard_4_08_to_4_21_pure.csv",
            None,
            {"tasks": ["buy"]},
            "--tasks: 'buy' is not one of click",
        ),
        (
            "log_standard_4_08_to_4_21_pure.csv",
            ("is_click", "clicked"),
            {"tasks": ["click"]},
            "no column 'is_click' for the task 'click'",
        ),
        (
            "log_standard_4_08_to_4_21_pure.csv",
            ("tab", "tap"),
            {},
            "no column 'tab'; --input is a KuaiRand folder",
        ),
        (
            "log_standard_4_08_to_4_21_pure.csv",
            ("\n", "\n1x,1,20220408,1,1" + ",0" * 13 + ",1\n"),
            {},
            "'1x' has no row in .*user_features_pure",
        ),
        (
            "user_features_pure.csv",
            ("\n0,", "\n1,"),
            {},
            "user_features_pure.csv: row 1, column 'user_id': stands in an earlier row too",
        ),
        (
            "user_features_pure.csv",
            ("\n0,", "\n0.5,"),
            {},
            "user_features_pure.csv: line 2, column 'user_id': not a whole number",
        ),
        (
            "video_features_basic_pure.csv",
            ("\n0,", "\n"),
            {},
            "video_features_basic_pure.csv: line 2: 11 values where the header names 12",
        ),
    ],
)
def test_a_mistake_is_one_line(tmp_path, file, change, options, message):
    raw = raw_layouts.write_kuairand(tmp_path / "raw")
    place = raw / "data" / file
    if change is not None:
        for path in (raw / "data").glob("log_*" if file.startswith("log") else file):
            path.write_text(path.read_text().replace(*change, 1))
    assert place.exists()
    with pytest.raises(errors.PfrecError, match=message) as raised:
        convert.convert("kuairand", raw, tmp_path / "data", **options)
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_named(tmp_path):
    raw = raw_layouts.write_kuairand(tmp_path / "raw")
    (raw / "data" / "user_features_pure.csv").unlink()
    with pytest.raises(
        errors.PfrecError, match=r"holds 0 files user_features_\*.csv where one belongs"
    ):
        convert.convert("kuairand", raw, tmp_path / "data")
    for path in (raw / "data").iterdir():
        path.unlink()
    with pytest.raises(errors.PfrecError, match=r"holds no log_\*.csv"):
        convert.convert("kuairand", raw, tmp_path / "data")
