"""Importance and calibration by hand."""

import numpy as np
import pytest
import tensorflow as tf

from pfrec import inspection
from pfrec.data import schema as schema_lib
from pfrec.data.dataset import row_block
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import mmoe

SCHEMA = schema_lib.Schema(
    categorical=(
        schema_lib.Categorical("shop", 5),
        schema_lib.Categorical("words", 5, values=2, separator=" "),
    ),
    numerical=(schema_lib.Numerical("price"), schema_lib.Numerical("age")),
    tasks=(schema_lib.Task("ctr", "click"), schema_lib.Task("cvr", "buy", given="ctr")),
)


def rows(count=200):
    """The click is whether the price is above 0; the buy is never observed."""
    rng = np.random.default_rng(3)
    numbers = rng.normal(size=(count, 2)).astype(np.float32)
    click = (numbers[:, 0] > 0).astype(np.uint8)
    labels = np.stack([click, np.full(count, row_block.UNOBSERVED, np.uint8)], axis=1)
    return row_block.Rows(rng.integers(0, 5, (count, 3)).astype(np.int32), numbers, labels)


def by_price(given):
    """Ranks by the price alone."""
    return np.repeat(given.numerical[:, :1], 2, axis=1)


def test_what_a_model_ignores_is_worth_nothing_and_what_it_goes_by_all_of_it():
    found = inspection.importance(by_price, rows(), SCHEMA, repeats=3, seed=0)
    nothing = {"mean": 0.0, "deviation": 0.0}
    assert {name: found["ctr"][name] for name in ("shop", "words", "age")} == {
        "shop": nothing,
        "words": nothing,
        "age": nothing,
    }
    # From an AUC of 1 to that of chance.
    assert found["ctr"]["price"]["mean"] == pytest.approx(0.5, abs=0.08)
    # Of a task without rows nothing is known.
    assert set(found["cvr"].values()) == {None}


def test_the_loss_of_a_permutation_by_hand():
    """Four rows, of prices 1 to 4, the last two clicked: AUC 1, and with the prices in the order
    that the seed says as many of the four pairs as are still ranked rightly.
    """
    labels = np.array([[0, 255], [0, 255], [1, 255], [1, 255]], np.uint8)
    prices = np.array([[1, 0], [2, 0], [3, 0], [4, 0]], np.float32)
    four = row_block.Rows(np.zeros((4, 3), np.int32), prices, labels)
    # The price is feature 2, after the two that are ids.
    order = np.random.default_rng([7, 2, 0]).permutation(4)
    shuffled = prices[order, 0]
    right = sum(shuffled[p] > shuffled[n] for p in (2, 3) for n in (0, 1)) / 4
    assert right < 1
    found = inspection.importance(by_price, four, SCHEMA, repeats=1, seed=7)
    assert found["ctr"]["price"] == {"mean": pytest.approx(1 - right), "deviation": 0.0}


def test_a_list_is_permuted_as_one():
    given = rows()

    def by_words(given):
        # Only where both places of a row belong together is it above 0.
        alike = given.categorical[:, 1] + 10 * given.categorical[:, 2]
        return np.repeat(np.isin(alike, known)[:, np.newaxis].astype(np.float32), 2, axis=1)

    known = given.categorical[:, 1] + 10 * given.categorical[:, 2]
    found = inspection.importance(by_words, given, SCHEMA, repeats=2, seed=0)
    assert found["ctr"]["words"] == {"mean": 0.0, "deviation": 0.0}
    assert [feature.columns for feature in inspection.features(SCHEMA)] == [
        slice(0, 1),
        slice(1, 3),
        slice(0, 1),
        slice(1, 2),
    ]


def test_importance_repeats_bit_for_bit_and_follows_its_seed():
    one, two, other = (
        inspection.importance(by_price, rows(), SCHEMA, repeats=2, seed=seed) for seed in (1, 1, 2)
    )
    assert one == two
    assert one["ctr"]["price"] != other["ctr"]["price"]


def test_calibration_by_hand():
    """Of four rows in two parts, those predicted 0.5 and 0.5, and 0.9 and 0.7: one of each is
    positive. A fifth one is not observed.
    """
    probability = np.array([0.9, 0.5, 0.7, 0.5, 0.1])
    logits = np.stack([np.log(probability / (1 - probability)), np.full(5, np.nan)], axis=1)
    labels = np.array([[1, 0], [1, 0], [0, 0], [0, 0], [255, 0]], np.uint8)
    found = inspection.calibration(labels, logits, ["ctr", "cvr"], parts=2)
    assert found == {
        "ctr": [
            {"rows": 2, "positives": 1, "predicted": pytest.approx(0.5)},
            {"rows": 2, "positives": 1, "predicted": pytest.approx(0.8)},
        ]
    }
    assert len(inspection.calibration(labels, logits, ["ctr"])["ctr"]) == 4


def test_the_predictor_says_what_the_network_says(dataset):
    network = mmoe.build(
        dataset.schema, ModelConfig(experts=2, expert_units=(6,), tower_units=(4,)), 3
    )
    found = inspection.read_rows(dataset.shards("nl", "valid"), dataset.schema)
    assert len(found) == 80
    logits = inspection.predictor(network, dataset.schema)(found)
    plain = network.plain(
        {"categorical": tf.constant(found.categorical), "numerical": tf.constant(found.numerical)}
    )
    np.testing.assert_allclose(
        logits, np.stack([plain[t.name] for t in dataset.schema.tasks], 1), rtol=1e-4, atol=1e-6
    )
    few = inspection.read_rows(dataset.shards("nl", "valid"), dataset.schema, 7)
    np.testing.assert_array_equal(few.categorical, found.categorical[:7])
