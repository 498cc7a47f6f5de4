"""What a server that keeps all it is sent can say of single rows: with the order of rows a good
deal, without it nothing above chance.
"""

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import reconstruct_rows
from pfrec.data import schema as schema_lib
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import pipeline, row_block, writer
from pfrec.models.config import ModelConfig
from tff_process import plan

PLAN = plan.Plan(
    "pf_msmtrec",
    rounds=6,
    aggregations=10,
    batch_size=10,
    model=ModelConfig(
        embedding_dim=3, numeric_dim=2, experts=2, expert_units=(4,), tower_units=(3,)
    ),
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Two scenarios whose ids are rare, which is where single rows show most."""
    schema = schema_lib.Schema(
        (schema_lib.Categorical("user", 12), schema_lib.Categorical("item", 150, "shared")),
        (schema_lib.Numerical("price"),),
        (schema_lib.Task("ctr", "click"),),
    )
    path = tmp_path_factory.mktemp("data") / "rare"
    with writer.DatasetWriter(path, schema, source_format="test", split_seed=0) as target:
        for number, scenario in enumerate(("es", "nl")):
            for offset, split in enumerate(("train", "valid", "test")):
                rng = np.random.default_rng(10 * number + offset)
                rows = 300 if split == "train" else 80
                ids = np.stack(
                    [rng.integers(0, feature.cardinality, rows) for feature in schema.categorical],
                    1,
                ).astype(np.int32)
                price = rng.normal(size=(rows, 1)).astype(np.float32)
                click = (rng.random([rows, 1]) < 1 / (1 + np.exp(-price))).astype(np.uint8)
                target.add(scenario, split, row_block.Rows(ids, price, click))
    return dataset_lib.Dataset.open(path)


@pytest.fixture(scope="module")
def steps(dataset, tmp_path_factory):
    return reconstruct_rows.record(PLAN, dataset, tmp_path_factory.mktemp("runs") / "run")


def own_order(client):
    secret = pipeline.simulated_secret(PLAN.seed, client)
    return int(pipeline.order_seed(tf.constant(secret), tf.constant(PLAN.seed, tf.int64)))


@pytest.fixture(scope="module")
def in_the_public_order(dataset, steps):
    order = {client: reconstruct_rows.public_order(PLAN, client) for client in range(2)}
    return reconstruct_rows.attack(dataset, PLAN, steps, order, exact=True)


@pytest.fixture(scope="module")
def in_the_clients_own_order(dataset, steps):
    return reconstruct_rows.attack(
        dataset, PLAN, steps, {client: own_order(client) for client in range(2)}, exact=False
    )


def four_deviations(chance, rows):
    return chance + 4 * np.sqrt(chance * (1 - chance / rows))


def test_exact_counts_in_a_known_order_give_rows_away(in_the_public_order):
    """As version 0.1.0 sent them: what is read off is right."""
    assert in_the_public_order.right == in_the_public_order.read > in_the_public_order.rows / 10


def test_what_is_sent_gives_no_row_away_to_who_does_not_know_the_order(in_the_public_order):
    found = in_the_public_order
    bound = four_deviations(found.chance, found.rows)
    assert found.moved <= bound
    assert found.size <= bound


def test_with_the_secret_the_attacks_would_find_rows(in_the_clients_own_order):
    """So they are attacks, and the secret is what they lack."""
    found = in_the_clients_own_order
    assert max(found.moved, found.size) > four_deviations(found.chance, found.rows)


def test_losses_give_no_label_away(in_the_public_order):
    """The deviation of an AUC of 100 rows that knows nothing is about 0.06."""
    for value in in_the_public_order.loss:
        assert abs(value - 0.5) < 0.24


def test_the_reader_of_counts_solves_what_has_one_solution():
    """Position 0 alone is in the step of id 1;
    which of 1 and 2 has id 0 and which id 2 nobody can tell.
    """
    present = np.array([[True, False, False], [False, True, True]])
    counts = np.array([[0, 1, 0], [1, 0, 1]])
    np.testing.assert_array_equal(reconstruct_rows.read_off(present, counts), [1, -1, -1])
