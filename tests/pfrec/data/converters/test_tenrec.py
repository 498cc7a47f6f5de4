import gzip

import numpy as np
import pytest

from pfrec import errors
from pfrec.commands import convert
from pfrec.data.converters import tenrec
from pfrec.data.dataset import dataset
from tests.pfrec.data import raw_layouts, rows_back

pytestmark = pytest.mark.usefixtures("rows_in_source_order")


def _write(folder, *names, rows=400):
    folder.mkdir()
    made = {}
    for name in names:
        made[name] = raw_layouts.tenrec(name, rows)
        columns = list(made[name][0])
        (folder / f"{name}.csv").write_bytes(raw_layouts.table(columns, made[name]))
    return made


def test_video_files_are_scenarios_and_rows_come_out_equal(tmp_path):
    import tensorflow as tf

    made = _write(tmp_path / "raw", "QK-video", "QB-video")
    convert.convert("tenrec", tmp_path / "raw", tmp_path / "data")
    data = dataset.Dataset.open(tmp_path / "data")
    assert data.scenarios == ("QK-video", "QB-video")
    assert [task.name for task in data.schema.tasks] == ["click", "like", "share", "follow"]
    assert [feature.name for feature in data.schema.categorical] == [
        "user_id",
        "item_id",
        "video_category",
        "gender",
        "age",
    ]
    assert [feature.policy for feature in data.schema.categorical] == ["private"] + ["shared"] * 4
    assert data.schema.numerical == ()
    for scenario, rows in made.items():
        for split, numbers in zip(
            ("train", "valid", "test"), rows_back.in_order(len(rows), 0, tenrec.FRACTIONS)
        ):
            expected = [rows[i] for i in numbers]
            found = rows_back.read_back(data, scenario, split)
            np.testing.assert_array_equal(found["group"], [row["user_id"] for row in expected])
            for i, task in enumerate(data.schema.tasks):
                np.testing.assert_array_equal(
                    found["labels"][:, i], [row[task.name] for row in expected]
                )
            items = tf.strings.to_hash_bucket_fast(
                [str(row["item_id"]) for row in expected], tenrec.ID_BUCKETS
            )
            np.testing.assert_array_equal(found["categorical"][:, 1], items)
            ages = [20 if row["age"] == "\\N" else row["age"] for row in expected]  # 20: unknown
            np.testing.assert_array_equal(found["categorical"][:, 4], ages)


def test_an_article_file_has_no_click_task(tmp_path):
    _write(tmp_path / "raw", "QK-video", "QK-article", "QB-article")
    with pytest.raises(errors.PfrecError, match=r"QK-article.csv: article files hold clicks only"):
        convert.convert("tenrec", tmp_path / "raw", tmp_path / "data")
    with pytest.raises(
        errors.PfrecError,
        match="--tasks: QB-article has no label 'like'; it has none that can be a task",
    ):
        convert.convert("tenrec", tmp_path / "raw", tmp_path / "data", tasks=["like"])
    with pytest.raises(
        errors.PfrecError,
        match="--tasks: QK-video has no label 'favorite'; it has click, follow, like, share",
    ):
        convert.convert(
            "tenrec",
            tmp_path / "raw",
            tmp_path / "data",
            tasks=["favorite"],
            scenarios=["QK-video", "QK-article"],
        )


def test_articles_alone_and_beside_videos(tmp_path):
    _write(tmp_path / "raw", "QK-video", "QK-article")
    options = {"tasks": ["like", "share"], "missing_numerical": "impute"}
    convert.convert("tenrec", tmp_path / "raw", tmp_path / "both", **options)
    both = dataset.Dataset.open(tmp_path / "both")
    assert both.scenarios == ("QK-video", "QK-article")
    assert [feature.name for feature in both.schema.categorical] == [
        "user_id",
        "item_id",
        "gender",
        "age",
    ]
    convert.convert(
        "tenrec", tmp_path / "raw", tmp_path / "articles", scenarios=["QK-article"], **options
    )
    articles = dataset.Dataset.open(tmp_path / "articles").schema
    names = {feature.name for feature in (*articles.categorical, *articles.numerical)}
    assert "category_second" in names
    assert names.isdisjoint({"read", "read_time", "read_percentage", "watching_times"})  # outcomes


def test_sampling_keeps_whole_users_the_same_in_every_file(tmp_path):
    made = _write(tmp_path / "raw", "QK-video", "QB-video", rows=2000)
    (tmp_path / "raw" / "QB-video.csv.gz").write_bytes(
        gzip.compress((tmp_path / "raw" / "QB-video.csv").read_bytes())
    )
    (tmp_path / "raw" / "QB-video.csv").unlink()
    notes = convert.convert(
        "tenrec", tmp_path / "raw", tmp_path / "data", sample_users=0.4, split_seed=3
    )
    assert notes == ["rows of 0.4 of all users are kept, chosen by the hash of the user and seed 3"]
    data = dataset.Dataset.open(tmp_path / "data")
    kept = {}
    for scenario, rows in made.items():
        groups = np.concatenate(
            [
                rows_back.read_back(data, scenario, split)["group"]
                for split in ("train", "valid", "test")
            ]
        )
        kept[scenario] = set(groups.tolist())
        assert len(groups) == sum(row["user_id"] in kept[scenario] for row in rows)
    assert kept["QK-video"] == kept["QB-video"]
    assert 6 <= len(kept["QK-video"]) <= 26  # of 40 users; the binomial's deviation is 3.1
    convert.convert("tenrec", tmp_path / "raw", tmp_path / "other", sample_users=0.4, split_seed=4)
    other = rows_back.read_back(dataset.Dataset.open(tmp_path / "other"), "QK-video", "train")[
        "group"
    ]
    assert set(other.tolist()) != kept["QK-video"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scenarios": ["QQ-video"]}, "--scenarios: 'QQ-video' is not one of QK-video"),
        (
            {"scenarios": ["QB-video"]},
            r"QB-video.csv: no such file; --input is a folder with some of",
        ),
        ({"sample_users": 0.0}, "--sample_users=0: must be above 0"),
        ({"sample_users": 1.5}, r"--sample_users=1.5: must be above 0"),
        ({"min_count": 3}, "--min_count: the tenrec format does not know it"),
    ],
)
def test_a_wrong_setting_is_one_line(tmp_path, options, message):
    _write(tmp_path / "raw", "QK-video", rows=30)
    with pytest.raises(errors.PfrecError, match=message):
        convert.convert("tenrec", tmp_path / "raw", tmp_path / "data", **options)
