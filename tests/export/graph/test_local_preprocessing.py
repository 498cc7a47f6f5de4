"""Client-local vocabularies and normalisation:
served raw values become what the client trained on.
"""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from export import interface
from export.exporting import trained
from export.graph import requests, serving_module
from pfrec import errors
from pfrec.commands import convert
from pfrec.data import schema as schema_lib
from pfrec.data.dataset import dataset as dataset_lib
from tests.export import tiny
from tests.pfrec.data import raw_layouts, rows_back

pytestmark = pytest.mark.usefixtures("rows_in_source_order")

PRICE = schema_lib.Numerical("price", default=5.0, normalise="standard", shift=5.0, scale=2.0)
LOCAL = dataclasses.replace(
    tiny.SCHEMA,
    categorical=(
        *tiny.SCHEMA.categorical[:2],
        # A client with fewer words than places, as one with few rows has.
        schema_lib.Categorical("device", 6, encoding="vocabulary", vocabulary=("phone", "tablet")),
    ),
    numerical=(PRICE, tiny.SCHEMA.numerical[1]),
)
TOML = """
[[categorical]]
name = "street"
encoding = "local_vocabulary"
cardinality = 8
min_count = 2
[[numerical]]
name = "price"
normalise = "standard"
[[numerical]]
name = "age"
normalise = "minmax"
[[task]]
name = "click"
[split]
valid = 0.2
test = 0.2
"""


def test_numbers_by_hand():
    request = requests.repeated(requests.random(interface.Interface(LOCAL), 1, seed=0), 3)
    request["price"] = np.array([7.0, 5.0, np.nan], np.float32)
    request["age"] = np.array([7.0, np.inf, 0.0], np.float32)
    _, numbers = requests.reference_ids(request, LOCAL)
    np.testing.assert_array_equal(numbers, [[1.0, 7.0], [0.0, -1.0], [0.0, 0.0]])


def test_rows_become_requests_and_rows_again():
    rows = tiny.rows(64, LOCAL)
    request = requests.from_rows(rows, LOCAL)
    assert set(request["device"]) == {b"phone", b"tablet", b"not in the vocabulary"}
    ids, numbers = requests.reference_ids(request, LOCAL)
    np.testing.assert_allclose(numbers, rows.numerical, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(
        ids[:, 2], np.where(rows.categorical[:, 2] < 2, rows.categorical[:, 2], 6)
    )


def test_an_export_is_held_to_the_trained_model(tmp_path):
    built = tiny.write_version(tmp_path / "1", tiny.model(LOCAL))
    assert "parity" in {check.name for check in built.report.checks if check.ok}


def test_no_router_over_clients_that_encode_differently():
    other = dataclasses.replace(
        LOCAL, numerical=(dataclasses.replace(PRICE, shift=6.0), LOCAL.numerical[1])
    )
    with pytest.raises(
        errors.PfrecError, match="--router: NL and ES encode their features differently"
    ):
        trained.RoutedModels((tiny.model(LOCAL), tiny.model(other, scenario="ES")))


def raw_rows(scale):
    draw = np.random.default_rng(7)
    return [
        {
            "street": f"{'abcdefghijkl'[min(draw.geometric(0.3), 12) - 1]} street",
            "price": float(np.float32(draw.normal(50 * scale, 9))),
            "age": int(draw.integers(20, 60)) if i % 9 else "",
            "click": i % 2,
        }
        for i in range(300)
    ]


@pytest.mark.parametrize("scenario", ["NL", "ES"])
def test_raw_values_are_encoded_as_the_converter_did(tmp_path, scenario):
    (tmp_path / "raw").mkdir()
    (tmp_path / "s.toml").write_text(TOML)
    for scale, name in enumerate(("NL", "ES"), 1):
        rows = raw_rows(scale)
        (tmp_path / "raw" / f"{name}.csv").write_bytes(raw_layouts.table(list(rows[0]), rows))
    convert.convert(
        "csv",
        tmp_path / "raw",
        tmp_path / "data",
        schema_path=tmp_path / "s.toml",
        missing_numerical="impute",
    )
    data = dataset_lib.Dataset.open(tmp_path / "data")
    schema = data.client_schema(scenario)
    rows = raw_rows(("NL", "ES").index(scenario) + 1)
    tables = {f.name: serving_module._vocabulary_table(f) for f in schema.categorical}
    for split, chosen in zip(
        ("train", "valid", "test"), rows_back.in_order(len(rows), 0, (0.6, 0.2, 0.2))
    ):
        features = {
            "street": tf.constant([rows[i]["street"] for i in chosen]),
            "price": tf.constant([rows[i]["price"] for i in chosen], tf.float32),
            "age": tf.constant(
                [np.nan if rows[i]["age"] == "" else rows[i]["age"] for i in chosen], tf.float32
            ),
        }
        served = serving_module.encode(features, schema, tables)
        converted = rows_back.read_back(data, scenario, split)
        np.testing.assert_array_equal(served["categorical"], converted["categorical"])
        np.testing.assert_allclose(
            served["numerical"], converted["numerical"], rtol=1e-6, atol=1e-7
        )
