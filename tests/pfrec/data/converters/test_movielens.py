import pathlib
import shutil

import numpy as np
import pytest

from pfrec import errors
from pfrec.commands import convert
from pfrec.data import converters
from pfrec.data.conversion import encoding
from pfrec.data.converters import movielens
from pfrec.data.dataset import dataset
from tests.pfrec.data import raw_layouts, rows_back

pytestmark = pytest.mark.usefixtures("rows_in_source_order")

_RAW = pathlib.Path(__file__).resolve().parents[4] / ".." / "shared" / "data" / "movielens-100k"


@pytest.fixture(scope="module")
def raw():
    if not _RAW.is_dir():
        pytest.skip(f"{_RAW} is absent: MovieLens 100K may not be passed on")
    return _RAW


def _small(path):
    """Two users, two films, three ratings."""
    path.mkdir()
    (path / "u.user").write_text(" 1|24|M|technician|85711\n2|61|F|writer|94043\n")
    flags = "|".join(["0"] * 18)
    (path / "u.item").write_text(
        f"1|Amélie (1995)|01-Jan-1995||url|0|{flags}\n2|unknown||||1|{flags}\n", encoding="latin-1"
    )
    (path / "u1.base").write_text("2\t1\t5\t874\n1\t2\t3\t876\n")
    (path / "u1.test").write_text("1\t1\t4\t878\n")
    return path


def test_all_ratings_are_there(raw, tmp_path):
    notes = convert.convert("movielens", raw, tmp_path / "data")
    assert notes == [
        "release_year: 1 films without a release date get 0; others (year - 1900) / 100"
    ]
    data = dataset.Dataset.open(tmp_path / "data")
    assert data.scenarios == movielens.SCENARIOS
    rows = {
        s: [data.rows(s, split) for split in ("train", "valid", "test")] for s in data.scenarios
    }
    assert rows == {
        "age_0_23": [15453, 2183, 4359],
        "age_24_30": [20678, 2922, 5926],
        "age_31_41": [17256, 2478, 5017],
        "age_42_up": [16580, 2350, 4798],
    }
    assert sum(map(sum, rows.values())) == 100_000
    # Of the 100,000 ratings 34,174 are 4 and 21,201 are 5, as `cut -f3 u1.base u1.test | sort |
    # uniq -c` counts.
    positives = {
        task: sum(
            data.positives(s, split, task)
            for s in data.scenarios
            for split in ("train", "valid", "test")
        )
        for task in ("like", "love")
    }
    assert positives == {"like": 34_174 + 21_201, "love": 21_201}
    rates = [
        [round(data.counts[s]["test"].rate(task), 4) for task in ("like", "love")]
        for s in data.scenarios
    ]
    assert rates == [[0.5348, 0.2166], [0.5395, 0.1937], [0.5677, 0.2242], [0.5748, 0.2201]]
    # A change here would make results on this data incomparable with earlier ones.
    assert data.files["age_0_23/train-00000-of-00001.tfrecord"]["sha256"].startswith(
        "cdad4b0869d5161a056b6327235f0918"
    )
    assert [feature.cardinality for feature in data.schema.categorical] == [944, 1683, 21, 2, 20]
    assert [feature.policy for feature in data.schema.categorical] == ["private"] + ["shared"] * 4
    assert len(data.schema.numerical) == 21


def test_both_layouts_give_the_same_dataset(raw, tmp_path):
    other = tmp_path / "raw"
    other.mkdir()
    for name in ("u.user", "u.item"):
        shutil.copyfile(raw / name, other / name)
    lines = ((raw / "u1.test").read_text() + (raw / "u1.base").read_text()).splitlines(
        keepends=True
    )
    (other / "u.data").write_text("".join(np.random.default_rng(0).permutation(lines)))
    for source, output in ((raw, "one"), (other, "two")):
        convert.convert("movielens", source, tmp_path / output)
    assert (tmp_path / "one" / "dataset.json").read_bytes() == (
        tmp_path / "two" / "dataset.json"
    ).read_bytes()


def test_columns_of_a_small_folder(tmp_path):
    source = converters.open_source("movielens", _small(tmp_path / "raw"))
    chunks = {scenario: chunk for scenario, split, chunk in source.chunks(None) if split is None}
    assert {scenario: len(chunk) for scenario, chunk in chunks.items()} == dict(
        zip(movielens.SCENARIOS, (0, 2, 0, 1))
    )
    rows, _ = encoding.encode(chunks["age_24_30"], source.schema)
    assert rows.categorical.tolist() == [
        [1, 1, 0, 1, 4],
        [1, 2, 0, 1, 4],
    ]  # user, item, technician, M, 20 to 24
    np.testing.assert_allclose(
        rows.numerical, [[0] * 19 + [0.95, 0.24], [1] + [0] * 18 + [0.0, 0.24]], rtol=1e-6
    )
    assert rows.labels.tolist() == [[1, 0], [0, 0]]
    assert rows.group.tolist() == [1, 1]
    rows, _ = encoding.encode(chunks["age_42_up"], source.schema)
    assert rows.labels.tolist() == [[1, 1]]
    assert chunks["age_42_up"].rows.tolist() == [2]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("u1.base", "1\t1\t5\n", "u1.base: line 1: 3 fields where 4 belong"),
        ("u1.base", "1\t1\t5\t8\n1\t3\t5\t8\n", "u1.base: line 2: item id 3 is not one of 1 to 2"),
        ("u1.base", "1\t1\t6\t8\n", "u1.base: line 1: rating 6 is not one of 1 to 5"),
        ("u.user", "1|x|M|writer|0\n", "u.user: line 1: age 'x' is not a whole number"),
        ("u.user", "2|24|M|writer|0\n", "u.user: line 1: user id 2 is not one of 1 to 1"),
        ("u.item", "1|a\n", "u.item: line 1: 2 fields where 24 belong"),
        ("u1.test", None, "u1.test: no such file; --input is the MovieLens 100K folder"),
        ("u.user", None, "u.user: no such file"),
    ],
)
def test_a_mistake_names_file_and_line(tmp_path, file, content, message):
    raw = _small(tmp_path / "raw")
    if content is None:
        (raw / file).unlink()
    else:
        (raw / file).write_text(content)
    with pytest.raises(errors.PfrecError, match=message):
        convert.convert("movielens", raw, tmp_path / "data")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["raw"]


def test_1m_rows_come_out_with_their_values(tmp_path):
    folder, ratings = raw_layouts.write_movielens_1m(tmp_path / "raw")
    convert.convert("movielens", folder, tmp_path / "data")
    data = dataset.Dataset.open(tmp_path / "data")
    assert data.scenarios == movielens.SCENARIOS
    users = {
        int(line.split("::")[0]): line.split("::")
        for line in (folder / "users.dat").read_text("latin-1").splitlines()
    }
    bands = {1: 0, 18: 0, 25: 1, 35: 2, 45: 3, 50: 3, 56: 3}
    numbers = rows_back.in_order(900, 0, movielens.FRACTIONS)
    ordered = sorted(ratings)
    occupation = data.schema.categorical[2].vocabulary
    for band, scenario in enumerate(movielens.SCENARIOS):
        for split, chosen in zip(("train", "valid", "test"), numbers):
            expected = [ordered[i] for i in chosen if bands[int(users[ordered[i][0]][2])] == band]
            found = rows_back.read_back(data, scenario, split)
            assert found["categorical"][:, :2].tolist() == [
                [user, item] for user, item, _ in expected
            ]
            assert found["labels"].tolist() == [
                [rating >= 4, rating == 5] for _, _, rating in expected
            ]
            assert [occupation[v] for v in found["categorical"][:, 2]] == [
                users[user][3] for user, _, _ in expected
            ]
            # Item 3k is Toy Story (animation, children's, comedy; 1995), 3k + 1 Amélie (romance;
            # 2001), 3k + 2 Heat (film noir, sci-fi; 1995).
            flags = {0: [3, 4, 5], 1: [14], 2: [10, 15]}
            assert [np.flatnonzero(row[:19]).tolist() for row in found["numerical"]] == [
                flags[item % 3] for _, item, _ in expected
            ]
            years = [[0.95, 1.01, 0.95][item % 3] for _, item, _ in expected]
            np.testing.assert_allclose(found["numerical"][:, 19], years, rtol=1e-6)


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("ratings.dat", "1::7::5::978", "user 1 or item 7 stands in no other file"),
        ("ratings.dat", "1::1::9::978", "ratings.dat: line 901: rating 9 is not one of 1 to 5"),
        ("ratings.dat", "1::1::5", "ratings.dat: line 901: 3 fields where 4 belong"),
        ("users.dat", "1::F::25::3::0", "users.dat: line 41: user 1 stands in an earlier line too"),
        (
            "users.dat",
            "99999999::F::25::3::0",
            "users.dat: line 41: user id 99999999 is not one of 1 to 10000000",
        ),
        ("movies.dat", "99::X (1999)::Opera", "movies.dat: line 60: genre 'Opera' is not known"),
        (
            "movies.dat",
            "99::X (1099)::Drama",
            "movies.dat: line 60: release year 1099 is not one of 1850 to 2100",
        ),
    ],
)
def test_a_mistake_in_1m_names_file_and_line(tmp_path, file, line, message):
    folder, _ = raw_layouts.write_movielens_1m(tmp_path / "raw")
    with (folder / file).open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(errors.PfrecError, match=message):
        convert.convert("movielens", folder, tmp_path / "data")
