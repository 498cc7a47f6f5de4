"""Vectors of numbers and weights of rows, from raw files to row blocks."""

import json

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from pfrec import errors
from pfrec.commands import convert
from pfrec.data import schema as schema_lib
from pfrec.data.conversion import toml_schema
from pfrec.data.converters import table
from pfrec.data.dataset import dataset, pipeline, row_block

_SCHEMA = """
weight = "importance"
[scenario]
column = "site"
[[categorical]]
name = "item"
encoding = "hash"
cardinality = 16
[[numerical]]
name = "price"
[[numerical]]
name = "image"
values = 3
[[task]]
name = "click"
"""
_ROWS = 90


def _vectors():
    return np.arange(3 * _ROWS, dtype=np.float32).reshape(-1, 3) / 8


def _columns(vectors, weights=None):
    return {
        "site": ["nl", "es"] * (_ROWS // 2),
        "item": [str(n % 7) for n in range(_ROWS)],
        "price": [n / 2 for n in range(_ROWS)],
        "image": vectors,
        "click": [n % 2 for n in range(_ROWS)],
        "importance": [n % 4 for n in range(_ROWS)] if weights is None else weights,
    }


def _rows(path):
    """All rows of a dataset, in order of price."""
    data = dataset.Dataset.open(path)
    data.verify()
    found = []
    for scenario in data.scenarios:
        for split in ("train", "valid", "test"):
            for shard in data.shards(scenario, split):
                for record in tf.data.TFRecordDataset(shard).as_numpy_iterator():
                    own = row_block.decode(record, data.schema)
                    graph = pipeline.decode_blocks(tf.constant([record]), data.schema)
                    np.testing.assert_array_equal(graph["numerical"], own.numerical)
                    np.testing.assert_array_equal(graph["weight"], own.weight)
                    found.append(own)
    numbers = np.concatenate([own.numerical for own in found])
    weights = np.concatenate([own.weight for own in found])
    order = np.argsort(numbers[:, 0])
    return numbers[order], weights[order]


def _texts():
    return [f"{a:g}|{b:g}|{c:g}" for a, b, c in _vectors()]


@pytest.mark.parametrize(
    "vectors",
    [
        _texts(),
        [f"[{a:g}, {b:g}, {c:g}]" for a, b, c in _vectors()],
        pa.array(_vectors().tolist(), pa.list_(pa.float32())),
        pa.array(_vectors().tolist(), pa.list_(pa.float64(), 3)),
        pa.array([list(map(str, v)) for v in _vectors().tolist()], pa.list_(pa.string())),
    ],
    ids=["text", "brackets", "list", "fixed", "texts"],
)
def test_every_spelling_of_a_vector_is_the_same_numbers(vectors, tmp_path):
    table.convert_table(pa.table(_columns(vectors)), tmp_path / "d", _SCHEMA)
    numbers, weights = _rows(tmp_path / "d")
    np.testing.assert_array_equal(numbers[:, 0], np.arange(_ROWS) / 2)
    np.testing.assert_array_equal(numbers[:, 1:], _vectors())
    np.testing.assert_array_equal(weights, np.arange(_ROWS) % 4)


def test_csv_files_too(tmp_path):
    columns = _columns(_texts())
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values()))]
    (tmp_path / "log.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "s.toml").write_text(_SCHEMA)
    convert.convert("csv", tmp_path / "log.csv", tmp_path / "d", schema_path=tmp_path / "s.toml")
    numbers, weights = _rows(tmp_path / "d")
    np.testing.assert_array_equal(numbers[:, 1:], _vectors())
    assert weights.sum() == sum(n % 4 for n in range(_ROWS))


@pytest.mark.parametrize(
    ("vector", "told"),
    [
        ("1|2", "2 numbers where 3 belong"),
        ("1|2|3|4", "4 numbers where 3 belong"),
        ("1|x|3", "'x' is not a number"),
        ("", "the value is empty"),
        ("1||3", "the value is empty"),
        ("1|inf|3", "infinite"),
    ],
)
def test_what_is_wrong_with_a_vector_is_told(vector, told, tmp_path):
    vectors = _texts()
    vectors[5] = vector
    with pytest.raises(errors.PfrecError, match=f"row 5, column 'image': .*{told}"):
        table.convert_table(pa.table(_columns(vectors)), tmp_path / "d", _SCHEMA)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf"), None])
def test_a_weight_that_is_none_makes_a_bad_row(weight, tmp_path):
    weights = [1.0] * _ROWS
    weights[7] = weight
    with pytest.raises(errors.PfrecError, match="row 7, column 'importance': the weight is"):
        table.convert_table(pa.table(_columns(_texts(), weights)), tmp_path / "d", _SCHEMA)


def test_missing_vectors_can_be_imputed(tmp_path):
    from pfrec.data.conversion import options as options_lib

    vectors = pa.array([None, [1.0, None, 3.0], *_vectors().tolist()[2:]], pa.list_(pa.float32()))
    schema = _SCHEMA.replace("values = 3", "values = 3\ndefault = 0.5")
    options = options_lib.Options(missing_numerical="impute")
    table.convert_table(pa.table(_columns(vectors)), tmp_path / "d", schema, options=options)
    numbers, _ = _rows(tmp_path / "d")
    assert numbers[:2, 1:].tolist() == [[0.5, 0.5, 0.5], [1.0, 0.5, 3.0]]
    np.testing.assert_array_equal(numbers[2:, 1:], _vectors()[2:])


def test_the_schema_survives_as_json():
    schema = toml_schema.read_text(_SCHEMA, place="here").schema
    told = json.loads(json.dumps(schema.to_json()))
    assert schema_lib.Schema.from_json(told, place="here") == schema
    assert (schema.number_columns, schema.row_bytes) == (4, 4 + 16 + 1 + 4)
    assert schema.number_places == (slice(0, 1), slice(1, 4))
    # What has neither says what it always said.
    without = toml_schema.read_text(
        _SCHEMA.replace('weight = "importance"', "").replace("values = 3", ""), place="here"
    ).schema.to_json()
    assert "weight" not in without
    assert all(set(c) == {"name", "default"} for c in without["numerical"])


def test_vectors_are_not_normalised_by_clients():
    with pytest.raises(errors.PfrecError, match=r"image: normalise does not go with a vector"):
        toml_schema.read_text(
            _SCHEMA.replace("values = 3", 'values = 3\nnormalise = "standard"'), place="here"
        )
