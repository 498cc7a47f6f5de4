import numpy as np
import pytest
import tensorflow as tf
from sklearn import metrics

from pfrec import errors
from pfrec.data import synthetic, synthetic_worlds
from pfrec.data.dataset import dataset, row_block


def test_sizes_names_and_rates(tmp_path):
    data = dataset.Dataset.open(synthetic.generate(tmp_path / "data", scenarios=3, rows=4000))
    assert data.scenarios == ("S1", "S2", "S3")
    assert [data.rows(s, "train") + data.rows(s, "valid") for s in data.scenarios] == [
        4000,
        1265,
        400,
    ]
    assert [data.rows(s, "test") for s in data.scenarios] == [4000] * 3
    assert data.rows("S1", "valid") / 4000 == pytest.approx(0.125, abs=0.02)
    for scenario in data.scenarios:
        assert 0.05 < data.counts[scenario]["test"].rate("ctr") < 0.17
        assert 0.006 < data.counts[scenario]["test"].rate("ctcvr") < 0.045
    record = next(iter(tf.data.TFRecordDataset(data.shards("S3", "test")))).numpy()
    rows = row_block.decode(record, data.schema)
    assert rows.numerical.min() >= 0
    assert rows.numerical.max() <= 1
    assert (rows.categorical < [feature.cardinality for feature in data.schema.categorical]).all()
    assert not (rows.labels[:, 1] > rows.labels[:, 0]).any()


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    one, again, other = (
        dataset.Dataset.open(synthetic.generate(tmp_path / name, scenarios=2, rows=600, seed=seed))
        for name, seed in (("one", 5), ("again", 5), ("other", 6))
    )
    assert one.files == again.files
    assert (
        one.files["S1/train-00000-of-00001.tfrecord"]
        != other.files["S1/train-00000-of-00001.tfrecord"]
    )


def test_weeks_have_rows_of_their_own_and_drift_by_what_is_asked(tmp_path):
    reference = synthetic_worlds.World.create(0, None).draw(np.random.default_rng(9), 20_000)

    def clicks(week, drift):
        scenario = synthetic.Scenario.create(0, 0, 0.5, 0.5, week, drift)
        return scenario._logits(reference)[0]

    first = clicks(0, 0.0)
    np.testing.assert_array_equal(clicks(0, 0.3), first)
    np.testing.assert_array_equal(clicks(3, 0.0), first)
    for week, expected in ((1, 0.8**0.5), (2, 0.8)):
        assert np.corrcoef(first, clicks(week, 0.2))[0, 1] == pytest.approx(expected, abs=0.05)
    assert np.corrcoef(clicks(2, 0.2), clicks(3, 0.2))[0, 1] == pytest.approx(0.8**0.5, abs=0.05)
    assert clicks(2, 0.2).std() == pytest.approx(first.std(), rel=0.1)
    one, other = (
        dataset.Dataset.open(
            synthetic.generate(tmp_path / str(week), scenarios=1, rows=500, week=week, drift=0.2)
        )
        for week in (0, 1)
    )
    assert one.digests != other.digests


def test_one_scenario_alone(tmp_path):
    data = dataset.Dataset.open(synthetic.generate(tmp_path / "data", scenarios=1, rows=500))
    assert data.rows("S1", "train") + data.rows("S1", "valid") == 500


@pytest.mark.parametrize("scenario", [0, 3])
def test_the_best_possible_auc_leaves_room_for_models(scenario):
    rows, probability = synthetic.Scenario.create(0, scenario, shared=0.5, conflict=0.5).draw(
        np.random.default_rng(1), 40_000
    )
    click, conversion = (
        metrics.roc_auc_score(rows.labels[:, i], probability[:, i]) for i in range(2)
    )
    assert 0.78 < click < 0.86
    assert 0.80 < conversion < 0.90
    # Probabilities are those that labels were drawn with.
    np.testing.assert_allclose(rows.labels.mean(axis=0), probability.mean(axis=0), atol=0.006)


def test_shared_and_conflict_do_what_they_say():
    def logits(scenario, shared, conflict):
        made = synthetic.Scenario.create(0, scenario, shared, conflict)
        features = synthetic.Scenario.create(0, 0, 0.5, 0.5).world.draw(
            np.random.default_rng(0), 20_000
        )
        return made._logits(features)

    def correlation(a, b):
        return np.corrcoef(a, b)[0, 1]

    assert correlation(logits(0, 1.0, 0.5)[0], logits(1, 1.0, 0.5)[0]) == pytest.approx(1)
    assert abs(correlation(logits(0, 0.0, 0.5)[0], logits(1, 0.0, 0.5)[0])) < 0.3
    # By the formula 0.5, 0 and -0.5; features shift between scenarios and functions share features,
    # hence the tolerance.
    for conflict, expected in ((0.0, 0.5), (0.5, 0.0), (1.0, -0.5)):
        assert correlation(*logits(0, 0.5, conflict)) == pytest.approx(expected, abs=0.25)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scenarios": 0}, "--synthetic_scenarios=0"),
        ({"rows": 10}, "--synthetic_rows=10"),
        ({"seed": -1}, "--seed=-1"),
        ({"shared": 1.5}, "shared = 1.5"),
    ],
)
def test_wrong_arguments(tmp_path, arguments, message):
    with pytest.raises(errors.PfrecError, match=message):
        synthetic.generate(tmp_path / "data", **arguments)
    assert list(tmp_path.iterdir()) == []
