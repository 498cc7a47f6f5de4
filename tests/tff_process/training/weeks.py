"""Small datasets of two weeks, whose clients have vocabularies and statistics of their own."""

import dataclasses

import numpy as np

from pfrec.data import schema as schema_lib
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import row_block, writer
from tests.conftest import random_rows
from tests.small_model import SHAPE
from tff_process import plan as plan_lib

PLAN = plan_lib.Plan("pf_msmtrec", rounds=2, aggregations=2, batch_size=50, model=SHAPE)
WORDS = tuple(f"user {number}" for number in range(12))
FILMS = tuple(f"film {number}" for number in range(9))
# By scenario, what its prices are normalised by: mean and deviation.
OLD = {"nl": (0.0, 1.0), "es": (0.5, 2.0)}
NEW = {"nl": (1.0, 3.0), "es": (0.5, 2.0)}


def agreed(users, films):
    return schema_lib.Schema(
        categorical=(
            schema_lib.Categorical("user", users, "private", "local_vocabulary"),
            schema_lib.Categorical("item", len(films), "shared", "vocabulary", films),
        ),
        numerical=(
            schema_lib.Numerical("price", None, "standard"),
            schema_lib.Numerical("age"),
        ),
        tasks=(schema_lib.Task("ctr", "click"), schema_lib.Task("cvr", "conversion", given="ctr")),
        group="session",
    )


def encoded(rows, users, films, statistics):
    """Rows whose ids are places in WORDS and FILMS, by other vocabularies and statistics."""
    users, films = list(users), list(films)
    ids = np.stack(
        [
            [users.index(WORDS[i]) if WORDS[i] in users else -2 for i in rows.categorical[:, 0]],
            [films.index(FILMS[i]) for i in rows.categorical[:, 1]],
        ],
        axis=1,
    )
    mean, deviation = statistics
    price = (rows.numerical[:, 0] - mean) / deviation
    numbers = np.stack([price, rows.numerical[:, 1]], axis=1).astype(np.float32)
    return row_block.Rows(ids.astype(np.int32), numbers, rows.labels, rows.group)


def write(path, scenarios, users, films, cardinality, seed):
    """A dataset of the raw rows of some scenarios, each with its users and statistics."""
    plain = schema_lib.Schema(
        (schema_lib.Categorical("user", 12), schema_lib.Categorical("item", 9)),
        (schema_lib.Numerical("price"), schema_lib.Numerical("age")),
        (schema_lib.Task("ctr", "click"), schema_lib.Task("cvr", "conversion", given="ctr")),
        "session",
    )
    shared, clients = agreed(cardinality, films), {}
    with writer.DatasetWriter(path, shared, source_format="test", split_seed=0) as target:
        for number, (scenario, statistics) in enumerate(scenarios.items()):
            own = dataclasses.replace(shared.categorical[0], vocabulary=users)
            mean, deviation = statistics
            price = dataclasses.replace(
                shared.numerical[0], default=mean, shift=mean, scale=deviation
            )
            clients[scenario] = dataclasses.replace(
                shared,
                categorical=(own, shared.categorical[1]),
                numerical=(price, shared.numerical[1]),
            )
            for offset, split in enumerate(("train", "valid", "test")):
                rows = random_rows(plain, 120, seed + 10 * number + offset)
                known = [WORDS[i] in users for i in rows.categorical[:, 0]]
                target.add(
                    scenario, split, encoded(rows.take(np.array(known)), users, films, statistics)
                )
        target.describe_clients(clients)
    return dataset_lib.Dataset.open(path)
