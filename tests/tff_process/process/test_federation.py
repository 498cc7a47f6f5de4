"""Rounds and their aggregation steps."""

import dataclasses

import pytest
import tensorflow as tf

from pfrec import errors
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import mmoe
from tff_process import plan
from tff_process.client import work as work_lib
from tff_process.process import federation as federation_lib

SMALL = ModelConfig(embedding_dim=2, numeric_dim=2, experts=2, expert_units=(3,), tower_units=(2,))


def federation(dataset, **settings):
    return federation_lib.Federation(
        plan.Plan(**{"algorithm": "pf_msmtrec", "batch_size": 16, "model": SMALL, **settings}),
        dataset,
    )


@pytest.mark.parametrize("local_epochs", [0.5, 1.0, 1.7])
@pytest.mark.parametrize("aggregations", [1, 3, 4])
def test_aggregation_steps_are_the_round_and_follow_each_other(dataset, local_epochs, aggregations):
    made = federation(dataset, local_epochs=local_epochs, aggregations=aggregations)
    for client, scenario in enumerate(dataset.scenarios):
        steps = round(local_epochs * (dataset.rows(scenario, "train") // 16))
        expected = 0
        for _ in range(2):
            for number in range(made.aggregation_steps):
                work = made._work(client, 0)
                assert work["first_step"] == expected
                assert (work["steps"] >= 1) == (client in made.turns.working(number))
                assert work["steps"] >= 1 or steps < made.aggregation_steps
                expected += work["steps"]
                made.turns.done[client] += 1
            assert expected % steps == 0
        assert expected == 2 * steps


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 4),
        ({"aggregations": 1}, 1),
        ({"batch_size": 50}, 4),  # The median client has 200 rows, the smallest 100.
        ({"batch_size": 80}, 2),
        ({"batch_size": 256}, 1),
        ({"batch_size": 16, "aggregate_every": 1}, 12),
        ({"algorithm": "local"}, 1),
    ],
)
def test_no_more_aggregation_steps_than_batches_and_one_where_nothing_is_shared(
    dataset, settings, expected
):
    assert federation(dataset, **settings).aggregation_steps == expected


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([100], 32),
        ([1_279], 32),
        ([1_280], 64),
        ([400, 2_160], 64),
        ([5_119], 128),
        ([5_120], 256),
        ([10**6], 256),
    ],
)
def test_batches_fit_the_mean_scenario(rows, expected):
    assert plan.Plan("fedavg").fitting(rows).batch_size == expected
    assert plan.Plan("fedavg", batch_size=7).fitting(rows).batch_size == 7


def saying(dataset, rows):
    """The dataset of clients that say so many training rows."""
    names = [f"c{number}" for number in range(len(rows))]
    like = dataset.counts[dataset.scenarios[0]]
    train = [dataclasses.replace(like["train"], rows=count) for count in rows]
    return dataclasses.replace(
        dataset,
        scenarios=tuple(names),
        counts={name: {**like, "train": own} for name, own in zip(names, train)},
    )


def parts(made, client, rounds=2):
    """A client's first batch and number of batches in each aggregation step of some rounds."""
    found = []
    for number in range(rounds * made.aggregation_steps):
        found.append(made.turns.part(client))
        trains = client in made.turns.working(number)
        made.turns.pass_over(number)
        made.turns.done[client] += trains
    return found


@pytest.mark.parametrize(("away_from", "last"), [(6, [False, True]), (5, [True])])
def test_a_clients_last_batch_is_known_to_be_its_last(dataset, away_from, last):
    """Of its three parts of a round two are empty: in those it takes part without a batch."""
    made = federation(saying(dataset, [400, 400, 1]), rounds=2, aggregations=3)
    assert made.aggregation_steps == 3
    made.turns.participants = lambda number: [0, 1, 2] if number < away_from else [0, 1]
    found = []
    for number in range(6):
        trains = 2 in made.turns.working(number)
        found += [made.turns.is_last(2, number)] * trains
        made.turns.pass_over(number)
        made.turns.done[2] += trains
    assert found == last


def test_a_silo_of_one_row_leaves_the_others_rounds_as_they_were(dataset):
    """1 of 4 claims one row: the others aggregate as often, on the same batches; it trains its only
    batch once a round, in the last aggregation, and is absent from the others.
    """
    honest = federation(saying(dataset, [300, 200, 100, 160]))
    lied = federation(saying(dataset, [300, 200, 1, 160]))
    assert honest.aggregation_steps == lied.aggregation_steps == 4
    for client in (0, 1, 3):
        assert parts(lied, client) == parts(honest, client)
    own = federation(saying(dataset, [300, 200, 1, 160]))
    assert [2 in own.turns.working(number) for number in range(3)] == [False] * 3
    assert [batches for _, batches in parts(own, 2)] == [0, 0, 0, 1, 0, 0, 0, 1]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_precision_reaches_the_clients(dataset, precision):
    assert federation(dataset, precision=precision).process_spec().settings.precision == precision


def test_an_automatic_precision_is_decided_before(dataset):
    """So pfrec-agreement, which knows one side alone, asks for one of the two."""
    told = "is decided where a run begins, by pfrec-train, .*; name float32 or bfloat16"
    with pytest.raises(errors.PfrecError, match=told):
        federation(dataset, precision="auto")


@pytest.mark.parametrize("lazy", [False, True])
def test_lazy_adam_reaches_the_optimizers(dataset, lazy):
    settings = federation(dataset, lazy_adam=lazy).process_spec().settings
    model = work_lib.ClientModel(
        lambda: mmoe.build(dataset.schema, SMALL, 0),
        dataset.schema,
        1e-3,
        lazy_adam=settings.lazy_adam,
    )
    assert [optimizer._lazy for optimizer in model.optimizers.values()] == [lazy]


def test_weight_decay_is_said_for_an_epoch(dataset):
    """Of 30, a twentieth for a client with twenty batches; without any, nothing is computed."""
    settings = federation(dataset, weight_decay=30.0).process_spec().settings
    assert float(settings.step_decay(tf.constant(20, tf.int64))) == 1.5
    for given in ({"weight_decay": 0.0}, {"dp_epsilon": 4.0}):
        none = federation(dataset, **given).process_spec().settings
        assert none.step_decay(tf.constant(20, tf.int64)) is None


@pytest.mark.parametrize(("rate", "told"), [(0.1, False), (0.2, True)])
def test_who_loses_all_weights_in_each_step_is_told(dataset, caplog, rate, told):
    """The smallest client has 100 rows: six batches, and 30 times 0.2 is six."""
    federation(dataset, learning_rate=rate, weight_decay=30.0)
    warned = [one for one in caplog.messages if "with 6 batches in an epoch" in one]
    assert len(warned) == told
    assert all("--learning_rate=0.2 and --weight_decay=30" in one for one in warned)


def test_the_batch_fits_the_rows_that_silos_would_say(dataset, monkeypatch):
    """1,289 rows are said to be 1,200: by 1,289 a batch would hold 64 rows."""
    monkeypatch.setattr(type(dataset), "rows", lambda self, scenario, split: 1_289)
    assert federation(dataset, batch_size=0).plan.batch_size == 32


def test_the_rate_and_the_weights_reach_clients_as_values(dataset):
    """Of 2 rounds of 4 aggregation steps; the cosine's halves and quarters."""
    made = federation(
        dataset, rounds=2, learning_rate=0.8, schedule="cosine", task_weights="nl/cvr=2"
    )
    assert made.aggregation_steps == 4
    assert made._work(0, 0)["learning_rate"] == pytest.approx(0.8)
    assert made._work(1, 4)["learning_rate"] == pytest.approx(0.4)
    weights = {
        scenario: made._work(client, 0)["task_weights"].tolist()
        for client, scenario in enumerate(dataset.scenarios)
    }
    assert weights == {"es": [1.0, 1.0], "fr": [1.0, 1.0], "nl": [1.0, 2.0]}
    assert made._work(0, 0)["positive_weights"].tolist() == [1.0, 1.0]
    assert made.graph_key == federation(dataset, rounds=2).graph_key
