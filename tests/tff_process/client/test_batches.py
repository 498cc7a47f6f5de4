"""What a client does with batches, called eagerly: which it sees, what it says of them, and what a
batch's loss and gradients are made of.
"""

import types

import numpy as np
import pytest
import tensorflow as tf

from pfrec import coarsening, groups
from pfrec.data.dataset import pipeline
from pfrec.models import ranker
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import mmoe
from tff_process.algorithms import fedper
from tff_process.client import variables
from tff_process.client import work as work_lib

SMALL = ModelConfig(
    embedding_dim=2, numeric_dim=2, experts=2, expert_units=(3,), tower_units=(2,), dropout=0.5
)
SEED, BATCH = 5, 16


def gone_over(dataset, first, steps, epoch_steps, batch_size=BATCH, **more):
    """The batches of a round, and what it says of them; their losses are 1, 2, 3 and so on."""
    numbers = {"seed": SEED, "first_step": first, "steps": steps, "epoch_steps": epoch_steps}
    work = {name: tf.constant(value, tf.int64) for name, value in numbers.items()}
    work["shards"] = tf.constant(dataset.shards("nl", "train"))
    found = []

    def step(batch, state):
        found.append(batch)
        return tf.constant(float(len(found))), (state[0] + 1,)

    model = types.SimpleNamespace(schema=dataset.schema)
    settings = work_lib.TrainingSettings(batch_size)
    done = work_lib.for_each_batch(model, settings, {**work, **more}, step, (tf.constant(0),))
    assert int(done.state[0]) == len(found)
    return found, float(done.examples), float(done.loss)


@pytest.mark.parametrize(("first", "steps"), [(0, 6), (4, 5), (11, 1)])
def test_batches_are_those_of_the_pipeline_wherever_a_round_begins(
    dataset, monkeypatch, first, steps
):
    """Epochs of six steps, in windows of a block: what one leaves over, the next begins with."""
    monkeypatch.setattr(pipeline, "WINDOW_BLOCKS", 1)
    found, examples, loss = gone_over(dataset, first, steps, 6, 50)
    assert (len(found), examples, loss) == (steps, 50 * steps, (steps + 1) / 2)
    for number, batch in enumerate(found, first):
        (wanted,) = pipeline.epoch_batches(
            tf.constant(dataset.shards("nl", "train")),
            dataset.schema,
            50,
            **{"seed": SEED, "epoch": number // 6, "first_step": number % 6, "steps": 1},
        )
        for name, value in wanted.items():
            np.testing.assert_array_equal(batch[name], value)
        # Each step has masks of its own.
        np.testing.assert_array_equal(batch["dropout_seed"], [SEED, number])


def test_of_an_epoch_that_is_no_whole_batch_the_rows_are_not_said(dataset, monkeypatch):
    """But coarsened; a whole batch is what was asked for."""
    monkeypatch.setattr(coarsening, "row_counts", lambda counts: counts // 7)
    records = tf.data.TFRecordDataset(dataset.shards("nl", "train"))
    rows = pipeline.decode_blocks(tf.stack(list(records)), dataset.schema)["labels"].shape[0]
    for batch_size, said in ((rows + 1, rows // 7), (rows, rows)):
        (batch,), examples, _ = gone_over(dataset, 0, 1, 1, batch_size)
        assert batch["labels"].shape[0] == rows
        assert examples == said


def test_weights_of_tasks_and_labels_come_with_each_batch(dataset):
    weights = {name: tf.constant([2.0, 3.0]) for name in work_lib._WEIGHTS}
    (batch,), _, _ = gone_over(dataset, 0, 1, 3, **weights)
    assert set(work_lib._WEIGHTS) == {ranker.TASK_WEIGHTS, ranker.POSITIVE_WEIGHTS} <= set(batch)
    for name, value in weights.items():
        np.testing.assert_array_equal(batch[name], value)


@pytest.fixture(scope="module")
def model(dataset):
    return work_lib.ClientModel(lambda: mmoe.build(dataset.schema, SMALL, 0), dataset.schema, 0.01)


def test_the_pull_is_in_the_gradients_and_not_in_the_loss(dataset, model):
    """Of `lambda / 2 * ||w - anchor||^2` the gradient is `lambda * (w - anchor)`."""
    (batch,), _, _ = gone_over(dataset, 0, 1, 3)
    name = "expert/0/shared/expert_0/dense_0/kernel"
    anchors = {name: model.variables[name] + 2.0}
    plain, pulled = (
        work_lib.loss_and_gradients(model, work_lib.TrainingSettings(BATCH, lam), batch, anchors)
        for lam in (0.0, 0.5)
    )
    assert float(plain[0]) == float(pulled[0])
    change = pulled[1][name] - plain[1][name]
    np.testing.assert_allclose(change, np.full(change.shape, -1.0), rtol=1e-5)
    other = "tower/ctr/tower_ctr/logit/kernel"
    np.testing.assert_array_equal(pulled[1][other], plain[1][other])
    still = work_lib.loss_and_gradients(
        model, work_lib.TrainingSettings(BATCH), batch, {}, training=False
    )
    assert float(still[0]) == float(model.ranker.compute_loss(batch, training=False))
    assert float(still[0]) != float(plain[0])


def test_what_leaves_is_what_is_shared_and_the_rest_stays(dataset, model):
    layout = variables.of(groups.tag(model.network), fedper.fedper(dataset.schema).policy, ())
    shared = {spec.name for spec in layout.specs if spec.join != variables.PRIVATE}
    upload, private = model.upload(layout), model.private_state(layout)
    assert set(upload) == shared
    assert set(private) == {*model.variables, *model.slots} - shared
    assert shared
    assert set(model.variables) - shared


def test_steps_by_another_rate_and_decay(dataset):
    """Adam's steps along one gradient are as long as its rate; the second takes the decay's part of
    a kernel, of which a gradient was met by then, and none of a bias.
    """
    kernel, bias = (f"tower/ctr/tower_ctr/logit/{of}" for of in ("kernel", "bias"))
    made = work_lib.ClientModel(
        lambda: mmoe.build(dataset.schema, SMALL, 0), dataset.schema, 0.01, decay=0.0
    )
    before = {name: made.variables[name].numpy() for name in (kernel, bias)}
    gradients = {name: tf.ones_like(value) for name, value in before.items()}
    for _ in range(2):
        made.apply(gradients, learning_rate=0.5, decay=0.25)
    np.testing.assert_allclose(
        made.variables[kernel], (before[kernel] - 0.5) * (1 - 0.125) - 0.5, rtol=1e-4
    )
    np.testing.assert_allclose(made.variables[bias], before[bias] - 1.0, rtol=1e-4)


def test_decay_is_said_for_an_epoch():
    steps = tf.constant(6, tf.int64)
    assert work_lib.TrainingSettings().step_decay(steps) is None
    found = work_lib.TrainingSettings(weight_decay=0.3).step_decay(steps)
    assert float(found) == pytest.approx(0.05)
