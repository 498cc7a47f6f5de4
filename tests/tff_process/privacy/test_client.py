"""A client's answer: repeated by a replay alone, and none of the home model's business."""

import numpy as np
import pytest
import tensorflow as tf

from pfrec.data.dataset import pipeline
from tests.tff_process.privacy.one_client import ITEM, SECRET, SHAPE, USER, Client
from tff_process import plan as plan_lib
from tff_process.privacy import client as client_lib
from tff_process.privacy import clipping
from tff_process.process import federation
from tff_process.training import privacy_manifest as manifest_lib


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


def test_received_values_are_limited_before_anything_follows_from_them(fedavg):
    """Roundings of sums grow with them, and noise does not."""
    name = "expert/0/shared/expert_0/dense_0/kernel"

    def of(value):
        planted = np.full_like(fedavg.incoming[name], value)
        return fedavg.train(incoming={**fedavg.incoming, name: planted})[0]

    most = client_lib.LARGEST_RECEIVED
    assert bytes_of(of(2.0**40)) == bytes_of(of(most))
    assert bytes_of(of(most / 2)) != bytes_of(of(most))


@pytest.mark.parametrize("scenario", ["nl", "es"])
def test_statistics_of_normalisation_leave_as_constants(fedavg, scenario):
    """With an algorithm that averages them: 0 and 1, whatever the rows, what was received and what
    the home model normalises by.
    """
    sent = {s.name for s in fedavg.layout.uploaded if not s.trainable}
    assert sent == {f"batch_norm/numeric/normalise/moving_{of}" for of in ("mean", "variance")}
    planted = {name: np.full_like(fedavg.incoming[name], 7.0) for name in sent}
    upload, _, _ = fedavg.train(
        scenario=scenario,
        incoming={**fedavg.incoming, **planted},
        private={**fedavg.private, **{n: v for n, v in planted.items() if n in fedavg.private}},
    )
    told = {item["what"]: item.get("exactness") for item in manifest_lib.of(fedavg.made)["uploads"]}
    for name in sent:
        constant = float(name.endswith("variance"))
        np.testing.assert_array_equal(upload[name], np.full_like(planted[name], constant))
        assert told[name] == f"a constant, {constant:.0f}, whatever the rows"


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
    # Nor does anything that is answered later, had a driver asked for it before its time.
    later, later_state, _ = client.train(private=state, first_step=2)
    other_later, other_later_state, _ = client.train(private=other_state, first_step=2)
    assert bytes_of(other_later) == bytes_of(later)
    for name in kept:
        np.testing.assert_array_equal(other_later_state[name], later_state[name])


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
