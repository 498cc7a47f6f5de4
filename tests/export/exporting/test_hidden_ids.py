"""An export tells an id that few rows held from one that none held by nothing."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from export.exporting import build, held_ids, hidden_ids, trained
from export.version import manifest
from pfrec.data import schema as schema_lib
from pfrec.data.dataset import row_block
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import mmoe

CONFIG = ModelConfig(embedding_dim=4, numeric_dim=3, experts=2, expert_units=(6,), tower_units=(4,))
SCHEMA = schema_lib.Schema(
    categorical=(
        schema_lib.Categorical("user", 5),
        schema_lib.Categorical("item", 4, "shared"),
        schema_lib.Categorical(
            "town", 5, encoding="vocabulary", vocabulary=("york", "delft", "rare")
        ),
        schema_lib.Categorical("seen", 6, values=3, separator="|"),
    ),
    numerical=(),
    tasks=(schema_lib.Task("click", "click"),),
)
NONE = schema_lib.NO_VALUE


def some_rows() -> row_block.Rows:
    """Twelve rows. Users 0 and 1 are in 8 and 4 of them; york, delft and rare in 8, 3 and 1; of
    what was seen 2 is in 12 of them, twice in each, and 3 in 4.
    """
    user = [0] * 8 + [1] * 4
    town = [0] * 8 + [1] * 3 + [2]
    seen = [[2, 2, NONE]] * 8 + [[2, 3, 2]] * 4
    categorical = np.column_stack([user, np.arange(12) % 4, town, np.array(seen)])
    return row_block.Rows(
        categorical.astype(np.int32), np.zeros((12, 0), np.float32), np.ones((12, 1), np.uint8)
    )


@pytest.fixture
def shards(tmp_path: pathlib.Path) -> "list[str]":
    path = tmp_path / "train-00000.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(row_block.encode(some_rows().take(slice(0, 5))))
        writer.write(row_block.encode(some_rows().take(slice(5, 12))))
    return [str(path)]


def a_model(shards: "list[str]", seed: int = 1) -> trained.TrainedModel:
    """A model whose tables have rows that are all different."""
    network = mmoe.build(SCHEMA, CONFIG, seed=0)
    generator = np.random.default_rng(seed)
    for layer in network.embeddings:
        layer.table.assign(generator.normal(size=layer.table.shape).astype(np.float32))
    return trained.TrainedModel(
        "nl",
        network,
        SCHEMA,
        some_rows(),
        {"id": "abc", "round": 1},
        held=lambda: held_ids.of_rows(shards, SCHEMA),
        own_vocabularies=frozenset(["town"]),
    )


def tables(model: trained.TrainedModel) -> "dict[str, np.ndarray]":
    layers = zip(SCHEMA.categorical, model.network.embeddings)
    return {feature.name: layer.table.numpy() for feature, layer in layers}


def test_rows_that_hold_an_id_are_counted_once(shards):
    found = held_ids.of_rows(shards, SCHEMA)
    assert {name: counts.tolist() for name, counts in found.items()} == {
        "user": [8, 4, 0, 0, 0, 0],
        "town": [8, 3, 1, 0, 0, 0],
        "seen": [0, 0, 12, 4, 0, 0, 0],
    }
    of_all = held_ids.of_rows(shards, SCHEMA, shared=True)
    assert of_all.pop("item").tolist() == [3, 3, 3, 3, 0]
    assert {name: counts.tolist() for name, counts in of_all.items()} == {
        name: counts.tolist() for name, counts in found.items()
    }


def test_rare_ids_have_the_unknown_row_and_leave_the_vocabulary(shards):
    model = a_model(shards)
    before = tables(model)
    hidden, kept = hidden_ids.hide(model, 4)
    now = tables(hidden)
    assert kept == {"user": 2, "town": 1, "seen": 2}
    for name, own in (("user", {0, 1}), ("seen", {2, 3}), ("town", {0})):
        for number, row in enumerate(now[name]):
            np.testing.assert_array_equal(row, before[name][number if number in own else -1])
    np.testing.assert_array_equal(now["item"], before["item"])
    assert hidden.schema.categorical[2].vocabulary == ("york",)
    assert hidden.rows.categorical[:, 2].tolist() == [0] * 8 + [5] * 4
    # A request is answered as before where its ids are kept, and as for unknown ones elsewhere.
    request = hidden.requests()
    assert [word == b"york" for word in request["town"]] == [True] * 8 + [False] * 4
    same = a_model(shards)
    expected = same.predict({**request, "town": np.array([b"york"] * 8 + [b"?"] * 4, object)})
    np.testing.assert_array_equal(hidden.predict(request)["click"], expected["click"])


def test_what_is_kept_is_in_alphabetical_order(shards):
    model = a_model(shards)
    before = tables(model)["town"]
    hidden, _ = hidden_ids.hide(model, 2)
    assert hidden.schema.categorical[2].vocabulary == ("delft", "york")
    np.testing.assert_array_equal(tables(hidden)["town"][:2], before[[1, 0]])
    assert hidden.rows.categorical[:, 2].tolist() == [1] * 8 + [0] * 3 + [5]


def test_an_agreed_vocabulary_stays_whole(shards):
    agreed = dataclasses.replace(a_model(shards), own_vocabularies=frozenset())
    hidden, _ = hidden_ids.hide(agreed, 4)
    assert hidden.schema == SCHEMA
    assert hidden.rows.categorical[:, 2].tolist() == [0] * 8 + [5] * 4


def test_an_export_is_the_same_whether_few_rows_held_an_id_or_none(shards, tmp_path):
    """Two trainings that differ in what they made of ids that fewer rows held."""
    written = []
    for number in range(2):
        model = a_model(shards)
        for layer, rare in zip(model.network.embeddings, ([1, 2], [], [1, 2], [3])):
            table = layer.table.numpy()
            table[rare] += number
            layer.table.assign(table)
        if number:
            # Of another length and order.
            town = dataclasses.replace(SCHEMA.categorical[2], vocabulary=("york", "rare"))
            parts = (*SCHEMA.categorical[:2], town, SCHEMA.categorical[3])
            model = dataclasses.replace(
                model, schema=dataclasses.replace(SCHEMA, categorical=parts)
            )
        directory = tmp_path / str(number)
        directory.mkdir()
        build.write(hidden_ids.hide(model, 8)[0], "nl", directory)
        found = {
            str(path.relative_to(directory)): path.read_bytes()
            for path in sorted(directory.rglob("*"))
            if path.is_file()
        }
        # The graph has names that Keras numbers within a process; two files have its digest.
        graph = found.pop("saved_model.pb")
        del found["fingerprint.pb"]
        assert b"york" in graph
        assert b"rare" not in graph
        told = json.loads(found.pop(manifest.FILE))
        written.append((found, {k: told[k] for k in set(told) - {"files", "sha256"}}))
        assert len(found) >= 4
    assert written[0] == written[1]


def test_without_an_id_that_is_kept_the_model_still_answers(shards, tmp_path):
    hidden, kept = hidden_ids.hide(a_model(shards), 100)
    assert set(kept.values()) == {0}
    build.build(hidden, "nl", tmp_path)


def test_nothing_is_hidden_where_that_is_said(shards):
    model = a_model(shards)
    hidden, kept = hidden_ids.hide(model, 0)
    assert hidden is model
    assert kept == {}


def test_where_rows_are_gone_what_was_never_trained_is_hidden():
    first = {"user": np.arange(8, dtype=np.float32).reshape(4, 2)}
    now = {"user": first["user"].copy()}
    now["user"][1, 1] += 1e-6
    found = held_ids.of_tables(now, first)["user"]
    assert (found[[0, 2, 3]] == 0).all()
    assert found[1] > 10**9


def test_readers_of_one_table_are_hidden_together(tmp_path: pathlib.Path) -> None:
    """Rows count that hold an id under either reader; words and ids stay those of the table."""
    words = ("york", "delft", "rare")
    town = schema_lib.Categorical("town", 5, encoding="vocabulary", vocabulary=words)
    been = dataclasses.replace(town, name="been", values=2, separator="|", table="town")
    schema = dataclasses.replace(SCHEMA, categorical=(town, been))
    # york stands in 4 rows and in the lists of 5 others; delft in 8 rows; rare in one.
    own = [0] * 4 + [1] * 8 + [2]
    lists = [[NONE, NONE]] * 4 + [[0, 1]] * 5 + [[1, NONE]] * 3 + [[2, 1]]
    rows = row_block.Rows(
        np.column_stack([own, lists]).astype(np.int32),
        np.zeros((13, 0), np.float32),
        np.ones((13, 1), np.uint8),
    )
    path = tmp_path / "train-00000.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(row_block.encode(rows))
    held = held_ids.of_rows([str(path)], schema)
    assert {name: counts.tolist() for name, counts in held.items()} == {"town": [9, 9, 1, 0, 0, 0]}
    network = mmoe.build(schema, CONFIG, seed=0)
    before = np.random.default_rng(0).normal(size=[6, 4]).astype(np.float32)
    network.embeddings[0].table.assign(before)
    model = trained.TrainedModel(
        *("nl", network, schema, rows, {"id": "abc", "round": 1}),
        held=lambda: held,
        own_vocabularies=frozenset(["town", "been"]),
    )
    hidden, kept = hidden_ids.hide(model, 8)
    assert kept == {"town": 2}
    assert [f.vocabulary for f in hidden.schema.categorical] == [("delft", "york")] * 2
    np.testing.assert_array_equal(network.embeddings[0].table.numpy(), before[[1, 0, 5, 5, 5, 5]])
    assert hidden.rows.categorical[[0, 4, 12]].tolist() == [[1, NONE, NONE], [0, 1, 0], [5, 5, 0]]
