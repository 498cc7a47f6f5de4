"""Exported versions are measured on converted rows, whatever words and statistics those have."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from export.publishing import models_config
from export.scoring import evaluate, models
from pfrec import errors, metrics
from pfrec.data.dataset import row_block, writer
from tests.export import tiny


@pytest.fixture
def serving(copy, tmp_path):
    copy()  # the tiny model of seed 0 as version 1 of NL
    models_config.write(tmp_path, str(tmp_path))
    return tmp_path


def write(path, scenario, schema=tiny.SCHEMA, encoded=lambda ids: ids):
    """A dataset of one scenario; its test rows."""
    rng = np.random.default_rng(7)
    with writer.DatasetWriter(path, schema, source_format="test", split_seed=0) as target:
        for split in ("train", "valid", "test"):
            base = tiny.rows(300)
            click = rng.random(300) < 0.4
            buy = np.where(click, rng.random(300) < 0.5, row_block.UNOBSERVED)
            labels = np.stack([click, buy], axis=1).astype(np.uint8)
            rows = row_block.Rows(base.categorical, base.numerical, labels)
            ids = encoded(base.categorical)
            target.add(scenario, split, row_block.Rows(ids, base.numerical, labels))
    return rows


def test_it_is_the_metrics_of_the_trained_model(serving, tmp_path):
    rows = write(tmp_path / "data", "NL")
    found = evaluate.evaluate(models.ServedModels(serving), tmp_path / "data")
    features = {
        "categorical": tf.constant(rows.categorical),
        "numerical": tf.constant(rows.numerical),
    }
    said = tiny.model().network(features, training=False)
    logits = tf.stack([said[task.name] for task in tiny.SCHEMA.tasks], axis=1)
    expected = metrics.evaluate(tf.constant(rows.labels), logits).numpy()
    assert list(found) == ["NL"]
    for task, row in zip(tiny.SCHEMA.tasks, expected.tolist()):
        for name, value in zip(metrics.METRICS, row):
            cell = found["NL"][task.name][name]
            if np.isnan(value):
                assert cell is None, name
            else:
                assert cell == pytest.approx(value, abs=1e-5), name


def test_words_may_stand_elsewhere(serving, tmp_path):
    """The same raw rows by a vocabulary in another order come to the same."""
    place = [feature.name for feature in tiny.SCHEMA.categorical].index("device")
    device = tiny.SCHEMA.categorical[place]
    other = dataclasses.replace(device, vocabulary=device.vocabulary[::-1])
    features = (*tiny.SCHEMA.categorical[:place], other, *tiny.SCHEMA.categorical[place + 1 :])

    def encoded(ids):
        made = ids.copy()
        known = made[:, place] < 3
        made[known, place] = 2 - made[known, place]
        return made

    write(tmp_path / "one", "NL")
    write(tmp_path / "other", "NL", dataclasses.replace(tiny.SCHEMA, categorical=features), encoded)
    served = models.ServedModels(serving)
    one, again = (evaluate.evaluate(served, tmp_path / name) for name in ("one", "other"))
    assert one == again


def test_data_that_do_not_fit_are_named(serving, tmp_path):
    write(tmp_path / "other", "DE")
    with pytest.raises(errors.PfrecError, match="knows none of the scenarios"):
        evaluate.evaluate(models.ServedModels(serving), tmp_path / "other")


def test_data_without_labels_of_any_served_task_are_named(serving, tmp_path):
    renamed = tuple(
        dataclasses.replace(task, name=f"other_{task.name}", given=task.given and "other_click")
        for task in tiny.SCHEMA.tasks
    )
    write(tmp_path / "data", "NL", dataclasses.replace(tiny.SCHEMA, tasks=renamed))
    with pytest.raises(errors.PfrecError, match=r"none of the tasks .* serves \(click, buy\)"):
        evaluate.evaluate(models.ServedModels(serving), tmp_path / "data")
