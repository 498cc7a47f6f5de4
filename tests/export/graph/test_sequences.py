"""Lists over another feature's table in a served model."""

import dataclasses
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from export.exporting import build, trained
from export.graph import folded_network, folding, requests
from pfrec.data import schema as schema_lib
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import mmoe
from tests.export import tiny

_WORDS = tuple(f"w{n}" for n in range(9))


def _schema(pooling: str, encoding: str) -> schema_lib.Schema:
    said = {"vocabulary": _WORDS} if encoding == "vocabulary" else {}
    item = schema_lib.Categorical("item", 9, "shared", encoding, **said)  # type: ignore[arg-type]
    seen = dataclasses.replace(
        item, name="seen", values=3, separator="|", table="item", keep="last", pooling=pooling
    )
    return schema_lib.Schema(
        (item, seen), (schema_lib.Numerical("price"),), (schema_lib.Task("click", "click"),)
    )


def _network(schema: schema_lib.Schema) -> mmoe.MMoE:
    config = ModelConfig(embedding_dim=4, experts=2, expert_units=(8,), tower_units=(4,))
    network = mmoe.build(schema, config, 0)
    generator = np.random.default_rng(0)
    for variable in network.trainable_variables:
        variable.assign_add(0.3 * generator.standard_normal(variable.shape).astype(np.float32))
    return network


@pytest.mark.parametrize(
    ("pooling", "encoding"),
    [("attention", "identity"), ("attention", "vocabulary"), ("mean", "hash")],
)
def test_an_export_is_held_to_the_trained_model(
    pooling: str, encoding: str, tmp_path: pathlib.Path
) -> None:
    """Parity with the trained model, by every signature, on hostile requests too."""
    schema = _schema(pooling, encoding)
    model = trained.TrainedModel(
        "NL", _network(schema), schema, tiny.rows(schema=schema), {"id": "abc", "round": 4}
    )
    (tmp_path / "NL").mkdir()
    build.build(model, "NL", tmp_path / "NL" / "1")


def test_the_last_values_count_wherever_fillers_stand() -> None:
    schema = _schema("mean", "identity")
    request = {
        "item": np.array([1, 2, 3]),
        "seen": np.array([[1, 2, 3, 4, 5], [-1, 7, -1, 8, -1], [-1] * 5]),
        "price": np.zeros(3, np.float32),
    }
    ids, _ = requests.reference_ids(request, schema)
    assert ids.tolist() == [[1, 3, 4, 5], [2, 7, 8, -1], [3, -1, -1, -1]]


def test_a_table_that_two_features_read_is_kept_once() -> None:
    schema = _schema("mean", "identity")
    network = _network(schema)
    folded = folding.fold(network, table_rows=0)
    made = folded_network.FoldedNetwork(folded)
    assert len([v for v in made.variables if v.name.startswith("folded/embedding")]) <= 1
    assert len({id(table) for _, table in folded.lookups}) == 1
    rows = tiny.rows(schema=schema)
    inputs = {
        "categorical": tf.constant(rows.categorical),
        "numerical": tf.constant(rows.numerical),
    }
    np.testing.assert_allclose(
        made(inputs)["click"], network(inputs, training=False)["click"], rtol=1e-4, atol=1e-5
    )
