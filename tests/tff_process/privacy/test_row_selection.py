"""Rows of large tables that a step met often are told with noise, and only these move."""

import numpy as np
import pytest
import tensorflow as tf

from pfrec.data import schema as schema_lib
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import mmoe
from tff_process.client import work as work_lib
from tff_process.privacy import accounting, clipping, draws, row_selection, sampled_gaussian

SIZE, CLIP = 4_000, 0.5
SCHEMA = schema_lib.Schema(
    categorical=(
        schema_lib.Categorical("item", SIZE - 1, "shared"),
        schema_lib.Categorical("kind", 6, "shared", values=3, separator="|"),
    ),
    numerical=(),
    tasks=(schema_lib.Task("ctr", "click"),),
)
SHAPE = ModelConfig(
    embedding_dim=2, experts=1, expert_units=(4,), tower_units=(2,), batch_norm=False
)
ITEM, KIND = (f"embedding/{name}/embedding_{name}/table" for name in ("item", "kind"))
SEED = tf.constant([8, 9], tf.int64)


@pytest.fixture(scope="module")
def model():
    made = work_lib.ClientModel(lambda: mmoe.build(SCHEMA, SHAPE, seed=2), SCHEMA, 0.0)
    # So small a network may have no unit that answers to anything, as with seed 1; of one expert a
    # gate has nothing to learn.
    alive = sums(made, rows([5] * 300), 0.0, 0)
    assert {name for name, value in alive.items() if not value.any()} == {
        name for name in made.trained if name.startswith("gate/")
    }
    _STEPS.clear()
    return made


def rows(items, seed=0):
    random, count = np.random.default_rng(seed), len(items)
    kinds = -np.sort(-random.integers(-1, 6, [count, 3]), axis=1)
    ids = np.concatenate([np.array(items)[:, None], kinds], axis=1)
    return {
        "categorical": tf.constant(ids, tf.int32),
        "numerical": tf.zeros([count, 0]),
        "labels": tf.constant(random.integers(0, 2, [count, 1]), tf.uint8),
    }


_STEPS = {}


def sums(model, of, noise, least_rows, seed=SEED):
    # In a graph, as in a client's round, and traced once for all seeds.
    if (noise, least_rows) not in _STEPS:
        answering = sampled_gaussian.SampledGaussian(
            tf.constant(1.0, tf.float64), tf.constant(noise * CLIP), CLIP, sparse_rows=least_rows
        )
        _STEPS[noise, least_rows] = tf.function(
            lambda of, seed: answering.sums(model, model.trained, of, seed), reduce_retracing=True
        )
    return {n: v.numpy() for n, v in _STEPS[noise, least_rows](of, seed).items()}


def test_both_answers_together_tell_as_much_as_one():
    """By the closed form of Gaussians, and by the accountant of the run."""
    values, selection = row_selection.deviations(1.3)
    assert values**-2 + selection**-2 == pytest.approx(1.3**-2)
    one = accounting.epsilon(1.0, 1.3, 1, 1e-5)
    dp = pytest.importorskip("dp_accounting")
    accountant = dp.pld.PLDAccountant(dp.NeighboringRelation.ADD_OR_REMOVE_ONE, 1e-3)
    for noise in (values, selection):
        accountant.compose(dp.GaussianDpEvent(noise))
    assert accountant.get_epsilon(1e-5) == pytest.approx(one, abs=0.01)


def test_how_often_rows_were_met_by_hand_and_what_one_row_adds(model):
    of = rows([3, 3, 7])
    met = clipping.clipped_sums(model.network, of, CLIP).met
    items = met[model.variables[ITEM].ref()].numpy()
    assert (items[3], items[7], items.sum()) == (2.0, 1.0, 3.0)
    fewer = {name: value[1:] for name, value in of.items()}
    less = clipping.clipped_sums(model.network, fewer, CLIP).met
    for table, value in met.items():
        moved = (value - less[table]).numpy()
        assert np.all(moved >= 0.0)
        assert np.linalg.norm(moved) <= 1.0 + 1e-6
    weighed = clipping.clipped_sums(model.network, of, CLIP, (), tf.constant([0.5, 0.25, 1.0])).met
    assert weighed[model.variables[ITEM].ref()][3] == 0.75


def test_rows_that_were_met_often_move_and_the_others_do_not(model):
    of = rows([5] * 300 + [9])
    found, exact = sums(model, of, 1.0, SIZE), sums(model, of, 1e-4, 0)
    moved = np.flatnonzero(found[ITEM].any(axis=1))
    assert 5 in moved
    # Of 3,999 others one in 4,300 passes by chance.
    assert len(moved) <= 5
    noise, (factor, _) = found[ITEM][5] - exact[ITEM][5], row_selection.deviations(1.0)
    assert np.all(np.abs(noise) < 5 * factor * CLIP)
    # Tables that are not large have noise everywhere, whether or not a row was met.
    assert np.all(found[KIND] != 0.0)


def test_what_nobody_met_passes_as_rarely_as_said(model):
    of = {name: value[:0] for name, value in rows([1]).items()}
    passed = [
        np.count_nonzero(
            sums(model, of, 0.8, SIZE, tf.constant([1, i], tf.int64))[ITEM].any(axis=1)
        )
        for i in range(12)
    ]
    # Poisson of 12 x 4,000 x 2.33e-4 = 11.
    assert 2 <= sum(passed) <= 25


def test_noise_of_values_pays_for_the_selection(model):
    of, drawn = rows([5] * 400), []
    exact = sums(model, of, 1e-4, 0)
    for i in range(30):
        found = sums(model, of, 1.0, SIZE, tf.constant([2, i], tf.int64))
        drawn.append(np.concatenate([np.ravel(found[n] - exact[n]) for n in (KIND,)]))
    expected = row_selection.deviations(1.0)[0] * CLIP
    assert np.std(drawn) == pytest.approx(expected, rel=0.12)


def test_no_two_draws_of_a_step_have_one_key(model, monkeypatch):
    """What two variables, a selection or the sample have in common could be subtracted."""
    seeds, noise, sample = [], draws.noise, draws.poisson_sample

    def told(draw):
        def drawn(seed, *others):
            seeds.append(tuple(seed.numpy()))
            return draw(seed, *others)

        return drawn

    monkeypatch.setattr(draws, "noise", told(noise))
    monkeypatch.setattr(draws, "poisson_sample", told(sample))
    answering = sampled_gaussian.SampledGaussian(
        tf.constant(1.0, tf.float64), tf.constant(CLIP), CLIP, sparse_rows=6
    )
    answering.sums(model, model.trained, rows([3, 3, 7]), SEED)
    # A sample, two tables that are selected from, and every variable.
    assert len(set(seeds)) == len(seeds) == 1 + 2 + len(model.trained)
    # The keys of both tables' selection are of each half another.
    assert all(len({seed[half] for seed in seeds}) == len(seeds) for half in (0, 1))


def test_a_selections_noise_is_that_of_its_sensitivity(model, monkeypatch):
    """One row adds at most 1 to each of two tables, the root of two to both; what was asked for is
    the noise over the clip, five times of which a little more.
    """
    deviations, noise = [], draws.noise

    def told(seed, shape, deviation):
        deviations.append(float(deviation))
        return noise(seed, shape, deviation)

    monkeypatch.setattr(draws, "noise", told)
    for least, tables in ((SIZE, 1), (6, 2), (0, 0), (SIZE + 1, 0)):
        deviations.clear()
        answering = sampled_gaussian.SampledGaussian(
            tf.constant(1.0, tf.float64), tf.constant(3.0 * CLIP), CLIP, sparse_rows=least
        )
        answering.sums(model, model.trained, rows([3, 3, 7]), SEED)
        values, selection = row_selection.deviations(3.0)
        expected = [selection * np.sqrt(tables)] * tables
        expected += [CLIP * (values if tables else 3.0)] * len(model.trained)
        np.testing.assert_allclose(deviations, expected, rtol=1e-6)


def test_sums_and_their_noise_are_divided_alike(model):
    found = []
    for divisor in (1.0, 8.0):
        answering = sampled_gaussian.SampledGaussian(
            tf.constant(1.0, tf.float64),
            tf.constant(CLIP),
            CLIP,
            sparse_rows=SIZE,
            divisor=tf.constant(divisor),
        )
        found.append(answering.sums(model, model.trained, rows([5] * 300), SEED))
    for name, value in found[0].items():
        np.testing.assert_allclose(found[1][name], value / 8.0, rtol=1e-4, atol=1e-6)
