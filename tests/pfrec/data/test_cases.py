"""Small logs as teams wrote them, each of which once came out wrong."""

import bz2
import os
import pathlib

import pytest

from pfrec import errors
from pfrec.commands import convert
from pfrec.data.conversion import toml_schema
from pfrec.data.dataset import dataset
from pfrec.data.inference import infer, roles
from tests.pfrec.data import rows_back

_HERE = pathlib.Path(__file__).resolve().parents[3]
_CASES = pathlib.Path(os.environ.get("PFREC_CASES", _HERE / ".." / "shared" / "cases")) / "data"
pytestmark = pytest.mark.skipif(not _CASES.is_dir(), reason=f"{_CASES} is absent")


def _converted(case, tmp_path, more="", **options):
    """The dataset of a case and the notes; `more` is added to its schema."""
    own = _CASES / case / "schema.toml"
    text = (own if own.exists() else _CASES / "schema.toml").read_text(encoding="utf-8")
    (tmp_path / "schema.toml").write_text(text + more, encoding="utf-8")
    source_format = "parquet" if (_CASES / case / "log.parquet").exists() else "csv"
    files = sorted(p for p in (_CASES / case).iterdir() if p.name != "schema.toml")
    raw = files[0] if len(files) == 1 else _CASES / case
    notes = convert.convert(
        source_format, raw, tmp_path / "data", schema_path=tmp_path / "schema.toml", **options
    )
    return dataset.Dataset.open(tmp_path / "data"), notes


def _total(data, what, task=None):
    parts = [counts for splits in data.counts.values() for counts in splits.values()]
    return sum(getattr(c, what) if task is None else getattr(c, what)[task] for c in parts)


@pytest.mark.parametrize("case", ["06_nulllabel", "p11_nulllabel"])
@pytest.mark.parametrize("policy", ["stop", "skip"])
def test_an_empty_label_where_its_task_is_undefined_is_no_fault(case, policy, tmp_path):
    data, notes = _converted(case, tmp_path, on_bad_row=policy)
    assert not any("bad rows" in note for note in notes)
    rows, clicks = _total(data, "rows"), _total(data, "positives", "ctr")
    assert rows == 400
    assert 0.28 < clicks / rows < 0.38
    assert _total(data, "observed", "ctr") == rows
    assert _total(data, "observed", "cvr") == clicks


@pytest.mark.parametrize("case", ["03_boollabel", "03b_yesno", "p04_bool"])
def test_truth_values_are_labels(case, tmp_path):
    data, _ = _converted(case, tmp_path)
    rows, clicks = _total(data, "rows"), _total(data, "positives", "ctr")
    assert 0.28 < clicks / rows < 0.38
    assert _total(data, "observed", "cvr") == clicks


def test_minus_one_is_what_the_schema_says(tmp_path):
    data, _ = _converted("06b_minus1", tmp_path, "unobserved = [-1]\n")
    text = (_CASES / "06b_minus1" / "log.csv").read_text().splitlines()[1:]
    labels = [line.split(",")[4:6] for line in text]
    assert _total(data, "rows") == len(labels)
    assert _total(data, "observed", "cvr") == sum(c == "1" and b != "-1" for c, b in labels)
    assert _total(data, "positives", "cvr") == sum(c == "1" and b == "1" for c, b in labels)


@pytest.mark.parametrize(
    ("case", "feature", "column", "task"),
    [
        ("30b_taskspace", None, None, ("long_view", "long view")),
        ("30d_colon", "price_token", "price:token", None),
        ("30e_catspace", "user_id", "user id", None),
        ("30f_numparen", "price_EUR", "price (EUR)", None),
    ],
)
def test_names_that_no_variable_can_have_are_replaced(case, feature, column, task, tmp_path):
    data, _ = _converted(case, tmp_path)
    assert _total(data, "rows") == 400
    columns = {f.name: f.column for f in (*data.schema.categorical, *data.schema.numerical)}
    if feature is not None:
        assert columns[feature] == column
    if task is not None:
        assert task in [(t.name, t.column) for t in data.schema.tasks]


def test_scenarios_keep_their_names(tmp_path):
    data, notes = _converted("14_scenarioname", tmp_path)
    assert len(data.scenarios) == 3
    assert set(data.scenario_values.values()) == {"Books & Music", "Home/Garden", "日本"}
    assert _total(data, "rows") == 400
    assert sum("is called" in note for note in notes) == 3
    only, _ = _converted("14_scenarioname", _fresh(tmp_path), scenarios=["Home/Garden"])
    assert list(only.scenario_values.values()) == ["Home/Garden"]


def _fresh(tmp_path):
    (tmp_path / "more").mkdir()
    return tmp_path / "more"


def test_a_tiny_scenario_is_known_before_the_work(tmp_path):
    with pytest.raises(errors.PfrecError, match=r"scenario 'tiny' \(3 rows, no .*--min_rows"):
        _converted("21b_tiny", tmp_path)
    data, notes = _converted("21b_tiny", tmp_path, min_rows=100)
    assert "scenarios left out: 'tiny' (3 rows)" in notes
    assert "tiny" not in data.scenarios
    assert _total(data, "rows") == 3000


def test_one_item_is_one_item_on_every_day(tmp_path):
    data, _ = _converted("05_floatids", tmp_path)
    assert _total(data, "rows") == 800
    item = [f.name for f in data.schema.categorical].index("item_id")
    ids = set()
    for scenario in data.scenarios:
        for split in ("train", "valid", "test"):
            for path in data.shards(scenario, split):
                for row in rows_back.rows_of(path, data.schema):
                    ids.add(int(row.categorical[0, item]))
    texts = set()
    for day in ("day1.csv", "day2.csv"):
        for line in (_CASES / "05_floatids" / day).read_text().splitlines()[1:]:
            texts.add(line.split(",")[1].split(".")[0])
    assert len(ids) <= len(texts)


def test_every_file_is_read(tmp_path):
    data, _ = _converted("16_mixed", tmp_path)
    first = (_CASES / "16_mixed" / "day1.csv").read_text().count("\n") - 1
    packed = (_CASES / "16_mixed" / "day2.csv.bz2").read_bytes()
    second = bz2.decompress(packed).count(b"\n") - 1
    assert _total(data, "rows") == first + second


@pytest.mark.parametrize("case", ["01_semicolon", "07_headerspace"])
def test_layouts_are_read(case, tmp_path):
    data, notes = _converted(case, tmp_path)
    assert _total(data, "rows") == 400
    assert any("delimiter = ';', decimal = ','" in n for n in notes) == (case == "01_semicolon")


def test_a_missing_price_is_missing(tmp_path):
    data, notes = _converted("10b_NA", tmp_path, missing_numerical="impute")
    assert _total(data, "rows") == 400
    count = (_CASES / "10b_NA" / "log.csv").read_text().count(",NA,")
    assert f"price: {count} missing values imputed" in notes


def test_a_list_as_python_writes_it_is_a_list(tmp_path):
    more = '[[categorical]]\nname = "tags"\nvalues = 4\nseparator = ","\ncardinality = 100\n'
    data, notes = _converted("11_pylist", tmp_path, more)
    assert _total(data, "rows") == 400
    assert not any("WARNING" in note for note in notes)


@pytest.mark.parametrize("column", ["ts", "when", "day"])
def test_times_split_and_raw_times_are_warned_of(column, tmp_path):
    data, notes = _converted("17_dates", tmp_path, f'[split]\ntime = "{column}"\n')
    assert _total(data, "rows") == 400
    assert not any("WARNING" in note for note in notes)
    _, notes = _converted("17_dates", _fresh(tmp_path), '[[numerical]]\nname = "ts"\n')
    assert sum("'ts' enters the model as raw numbers" in note for note in notes) == 1


def test_a_search_stays_whole(tmp_path):
    more = '[split]\nby = "search_id"\n'
    own = (_CASES / "schema.toml").read_text().replace('group = "user_id"', 'group = "search_id"')
    (tmp_path / "own.toml").write_text(own + more)
    convert.convert(
        "csv",
        _CASES / "27_search" / "log.csv",
        tmp_path / "data",
        schema_path=tmp_path / "own.toml",
        scenarios=["de"],
    )
    data = dataset.Dataset.open(tmp_path / "data")
    where = {}
    for split in ("train", "valid", "test"):
        for path in data.shards("de", split):
            for row in rows_back.rows_of(path, data.schema):
                where.setdefault(int(row.group[0]), set()).add(split)
    assert len(where) > 10
    assert all(len(found) == 1 for found in where.values())


def _inferred(case, **hints):
    source_format = "parquet" if (_CASES / case / "log.parquet").exists() else "csv"
    text = infer.infer(source_format, _CASES / case, None, roles.Hints(**hints))
    return toml_schema.read_text(text, place="inferred"), text


@pytest.mark.parametrize(
    "case", ["03_boollabel", "03b_yesno", "p04_bool", "06_nulllabel", "p11_nulllabel", "06b_minus1"]
)
def test_labels_are_inferred(case):
    described, _ = _inferred(case)
    assert [task.name for task in described.schema.tasks] == ["click", "purchase"]
    purchase = described.schema.tasks[1]
    if "nulllabel" in case:
        assert purchase.given == "click"
    if case == "06b_minus1":
        assert purchase.unobserved == ("-1",)
    names = [f.name for f in (*described.schema.categorical, *described.schema.numerical)]
    assert not {"click", "purchase"}.intersection(names)


@pytest.mark.parametrize(
    ("case", "categorical", "numerical", "left_out"),
    [
        ("24_camel", ["userId", "movieId"], ["price"], ["timestamp"]),
        ("10b_NA", ["user_id", "item_id"], ["price"], ["ts"]),
        ("07_headerspace", ["user_id", "item_id"], ["price"], ["ts"]),
        ("01_semicolon", ["user_id", "item_id"], ["price"], ["ts"]),
        ("17_dates", ["user_id", "item_id"], ["price"], ["ts", "when", "day"]),
        ("p06_embedding", ["user_id", "item_id"], ["price"], ["ts", "emb"]),
        ("14_scenarioname", ["user_id", "item_id"], ["price"], ["ts"]),
        ("11_pylist", ["user_id", "item_id", "tags"], ["price"], ["ts"]),
    ],
)
def test_columns_are_inferred_as_what_they_are(case, categorical, numerical, left_out):
    described, text = _inferred(case)
    assert [f.raw for f in described.schema.categorical] == categorical
    assert [c.raw for c in described.schema.numerical] == numerical
    assert all(c.normalise == "standard" for c in described.schema.numerical)
    assert described.scenario_column == "site"
    for name in left_out:  # never unsaid
        assert f'# name = "{name}"' in text
    if case == "11_pylist":
        assert described.schema.categorical[2].separator == ","


def test_a_search_is_the_group_and_splits(tmp_path):
    described, _ = _inferred("27_search")
    assert described.schema.group == "search_id"
    assert (described.rule.kind, described.rule.column) == ("by", "search_id")


def test_hints_go_before_guesses():
    described, text = _inferred("06_nulllabel", tasks=["purchase"], scenario="user_id", group="ts")
    assert [task.name for task in described.schema.tasks] == ["purchase"]
    assert (described.scenario_column, described.schema.group) == ("user_id", "ts")
    assert "is called and looks like a label; left out" in text  # click
