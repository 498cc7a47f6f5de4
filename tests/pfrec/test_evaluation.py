"""Evaluation streams all rows once, and its fast form says what the plain one says."""

import numpy as np
import tensorflow as tf

from pfrec import evaluation, metrics
from pfrec.data.dataset import pipeline
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import mmoe


def test_many_batches_equal_one_and_the_fast_form_equals_the_plain_one(dataset):
    model = mmoe.build(
        dataset.schema, ModelConfig(experts=2, expert_units=(6,), tower_units=(4,)), 3
    )
    shards = tf.constant(dataset.shards("nl", "train"))
    values = {}
    for plain in (True, False):
        model.use_plain = plain
        values[plain] = evaluation.Evaluator(model, dataset.schema)(shards).numpy()
    np.testing.assert_allclose(values[False], values[True], rtol=1e-5)
    assert values[True][0, metrics.METRICS.index("rows")] == 300
    batches = list(pipeline.evaluation_batches(shards, dataset.schema, batch_size=256))
    assert [len(b["labels"]) for b in batches] == [256, 44]
    logits = tf.concat(
        [tf.stack([model.plain(b)[t.name] for t in dataset.schema.tasks], 1) for b in batches], 0
    )
    joined = {name: tf.concat([b[name] for b in batches], 0) for name in ("labels", "group")}
    np.testing.assert_allclose(
        values[False], metrics.evaluate(joined["labels"], logits, joined["group"]), rtol=1e-5
    )


def test_several_models_on_rows_read_once_are_each_what_it_is_alone(dataset, monkeypatch):
    """To the last bit, over several blocks."""
    whole = pipeline.evaluation_blocks
    monkeypatch.setattr(pipeline, "evaluation_blocks", lambda shards: whole(shards, 128))
    model = mmoe.build(
        dataset.schema, ModelConfig(experts=2, expert_units=(6,), tower_units=(4,)), 3
    )
    shards = tf.constant(dataset.shards("nl", "train"))
    rng = np.random.default_rng(0)
    first = [variable.numpy() for variable in model.weights]
    sets = [first, *([v + rng.normal(0, 0.1, v.shape) for v in first] for _ in range(2))]
    sets = [[np.float32(value) for value in values] for values in sets]
    alone, evaluator = [], evaluation.Evaluator(model, dataset.schema)
    for values in sets:
        model.set_weights(values)
        alone.append(evaluator(shards).numpy())
    stacked = [tf.constant(np.stack(values)) for values in zip(*sets)]

    def load(number):
        for variable, values in zip(model.weights, stacked):
            variable.assign(values[number])

    @tf.function
    def together():
        return evaluator.each(shards, tf.constant(len(sets)), load)

    np.testing.assert_array_equal(together(), alone)
    assert len({values.tobytes() for values in alone}) == len(sets)
