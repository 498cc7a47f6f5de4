import random

import pyarrow as pa
import pytest
from pyarrow import parquet

from pfrec import errors
from pfrec.commands import convert
from pfrec.data.conversion import column_statistics, toml_schema
from pfrec.data.dataset import dataset
from pfrec.data.inference import infer, roles
from tests.pfrec.data import raw_layouts, rows_back


def _rows(count=2000):
    draw = random.Random(0)
    rows = []
    for i in range(count):
        click = draw.randint(0, 1)
        rows.append(
            {
                "site": draw.choice(["nl", "es", "fr"]),
                "user_id": draw.randint(0, 300),
                "event": f"{draw.getrandbits(64):016x}",
                "sequence": 10_000 + i,
                "colour": draw.choice(["red", "green", 'b"lue', ""]),
                "article": f"a{draw.randint(0, 800)}",
                "level": draw.randint(0, 4),
                "price": round(draw.uniform(0.5, 99), 3),
                "discount": draw.choice(["", round(draw.uniform(-1, 1), 3)]),
                "always": 7,
                "never": "",
                "dwell": round(click * 10 + draw.random(), 4),
                "outcome": ["no", "yes"][click],
                "click": click,
                "purchase": int(click and draw.random() < 0.3),
            }
        )
    return rows


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("infer")
    rows = _rows()
    (folder / "log.csv").write_bytes(raw_layouts.table(list(rows[0]), rows))
    return infer.infer("csv", folder / "log.csv")


def test_types_cardinalities_and_roles(text):
    described = toml_schema.read_text(text, place="here")
    assert described.scenario_column == "site"
    assert described.schema.group == "user_id"
    assert [task.name for task in described.schema.tasks] == ["click", "purchase"]
    features = {f.name: (f.encoding, f.cardinality, f.policy) for f in described.schema.categorical}
    assert features == {
        "user_id": ("identity", 301, "private"),
        "colour": ("vocabulary", 3, "shared"),
        "article": ("hash", 2048, "shared"),
        "level": ("identity", 5, "shared"),
    }
    assert [column.name for column in described.schema.numerical] == ["price", "discount"]


def test_ids_that_grow_later_have_the_flag_beside_them(text):
    lines = text.splitlines()
    later = "  # larger ids that --append meets are unknown, or with --unknown_ids=grow new ones"
    assert f"cardinality = 301{later}" in lines
    assert "cardinality = 5" in lines  # a level is nobody's id


def test_warnings_and_rates(text):
    assert (
        "# WARNING: has a value of its own in nearly every row: an identifier in disguise; left "
        'out\n# [[categorical]]\n# name = "event"' in text
    )
    assert '# name = "sequence"' in text
    assert "# WARNING: is always '7'; left out" in text
    assert "# WARNING: is always empty; left out" in text
    for column in ("dwell", "outcome"):
        before = text[: text.index(f'# name = "{column}"')].rsplit("\n\n", 1)[1]
        assert (
            "alone ranks click with AUC 1.000: an outcome rather than a feature? left out" in before
        )
    missing = sum(row["discount"] == "" for row in _rows())
    assert f"missing {missing / 2000:.2%}" in text
    clicks = sum(row["click"] for row in _rows())
    assert f'name = "click"  # rate {clicks / 2000:.4f}' in text


def test_what_is_written_converts(text, tmp_path):
    rows = _rows()
    (tmp_path / "log.csv").write_bytes(raw_layouts.table(list(rows[0]), rows))
    (tmp_path / "s.toml").write_text(text)
    options = {"schema_path": tmp_path / "s.toml", "missing_numerical": "impute"}
    convert.convert("csv", tmp_path / "log.csv", tmp_path / "data", **options)
    assert dataset.Dataset.open(tmp_path / "data").scenarios == ("es", "fr", "nl")


def test_parquet_gives_the_same(text, tmp_path):
    rows = _rows()
    table = pa.table(
        {name: [str(row[name]) if row[name] != "" else None for row in rows] for name in rows[0]}
    )
    parquet.write_table(table, tmp_path / "log.parquet")
    assert infer.infer("parquet", tmp_path / "log.parquet") == text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n3,4\n", "no column of 0 and 1, or of ratings, that could .* by hand"),
        ("a,click\n", "no rows; a schema is inferred from rows"),
        ("click\n1\n0\n", "no column that could be a feature"),
        ("", "empty; a CSV file starts with"),
    ],
)
def test_files_that_show_too_little(tmp_path, content, message):
    (tmp_path / "f.csv").write_text(content)
    with pytest.raises(errors.PfrecError, match=message):
        infer.infer("csv", tmp_path / "f.csv")


def test_other_formats_have_their_own_schema(tmp_path):
    with pytest.raises(errors.PfrecError, match="the tenrec format has its own schema"):
        infer.infer("tenrec", tmp_path)


def test_telling_agrees_with_an_independent_auc():
    from sklearn import metrics

    draw = random.Random(1)
    column, label = column_statistics.ColumnStatistics("c"), column_statistics.ColumnStatistics("l")
    values = [round(draw.gauss(0, 1), 1) for _ in range(500)]
    labels = [int(value + draw.gauss(0, 1) > 0) for value in values]
    column.add(pa.array(list(map(str, values))))
    label.add(pa.array(list(map(str, labels))))
    assert column_statistics.telling(column, label) == pytest.approx(
        metrics.roc_auc_score(labels, values), abs=1e-12
    )


def _categorical(text):
    return {
        feature.name: feature
        for feature in toml_schema.read_text(text, place="here").schema.categorical
    }


def test_texts_of_few_values_in_many_combinations_are_lists(tmp_path):
    draw = random.Random(0)
    rows = [
        {
            "genres": "|".join(draw.sample(["war", "love", "crime", "sea"], draw.randint(0, 3))),
            "seen": ";".join(str(draw.randint(0, 8)) for _ in range(draw.randint(1, 2))),
            "title": draw.choice(["a|b", "c|d", "e"]),
            "click": draw.randint(0, 1),
        }
        for _ in range(400)
    ]
    (tmp_path / "log.csv").write_bytes(raw_layouts.table(list(rows[0]), rows))
    found = _categorical(infer.infer("csv", tmp_path / "log.csv"))
    assert found["genres"].vocabulary == ("crime", "love", "sea", "war")
    assert (found["genres"].values, found["genres"].separator) == (3, "|")
    assert (
        found["seen"].encoding,
        found["seen"].cardinality,
        found["seen"].values,
        found["seen"].separator,
    ) == (
        "identity",
        9,
        2,
        ";",
    )
    # Three texts of five parts are no lists.
    assert (found["title"].values, found["title"].vocabulary) == (1, ("a|b", "c|d", "e"))


def test_lists_proper_in_parquet(tmp_path):
    tags = [["a|b", "c"], [], None, ["c", "c", "d"]] * 30
    table = pa.table(
        {
            "tags": tags,
            "ids": pa.array([[1], [5, 2], [], [0]] * 30, pa.list_(pa.int32())),
            "click": [0, 1, 1] * 40,
        }
    )
    parquet.write_table(table, tmp_path / "log.parquet")
    found = _categorical(infer.infer("parquet", tmp_path / "log.parquet"))
    assert (found["tags"].vocabulary, found["tags"].values, found["tags"].separator) == (
        ("a|b", "c", "d"),
        3,
        ";",
    )
    assert (found["ids"].encoding, found["ids"].cardinality, found["ids"].values) == (
        "identity",
        6,
        2,
    )
    (tmp_path / "s.toml").write_text(infer.infer("parquet", tmp_path / "log.parquet"))
    convert.convert(
        "parquet", tmp_path / "log.parquet", tmp_path / "data", schema_path=tmp_path / "s.toml"
    )
    data = dataset.Dataset.open(tmp_path / "data")
    rows = rows_back.read_back(data, "log", "train")["categorical"]
    assert {tuple(row) for row in rows.tolist()} <= {
        (0, 1, -1, 1, -1),
        (-1, -1, -1, 5, 2),
        (-1,) * 5,
        (1, 1, 2, 0, -1),
    }


def test_a_type_that_is_no_feature_is_named(tmp_path):
    where = pa.array([[("x", 1)]], pa.map_(pa.string(), pa.int64()))
    parquet.write_table(pa.table({"where": where, "click": [1]}), tmp_path / "log.parquet")
    with pytest.raises(errors.PfrecError, match="column 'where' holds map"):
        infer.infer("parquet", tmp_path / "log.parquet")


def test_a_type_that_is_no_feature_is_left_out_where_some_files_lack_it(tmp_path):
    where = pa.array([[("x", 1)]] * 4, pa.map_(pa.string(), pa.int64()))
    (tmp_path / "log").mkdir()
    rows = {"item": ["a", "b", "a", "b"], "click": [1, 0, 0, 1]}
    parquet.write_table(pa.table(rows), tmp_path / "log" / "nl.parquet")
    parquet.write_table(pa.table({**rows, "where": where}), tmp_path / "log" / "fr.parquet")
    text = infer.infer("parquet", tmp_path / "log")
    assert "only in some files, left out: where" in text


def test_lists_that_a_schema_could_not_say_before_are_said(tmp_path):
    """Of one value each; longer than any may be; with every usual mark in their values;
    by the name of a scenario or a group.
    """
    table = pa.table(
        {
            "country": [["nl"], ["es"], ["nl"]] * 20,
            "user_id": [["a"], ["b"], ["c"]] * 20,
            "long": [["x"] * 1500, ["y"], []] * 20,
            "marks": [["a|b"], ["c;d"], ["e\tf"]] * 20,
            "click": [0, 1, 1, 0] * 15,
        }
    )
    parquet.write_table(table, tmp_path / "log.parquet")
    text = infer.infer("parquet", tmp_path / "log.parquet")
    described = toml_schema.read_text(text, place="here")
    assert (described.scenario_column, described.schema.group) == (None, None)
    assert {f.name: f.values for f in described.schema.categorical} == {
        "country": 2,
        "user_id": 2,
        "long": 1024,
        "marks": 2,
    }
    (tmp_path / "s.toml").write_text(text)
    convert.convert(
        "parquet", tmp_path / "log.parquet", tmp_path / "data", schema_path=tmp_path / "s.toml"
    )
    (tmp_path / "s.toml").write_text(
        text.replace("[scenario]", '[scenario]\ncolumn = "country"').replace("# each file", "#")
    )
    with pytest.raises(errors.PfrecError, match="column 'country' holds list"):
        convert.convert(
            "parquet", tmp_path / "log.parquet", tmp_path / "other", schema_path=tmp_path / "s.toml"
        )


def test_few_rows_of_lists_are_no_identifier(tmp_path):
    draw = random.Random(1)
    genres = [f"g{i}" for i in range(18)]
    rows = [
        {"genres": "|".join(draw.sample(genres, 4)), "click": draw.randint(0, 1)}
        for _ in range(200)
    ]
    (tmp_path / "log.csv").write_bytes(raw_layouts.table(list(rows[0]), rows))
    found = _categorical(infer.infer("csv", tmp_path / "log.csv"))
    assert (found["genres"].vocabulary, found["genres"].values) == (tuple(sorted(genres)), 4)


def _sites(folder):
    """Three sites: one does not serve purchases, one has a feature that the others lack."""
    folder.mkdir()
    for number, (site, lacks) in enumerate((("nl", "purchase"), ("fr", "extra"), ("es", "extra"))):
        rows = [{**row, "extra": row["level"]} for row in _rows(400 + number)]
        names = [name for name in rows[0] if name not in (lacks, "site")]
        kept = [{name: row[name] for name in names} for row in rows]
        (folder / f"{site}.csv").write_bytes(raw_layouts.table(names, kept))
    return folder


def test_a_label_that_some_files_lack_is_a_task_and_a_feature_is_none(tmp_path):
    text = infer.infer("csv", _sites(tmp_path / "log"))
    tasks = toml_schema.read_text(text, place="here").schema.tasks
    assert [(task.name, task.missing) for task in tasks] == [
        ("click", "bad"),
        ("purchase", "unobserved"),
    ]
    assert '# given = "click"' in text
    assert "only in some files, left out: extra" in text
    (tmp_path / "s.toml").write_text(text)
    how = {"schema_path": tmp_path / "s.toml", "missing_numerical": "impute"}
    convert.convert("csv", tmp_path / "log", tmp_path / "data", **how)
    made = dataset.Dataset.open(tmp_path / "data")
    assert made.observed("nl", "train", "purchase") == 0 < made.observed("fr", "train", "purchase")


def test_what_the_user_names_is_told_truly_where_some_files_lack_it(tmp_path):
    folder = _sites(tmp_path / "log")
    text = infer.infer("csv", folder, hints=roles.Hints(tasks=["purchase"]))
    assert [t.name for t in toml_schema.read_text(text, place="here").schema.tasks] == ["purchase"]
    with pytest.raises(errors.PfrecError, match="--group=extra: only some files have this column"):
        infer.infer("csv", folder, hints=roles.Hints(group="extra"))
    with pytest.raises(errors.PfrecError, match=r"log: no column 'x' for --tasks; columns found: "):
        infer.infer("csv", folder, hints=roles.Hints(tasks=["x"]))


def test_labels_of_many_spellings_long_ids_and_infinite_numbers(tmp_path):
    draw = random.Random(0)
    clicks = ["1", "true", "True", "yes", "0", "false", "False", "no"]
    ids = [draw.randint(2**62, 2**63) for _ in range(400)]
    rows = [
        {
            "site": "ab"[i % 2],
            "event": ids[i],
            "snowflake": ids[i % 60],
            "signed": -ids[i % 60],
            "price": "inf" if i % 100 == 7 else round(draw.uniform(1, 9), 2),
            "word": ["inf", "Infinity"][i % 2],
            "click": clicks[draw.randrange(8)],
        }
        for i in range(400)
    ]
    log = tmp_path / "log.csv"
    log.write_bytes(raw_layouts.table(list(rows[0]), rows))
    text = infer.infer("csv", log, hints=roles.Hints(("click",)))
    schema = toml_schema.read_text(text, place="here").schema
    assert [task.name for task in schema.tasks] == ["click"]
    assert {f.name: f.encoding for f in schema.categorical} == {
        "snowflake": "hash",
        "signed": "hash",
        "word": "vocabulary",
    }
    assert [f.name for f in schema.numerical] == ["price"]
    assert "4 infinite, which count as missing" in text
    assert (
        "# WARNING: has a value of its own in nearly every row: an identifier in disguise; left "
        'out\n# [[categorical]]\n# name = "event"' in text
    )


def test_ids_that_lost_digits_are_ids_and_large_amounts_are_none(tmp_path):
    rows = [
        {
            "site": "ab"[i % 2],
            "user_id": "1.23457E+18" if i % 7 == 0 else 10**18 + i % 60,
            "stars": 1.5e22 * (i % 60) + 0.5,
            "click": i % 2,
        }
        for i in range(400)
    ]
    log = tmp_path / "log.csv"
    log.write_bytes(raw_layouts.table(list(rows[0]), rows))
    text = infer.infer("csv", log, hints=roles.Hints(("click",)))
    schema = toml_schema.read_text(text, place="here").schema
    assert {f.name: f.encoding for f in schema.categorical} == {"user_id": "hash"}
    assert [f.name for f in schema.numerical] == ["stars"]
