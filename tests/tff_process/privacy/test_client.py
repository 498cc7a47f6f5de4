"""A client's answer: repeated by a replay alone, and none of the home model's business."""

import numpy as np
import pytest
import tensorflow as tf

from pfrec import evaluation, metrics
from pfrec.data.dataset import pipeline
from pfrec.models import ranker
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import mmoe
from tff_process import plan as plan_lib
from tff_process.client import work as work_lib
from tff_process.finishing import home as home_lib
from tff_process.finishing import teaching
from tff_process.privacy import client as client_lib
from tff_process.privacy import clipping
from tff_process.process import federation
from tff_process.training import selection

SHAPE = ModelConfig(embedding_dim=3, numeric_dim=2, experts=2, expert_units=(4,), tower_units=(3,))
SECRET = np.array([5, 17], np.int64)
ITEM = "embedding/item/embedding_item/table"
USER = "embedding/user/embedding_user/table"


class Client:
    """One client of an algorithm, called eagerly."""

    def __init__(self, algorithm, dataset, **settings):
        self.dataset = dataset
        plan = plan_lib.Plan(
            algorithm,
            rounds=4,
            aggregations=1,
            batch_size=50,
            dp_epsilon=4.0,
            model=SHAPE,
            **{"home_rate": 0.05, **settings},
        )
        self.made = federation.Federation(plan, dataset)
        self.layout, self.strategy = self.made.layout, self.made.algorithm.client
        self.model = work_lib.ClientModel(
            lambda: mmoe.build(dataset.schema, plan.model, 0),
            dataset.schema,
            0.05,
            self.strategy.optimizers(self.layout),
        )
        initial = self.made._initial
        # Traced once for all calls.
        self._call = tf.function(self._train)
        self.incoming = {spec.name: initial[spec.name] for spec in self.layout.uploaded}
        self.private = {
            **{s.name: initial[s.name] for s in self.layout.joined("private")},
            **{item.name: initial[item.name] for item in self.strategy.kept(self.layout)},
            **{name: np.zeros(slot.shape, np.float32) for name, slot in self.model.slots.items()},
        }

    def train(
        self, *, incoming=None, private=None, secret=SECRET, scenario="nl", own=(), **numbers
    ):
        told = {"seed": 1, "first_step": 0, "steps": 2, "epoch_steps": 6, "home_steps": 0}
        work = {
            "shards": tf.constant(self.dataset.shards(scenario, "train")),
            "valid_shards": tf.constant(self.dataset.shards(scenario, "valid")),
            "learning_rate": tf.constant(0.05),
            "serves": tf.ones([len(self.dataset.schema.tasks)]),
            **{k: tf.constant(v, tf.int64) for k, v in {**told, **numbers}.items()},
            **self.strategy.own_work(tf.constant(0), tf.constant(secret)),
            **dict(own),
        }
        given = [
            {name: tf.constant(value) for name, value in values.items()}
            for values in (incoming or self.incoming, private or self.private)
        ]
        upload, state, said = self._call(*given, work)
        return (
            {name: value.numpy() for name, value in upload.items()},
            {name: value.numpy() for name, value in state.items()},
            {name: float(value) for name, value in said.items()},
        )

    def _train(self, incoming, private, work):
        inputs = work_lib.ClientInputs(
            self.layout, work_lib.TrainingSettings(50), incoming, {}, private, work
        )
        done = self.strategy.train(self.model, inputs)
        return done.upload, done.private, {"examples": done.examples, "loss": done.loss}


@pytest.fixture(scope="module")
def fedavg(dataset):
    return Client("fedavg", dataset)


@pytest.fixture(scope="module")
def fedper(dataset):
    return Client("fedper", dataset)


@pytest.fixture(scope="module")
def first(fedavg):
    return fedavg.train()


def bytes_of(values):
    return {name: value.tobytes() for name, value in values.items()}


def test_a_replay_gives_the_same_bytes(fedavg, first):
    again = fedavg.train()
    assert bytes_of(again[0]) == bytes_of(first[0])
    assert bytes_of(again[1]) == bytes_of(first[1])


def noise_of(upload):
    """The row of an id that no row holds: what moves it is noise alone."""
    return upload[ITEM][-1]


@pytest.mark.parametrize("changed", ["received", "rows", "secret", "step", "released state"])
def test_any_other_question_draws_other_noise(fedavg, first, changed):
    other = {}
    if changed == "received":
        values = {name: value.copy() for name, value in fedavg.incoming.items()}
        name = "tower/ctr/tower_ctr/logit/bias"
        values[name] = values[name] + np.float32(1e-6)
        other["incoming"] = values
    elif changed == "rows":
        other["scenario"] = "es"
    elif changed == "secret":
        other["secret"] = SECRET + 1
    elif changed == "step":
        other["first_step"] = 2
    else:
        slot = next(n for n in fedavg.private if n.startswith(client_lib.RELEASED_OPTIMIZER))
        other["private"] = {**fedavg.private, slot: fedavg.private[slot] + np.float32(1e-6)}
    upload, _, _ = fedavg.train(**other)
    # Adam makes steps of nearly one size of whatever noise, so that all may be close.
    assert np.all(noise_of(upload) != noise_of(first[0]))


@pytest.mark.parametrize("made", ["fedavg", "fedper"])
def test_the_home_model_never_feeds_back(made, request):
    """Whatever the home model and its optimizer hold, and however long it trains, what leaves and
    what the next answer depends on stay the same to the bit.
    """
    client = request.getfixturevalue(made)
    upload, state, _ = client.train()
    random = np.random.default_rng(0)

    def own(name):
        return name.startswith((client_lib.RELEASED, client_lib.RELEASED_OPTIMIZER))

    planted = {
        name: value if own(name) else (value + random.normal(5, 3, value.shape)).astype(value.dtype)
        for name, value in client.private.items()
    }
    other_upload, other_state, _ = client.train(private=planted, home_steps=7)
    assert bytes_of(other_upload) == bytes_of(upload)
    kept = [name for name in state if own(name)]
    assert kept
    for name in kept:
        np.testing.assert_array_equal(other_state[name], state[name])
    assert not np.array_equal(other_state[ITEM], state[ITEM])


def test_what_is_released_depends_on_its_own_private_part(fedper):
    tower = f"{client_lib.RELEASED}tower/ctr/tower_ctr/logit/kernel"
    assert tower in fedper.private
    upload, state, _ = fedper.train()
    assert not np.array_equal(state[tower], fedper.private[tower])
    planted = {**fedper.private, tower: fedper.private[tower] + np.float32(1.0)}
    changed, _, _ = fedper.train(private=planted)
    assert not np.array_equal(changed[ITEM], upload[ITEM])


def test_private_tables_are_absent_from_what_is_released(fedavg, first):
    released = fedavg.strategy.released(fedavg.layout)
    assert USER not in released
    assert fedavg.strategy.absent(fedavg.layout) == {"user"}
    assert not [name for name in fedavg.private if name.startswith(client_lib.RELEASED)]
    upload, state, _ = first
    np.testing.assert_array_equal(state[USER], 0.0)
    # The kernel's rows that read the absent table stay; all else moves.
    kernel = "expert/0/shared/expert_0/dense_0/kernel"
    change = upload[kernel] - fedavg.incoming[kernel]
    np.testing.assert_array_equal(change[: SHAPE.embedding_dim], 0.0)
    assert np.all(change[SHAPE.embedding_dim :] != 0.0)
    for name in released:
        assert np.any(upload[name] != fedavg.incoming[name]), name


def test_the_home_model_starts_from_what_was_received(fedavg, first):
    _, state, _ = first
    for name, value in fedavg.incoming.items():
        np.testing.assert_array_equal(state[name], value)
    trained = fedavg.train(home_steps=54)[1]
    assert np.any(trained[USER] != 0.0)
    assert np.any(trained[ITEM] != fedavg.incoming[ITEM])
    for name, value in fedavg.incoming.items():
        if name in fedavg.model.trained:
            np.testing.assert_array_equal(trained[client_lib.FIRST + name], value)


def test_without_noise_or_clipping_the_released_model_is_trained_as_any_other(dataset):
    """With every row in every batch: three steps of Adam on the mean loss, by another path."""
    client = Client("fedavg", dataset, dp_clip=1e6)
    rows = pipeline.decode_blocks(
        tf.stack(list(tf.data.TFRecordDataset(dataset.shards("nl", "train")))), dataset.schema
    )
    count = float(rows["labels"].shape[0])
    whole = {"rate": tf.constant(1.0, tf.float64), "deviation": tf.constant(0.0)}
    upload, _, _ = client.train(own={**whole, "batch": tf.constant(count)}, steps=3)

    model, names = client.model, client.strategy.released(client.layout)
    model.load(
        {
            name: tf.constant(v)
            for name, v in {**client.private, **client.incoming}.items()
            if name in model.variables
        }
    )
    model.load(client_lib.agreed_scales(client.layout))
    trained = [model.variables[name] for name in names]
    optimizer = tf.keras.optimizers.legacy.Adam(0.05)
    for _ in range(3):
        with tf.GradientTape() as tape:
            losses = clipping.row_losses(model.network.plain(rows), rows["labels"])
            loss = tf.reduce_sum(losses) / count
        optimizer.apply_gradients(zip(tape.gradient(loss, trained), trained))
    for name, variable in zip(names, trained):
        # Adam divides by the gradient: where that is nearly 0, rounding decides.
        if name in upload:
            np.testing.assert_allclose(upload[name], variable.numpy(), atol=2e-4, err_msg=name)
            assert np.abs(upload[name] - client.incoming[name]).max() > 0.02


def test_at_first_only_what_was_not_received_is_trained(fedavg):
    """And by the rate that is asked for: Adam's first step is as large as that."""
    model = fedavg.model
    work = {
        "shards": tf.constant(fedavg.dataset.shards("nl", "train")),
        "seed": tf.constant(1, tf.int64),
        home_lib.EPOCH_STEPS: tf.constant(6, tf.int64),
        home_lib.SERVES: tf.ones([len(fedavg.dataset.schema.tasks)]),
    }
    begin, end = tf.constant(0, tf.int64), tf.constant(1, tf.int64)

    @tf.function
    def step(only_new):
        home_lib._begin(model, start)
        home_lib._steps(
            model,
            work_lib.TrainingSettings(50),
            work,
            begin,
            end,
            home_lib._Lesson(
                tf.constant(0.003),
                frozenset([USER]),
                only_new,
                (start, start),
                tf.constant([0.5, 0.5]),
                tf.constant(False),
                noised=True,
            ),
        )

    start = {
        name: tf.constant({**fedavg.private, **fedavg.incoming}[name]) for name in model.trained
    }
    for only_new in (True, False):
        step(tf.constant(only_new))
        moved = {
            name: np.abs(model.variables[name].numpy() - start[name].numpy()).max()
            for name in model.trained
        }
        assert moved[USER] == pytest.approx(0.003, rel=1e-2)
        for name, change in moved.items():
            if name != USER:
                assert change == (0.0 if only_new else pytest.approx(0.003, rel=1e-2)), name


def test_the_third_model_comes_to_answer_as_the_other_two_in_the_mean(fedavg):
    model, random = fedavg.model, np.random.default_rng(3)
    teachers = tuple(
        {
            name: tf.constant(random.normal(0, 0.5, model.variables[name].shape), tf.float32)
            for name in model.trained
        }
        for _ in range(2)
    )
    work = {
        "shards": tf.constant(fedavg.dataset.shards("nl", "train")),
        "seed": tf.constant(1, tf.int64),
        home_lib.EPOCH_STEPS: tf.constant(6, tf.int64),
        home_lib.SERVES: tf.ones([len(fedavg.dataset.schema.tasks)]),
    }
    lesson = home_lib._Lesson(
        tf.constant(0.01),
        frozenset(),
        tf.constant(False),
        teachers,
        tf.constant([0.5, 0.5]),
        tf.constant(True),
        noised=True,
    )

    @tf.function
    def learn(end):
        home_lib._begin(model, teachers[0])
        begin, settings = tf.zeros([], tf.int64), work_lib.TrainingSettings(50)
        home_lib._steps(model, settings, work, begin, end, lesson)

    rows = pipeline.decode_blocks(
        tf.stack(list(tf.data.TFRecordDataset(fedavg.dataset.shards("nl", "valid")))),
        fedavg.dataset.schema,
    )

    def answers():
        return np.stack([value.numpy() for value in model.network(rows).values()])

    wanted = []
    for teacher in teachers:
        model.load(teacher)
        wanted.append(answers())
    distances = []
    for steps in (0, 60):
        learn(tf.constant(steps, tf.int64))
        distances.append(np.abs(answers() - np.mean(wanted, axis=0)).mean())
    assert distances[1] < 0.5 * distances[0]


def scored(client, state, scenario="nl"):
    client.model.load({n: v for n, v in state.items() if n in client.model.variables})
    evaluator = evaluation.Evaluator(client.model.network, client.dataset.schema)
    values = evaluator(tf.constant(client.dataset.shards(scenario, "valid")))
    return selection.score(values.numpy()[np.newaxis])


def test_the_home_model_is_the_best_on_the_clients_valid_rows(fedavg, first):
    epoch = fedavg.made.mechanism.budgets[0].home_epoch_steps
    received, short, long = (
        scored(fedavg, fedavg.train(home_steps=epochs * epoch)[1]) for epochs in (0, 3, 9)
    )
    assert received < short
    assert received < long


def test_what_was_received_is_served_where_nothing_can_be_measured(fedavg, first):
    nobody = {"valid_shards": tf.constant([], tf.string)}
    _, state, _ = fedavg.train(home_steps=54, own=nobody)
    for name in fedavg.model.trained:
        np.testing.assert_array_equal(state[name], first[1][name])


def test_the_taught_model_is_served_unless_it_is_well_behind(dataset, monkeypatch):
    """Taught the opposite of all labels, it is behind."""

    def answers(model, teachers, shares, batch, seed, serves):
        taught = teaching.with_labels(batch)
        return {**taught, ranker.TARGETS: 1.0 - taught[ranker.TARGETS]}

    monkeypatch.setattr(teaching, "with_answers", answers)
    margin, scores = tf.Variable(1e-6, dtype=tf.float64), []
    monkeypatch.setattr(home_lib, "_AHEAD", margin)
    client = Client("fedavg", dataset)
    for value in (1e-6, 1.0):
        margin.assign(value)
        scores.append(scored(client, client.train(home_steps=54)[1]))
    assert scores[1] < scores[0] - 1e-6


def test_what_noise_has_made_useless_is_left_for_training_alone(fedavg):
    """Then nothing of what was received is in the home model, whatever it was."""

    one, other = (fedavg.train(incoming=useless(fedavg, b), home_steps=54)[1] for b in (1, 2))
    for name in fedavg.model.trained:
        np.testing.assert_array_equal(one[name], other[name])


def test_training_alone_is_served_only_where_it_is_well_ahead(dataset, monkeypatch):
    monkeypatch.setattr(home_lib, "_AHEAD", 1.0)
    client = Client("fedavg", dataset)
    served = client.train(incoming=useless(client, 1), home_steps=54)[1]
    kernel = "expert/0/shared/expert_0/dense_0/kernel"
    np.testing.assert_array_equal(served[kernel], 0.0)


def useless(client, bias):
    """Values that let nothing through, and no gradient back, but a bias."""
    incoming = {name: np.zeros_like(value) for name, value in client.incoming.items()}
    for name in incoming:
        if name.endswith("logit/bias"):
            incoming[name] += np.float32(bias)
    return incoming


def test_a_score_is_that_by_which_rounds_are_chosen():
    random = np.random.default_rng(0)
    for _ in range(20):
        values = random.uniform(0, 1, [3, len(metrics.METRICS)])
        rows = random.integers(1, 500, 3)
        values[:, metrics.METRICS.index("rows")] = rows
        values[:, metrics.METRICS.index("positives")] = random.integers(1, rows + 1)
        values[0, metrics.METRICS.index("positives")] = 0
        values[0, metrics.METRICS.index("auc")] = np.nan
        known = selection.score(values[np.newaxis])
        assert float(home_lib.score(tf.constant(values))) == pytest.approx(
            0.0 if np.isnan(known) else known, abs=1e-12
        )


def test_nothing_is_said_but_what_was_asked(fedavg, first):
    _, _, done = first
    assert done["loss"] == 0.0
    assert done["examples"] == 2 * 50
    few = fedavg.train(scenario="fr")[2]
    assert few["examples"] == 2 * 50


def test_noise_is_as_large_as_the_budget_says(fedavg):
    own = fedavg.strategy.own_work(tf.constant(1), tf.constant(SECRET))
    budget = fedavg.made.mechanism.budgets[1]
    assert float(own["deviation"]) == pytest.approx(budget.noise * fedavg.made.plan.dp_clip)
    assert float(own["rate"]) == budget.rate
    assert float(own["batch"]) == budget.batch


@pytest.mark.parametrize("batch", [50, 4096])
def test_weights_decay_by_the_clients_own_epoch_not_by_one_that_is_asked_for(dataset, batch):
    """Keys do not follow from it: the same noise would be drawn for two amounts of decay."""
    plan = plan_lib.Plan("fedavg", batch_size=batch, dp_epsilon=4.0, model=SHAPE)
    made = federation.Federation(plan, dataset)
    for number, steps in enumerate(made.turns.epoch_steps):
        own = made.algorithm.client.own_work(tf.constant(number), tf.constant(SECRET))
        assert int(own["epoch_steps"]) == steps
