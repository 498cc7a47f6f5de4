import collections
import json

import numpy as np
import pytest

from pfrec import errors
from pfrec.commands import convert
from pfrec.data import schema as schema_lib
from pfrec.data import splits
from pfrec.data.conversion import local_statistics
from pfrec.data.dataset import dataset
from pfrec.data.reading import column_text, csv_stream
from tests.pfrec.data import raw_layouts, rows_back

pytestmark = pytest.mark.usefixtures("rows_in_source_order")

_SCHEMA = """
[[categorical]]
name = "street"
encoding = "local_vocabulary"
cardinality = 6
min_count = 4
[[categorical]]
name = "city"
vocabulary = ["Rome", "Oslo"]
policy = "shared"
[[numerical]]
name = "price"
normalise = "standard"
[[numerical]]
name = "age"
normalise = "minmax"
[[numerical]]
name = "plain"
[[task]]
name = "click"
[split]
valid = 0.2
test = 0.2
"""
_FRACTIONS = (0.6, 0.2, 0.2)


def _rows(scenario, count=400):
    """Streets of the scenario's own, some rare, some only in valid or test rows;
    prices of its own scale.
    """
    draw = np.random.default_rng(len(scenario))
    train = splits.split_of(np.arange(count), 0, _FRACTIONS) == 0
    rows = []
    for i in range(count):
        street = (
            f"{scenario}-{min(draw.geometric(0.35), 12)}"
            if train[i] or draw.random() < 0.8
            else "elsewhere"
        )
        rows.append(
            {
                "street": "" if i % 50 == 7 else street,
                "city": ["Rome", "Oslo", "Bari"][i % 3],
                "price": round(float(draw.normal(50 * len(scenario), 9)), 3) if train[i] else 1e6,
                "age": int(draw.integers(20, 60)) if train[i] else 99,
                "plain": i,
                "click": i % 2,
            }
        )
    return rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("local")
    (made / "raw").mkdir()
    (made / "s.toml").write_text(_SCHEMA)
    for scenario in ("NL", "ESP"):
        rows = _rows(scenario)
        (made / "raw" / f"{scenario}.csv").write_bytes(raw_layouts.table(list(rows[0]), rows))
    convert.convert("csv", made / "raw", made / "data", schema_path=made / "s.toml")
    return made


@pytest.mark.parametrize("scenario", ["NL", "ESP"])
def test_statistics_are_those_of_the_clients_own_training_rows(folder, scenario):
    data = dataset.Dataset.open(folder / "data")
    rows = _rows(scenario)
    numbers = rows_back.in_order(len(rows), 0, _FRACTIONS)
    train = [rows[i] for i in numbers[0]]
    schema = data.client_schema(scenario)
    counts = collections.Counter(row["street"] for row in train if row["street"])
    expected = sorted(
        (word for word in counts if counts[word] >= 4), key=lambda word: (-counts[word], word)
    )[:6]
    assert schema.categorical[0].vocabulary == tuple(expected)
    assert schema.categorical[0].encoding == "vocabulary"
    prices, ages = (np.array([row[name] for row in train], np.float64) for name in ("price", "age"))
    assert schema.numerical[0].shift == pytest.approx(prices.mean(), rel=1e-12)
    assert schema.numerical[0].scale == pytest.approx(prices.std(), rel=1e-9)
    assert schema.numerical[0].default == schema.numerical[0].shift
    assert (schema.numerical[1].shift, schema.numerical[1].scale) == (
        ages.min(),
        ages.max() - ages.min(),
    )
    for split, chosen in zip(("train", "valid", "test"), numbers):
        found = rows_back.read_back(data, scenario, split)
        places = [
            expected.index(rows[i]["street"]) if rows[i]["street"] in expected else 6
            for i in chosen
        ]
        np.testing.assert_array_equal(
            found["categorical"][:, 0], places
        )  # 6: rare, unknown and missing streets
        scaled = [(rows[i]["price"] - prices.mean()) / prices.std() for i in chosen]
        np.testing.assert_allclose(found["numerical"][:, 0], scaled, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(found["numerical"][:, 2], [rows[i]["plain"] for i in chosen])
    assert found["categorical"].max() <= 6


def test_what_is_agreed_holds_nothing_of_any_client(folder):
    data = dataset.Dataset.open(folder / "data")
    assert data.schema.local
    text = json.dumps(data.schema.to_json()) + (folder / "data" / "dataset.json").read_text()
    text += "".join(
        (folder / "data" / scenario / "schema.json").read_text() for scenario in data.scenarios
    )
    for scenario in data.scenarios:
        own = data.client_schema(scenario)
        for word in own.categorical[0].vocabulary:
            assert word not in text
        for column in own.numerical[:2]:
            assert repr(column.shift) not in text.replace("1.0", "")
        other = data.client_schema(next(s for s in data.scenarios if s != scenario))
        assert set(own.categorical[0].vocabulary).isdisjoint(other.categorical[0].vocabulary)
    # Without a value to put in, code that does not know of client schemas fails instead of serving
    # raw numbers.
    assert [column.default for column in data.schema.numerical] == [None, None, 0.0]


def test_a_served_graph_gives_the_same_ids(folder):
    from export.graph import serving_module

    data = dataset.Dataset.open(folder / "data")
    schema = data.client_schema("NL")
    tables = {f.name: serving_module._vocabulary_table(f) for f in schema.categorical}
    import tensorflow as tf

    numbers = rows_back.in_order(400, 0, _FRACTIONS)[2]
    rows = [_rows("NL")[i] for i in numbers]
    for i, feature in enumerate(schema.categorical):
        served = (
            tables[feature.name]
            .lookup(tf.constant([str(row[feature.name]) for row in rows]))
            .numpy()
        )
        np.testing.assert_array_equal(
            served, rows_back.read_back(data, "NL", "test")["categorical"][:, i]
        )


@pytest.mark.parametrize("block_bytes", [100, 1999])
def test_statistics_do_not_depend_on_chunks(folder, tmp_path, monkeypatch, block_bytes):
    monkeypatch.setattr(csv_stream, "BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(local_statistics, "_WINDOW_ROWS", 64)
    convert.convert("csv", folder / "raw", tmp_path / "one", schema_path=folder / "s.toml")
    monkeypatch.setattr(csv_stream, "BLOCK_BYTES", 1 << 20)
    convert.convert("csv", folder / "raw", tmp_path / "two", schema_path=folder / "s.toml")
    assert (tmp_path / "one" / "dataset.json").read_bytes() == (
        tmp_path / "two" / "dataset.json"
    ).read_bytes()


def test_bad_rows_do_not_count(folder, tmp_path):
    (tmp_path / "raw").mkdir()
    for scenario in ("NL", "ESP"):
        rows = _rows(scenario)
        for i in rows_back.in_order(len(rows), 0, _FRACTIONS)[0][:20]:
            rows[i].update(price=1e9, click=7)
        (tmp_path / "raw" / f"{scenario}.csv").write_bytes(raw_layouts.table(list(rows[0]), rows))
    convert.convert(
        "csv", tmp_path / "raw", tmp_path / "data", schema_path=folder / "s.toml", on_bad_row="skip"
    )
    column = dataset.Dataset.open(tmp_path / "data").client_schema("NL").numerical[0]
    assert column.shift == pytest.approx(100, abs=3)
    assert column.scale == pytest.approx(9, abs=2)


def test_scenarios_named_by_a_column_have_their_own_statistics(folder, tmp_path):
    rows = [
        {"site": scenario, **row}
        for pair in zip(_rows("NL"), _rows("ESP"))
        for scenario, row in zip(("NL", "ESP"), pair)
    ]
    (tmp_path / "all.csv").write_bytes(raw_layouts.table(list(rows[0]), rows))
    (tmp_path / "s.toml").write_text('[scenario]\ncolumn = "site"\n' + _SCHEMA)
    convert.convert("csv", tmp_path / "all.csv", tmp_path / "data", schema_path=tmp_path / "s.toml")
    data = dataset.Dataset.open(tmp_path / "data")
    for scenario in ("NL", "ESP"):
        assert {
            word.split("-")[0] for word in data.client_schema(scenario).categorical[0].vocabulary
        } <= {scenario, "elsewhere"}


def test_a_constant_column_is_shifted_alone():
    moments = local_statistics._Moments()
    moments.add(np.full(10, 3.0))
    for normalise in ("standard", "minmax"):
        column = moments.column(schema_lib.Numerical("x", None, normalise))
        assert (column.shift, column.scale) == (3.0, 1.0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "cardinality = 6",
            'cardinality = 6\npolicy = "shared"',
            "street: ids of a local vocabulary mean something else at every client",
        ),
        ("min_count = 4", "min_count = 0", "street: min_count = 0 is below 1"),
        (
            'normalise = "minmax"',
            'normalise = "log"',
            "age: normalise 'log' is not one of none, standard, minmax",
        ),
        (
            'normalise = "minmax"',
            'normalise = "minmax"\ndefault = 1.0',
            "age: default does not go with normalise",
        ),
        (
            'vocabulary = ["Rome", "Oslo"]',
            'vocabulary = ["Rome"]\nmin_count = 2',
            "city: min_count goes with",
        ),
    ],
)
def test_a_wrong_schema_is_one_line(folder, tmp_path, old, new, message):
    (tmp_path / "s.toml").write_text(_SCHEMA.replace(old, new))
    with pytest.raises(errors.PfrecError, match=message):
        convert.convert("csv", folder / "raw", tmp_path / "data", schema_path=tmp_path / "s.toml")


def test_missing_numbers_become_the_clients_mean(folder, tmp_path):
    rows = _rows("NL")
    numbers = rows_back.in_order(len(rows), 0, _FRACTIONS)
    for i in numbers[2][:5]:
        rows[i]["price"] = ""
    (tmp_path / "NL.csv").write_bytes(raw_layouts.table(list(rows[0]), rows))
    options = {"schema_path": folder / "s.toml", "missing_numerical": "impute"}
    notes = convert.convert("csv", tmp_path / "NL.csv", tmp_path / "data", **options)
    assert notes[0] == "price: 5 missing values imputed"
    found = rows_back.read_back(dataset.Dataset.open(tmp_path / "data"), "NL", "test")
    assert found["numerical"][:5, 0].tolist() == [0.0] * 5  # (mean - mean) / deviation


def test_words_come_commonest_first():
    import pyarrow as pa

    vocabulary = local_statistics.Vocabulary()
    vocabulary.add(column_text.of(pa.array(["b", "c", "a", "", "c"])))
    vocabulary.add(column_text.of(pa.array(["c", None, "b", "a", "d"])))
    assert vocabulary.words(10, 2) == ("c", "a", "b")
    assert vocabulary.words(2, 1) == ("c", "a")


def test_moments_of_many_windows_are_those_of_all_values_that_are_numbers(monkeypatch):
    monkeypatch.setattr(local_statistics, "_WINDOW_ROWS", 4)
    values = np.random.default_rng(0).normal(5.0, 2.0, 30) + np.arange(30)
    spoilt = np.insert(values, [0, 7, 30], [np.nan, np.inf, -np.inf])
    found = {}
    for normalise in ("standard", "minmax"):
        moments = local_statistics._Moments()
        for part in np.split(spoilt, [3, 4, 19]):
            moments.add(part)
        column = moments.column(schema_lib.Numerical("x", None, normalise))
        assert column.default == pytest.approx(values.mean(), rel=1e-12)
        found[normalise] = column.shift, column.scale
    assert found["standard"] == pytest.approx((values.mean(), values.std()), rel=1e-12)
    assert found["minmax"] == (values.min(), values.max() - values.min())


def test_a_column_without_values_stays_as_it_is():
    for normalise in ("standard", "minmax"):
        column = local_statistics._Moments().column(schema_lib.Numerical("x", None, normalise))
        assert (column.shift, column.scale, column.default) == (0.0, 1.0, 0.0)


def test_known_words_stay_and_others_come_while_there_is_room():
    import pyarrow as pa

    vocabulary = local_statistics.Vocabulary()
    vocabulary.add(column_text.of(pa.array(["c", "c", "c", "b", "b", "a"])))
    assert vocabulary.words(3, 1, known=("y", "b")) == ("y", "b", "c")
    assert vocabulary.words(2, 1, known=("x", "y")) == ("x", "y")
    # More of them than there is room for now, none is lost.
    assert vocabulary.words(1, 1, known=("x", "y")) == ("x", "y")
