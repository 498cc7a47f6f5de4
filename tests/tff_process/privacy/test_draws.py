"""Samples are Poisson's, noise is Gaussian, and keys follow from everything."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tff_process.privacy import draws, mechanism

SECRET = tf.constant([12345, -987], tf.int64)


def parts(**changed):
    base = {
        "context": tf.constant("plan"),
        "step": tf.constant(3, tf.int64),
        "values": tf.constant([[1.0, 2.0], [3.0, 4.0]]),
    }
    return list({**base, **changed}.values())


def test_a_key_is_repeated_by_a_replay_alone():
    first = draws.key(SECRET, parts()).numpy()
    np.testing.assert_array_equal(first, draws.key(SECRET, parts()).numpy())
    others = [
        draws.key(SECRET + tf.constant([0, 1], tf.int64), parts()),
        draws.key(SECRET, parts(context=tf.constant("plan2"))),
        draws.key(SECRET, parts(step=tf.constant(4, tf.int64))),
        draws.key(
            SECRET,
            parts(
                values=tf.constant([[1.0, 2.0], [3.0, np.nextafter(4.0, 5.0, dtype=np.float32)]])
            ),
        ),
        draws.key(SECRET, []),
    ]
    keys = {tuple(other.numpy()) for other in others} | {tuple(first)}
    assert len(keys) == 6
    # Both halves follow from all of it.
    assert len({pair[0] for pair in keys}) == len({pair[1] for pair in keys}) == 6


def test_nobody_without_the_secret_finds_parts_that_are_told_alike(monkeypatch):
    """Parts are hashed behind the secret, each and in pieces."""
    other = SECRET + tf.constant([1, 0], tf.int64)
    monkeypatch.setattr(draws, "_PIECE", 4)
    for part in (tf.constant("plan"), tf.constant(3.0), tf.zeros([9])):
        told = [
            np.ravel(draws._told(tf.io.serialize_tensor(secret), part))
            for secret in (SECRET, other)
        ]
        assert not np.any(told[0] == told[1])


def test_keys_follow_from_all_of_the_secret_and_of_the_key_before():
    """Also where nothing else is told."""
    secrets = [SECRET, *(SECRET + tf.constant(one, tf.int64) for one in ([1, 0], [0, 1]))]
    for of in (
        [draws.key(secret, []) for secret in secrets],
        [draws.folded(secret, 3) for secret in secrets],
        [draws.folded(SECRET, number) for number in range(3)],
    ):
        for half in (0, 1):
            assert len({int(key[half]) for key in of}) == 3


def test_old_and_new_draws_have_keys_of_their_own(monkeypatch):
    """Else two answers of the same noise, to what only another version computes otherwise."""
    now = draws.key(SECRET, parts()).numpy()
    monkeypatch.setattr(mechanism, "DRAWS", mechanism.DRAWS + 1)
    assert not np.any(draws.key(SECRET, parts()).numpy() == now)


def test_every_piece_of_a_large_tensor_is_told(monkeypatch):
    monkeypatch.setattr(draws, "_PIECE", 4)
    values = np.arange(9, dtype=np.float32).reshape(3, 3)
    keys = {tuple(draws.key(SECRET, [tf.constant(values)]).numpy()) for _ in range(2)}
    assert len(keys) == 1
    for place in range(9):
        other = values.copy()
        other.flat[place] += 1
        keys.add(tuple(draws.key(SECRET, [tf.constant(other)]).numpy()))
    # The same pieces in another order are other values.
    other = np.concatenate([values.flat[4:8], values.flat[:4], values.flat[8:]]).reshape(3, 3)
    keys.add(tuple(draws.key(SECRET, [tf.constant(other)]).numpy()))
    assert len(keys) == 11


def test_a_sample_holds_each_row_by_itself_with_the_rate():
    rows, rate, count = 400, 0.05, 3000
    key = draws.key(SECRET, [])

    @tf.function
    def sample(number):
        chosen = draws.poisson_sample(
            draws.folded(key, number), tf.constant(rows), tf.constant(rate, tf.float64)
        )
        return tf.scatter_nd(chosen[:, tf.newaxis], tf.ones_like(chosen), [rows])

    held = np.stack([sample(tf.constant(i, tf.int64)).numpy() for i in range(count)])
    sizes = held.sum(axis=1)
    # Sizes are binomial: no fixed batch, and no shuffled epoch.
    assert sizes.mean() == pytest.approx(rows * rate, abs=4 * np.sqrt(rows * rate / count))
    assert sizes.var() == pytest.approx(rows * rate * (1 - rate), rel=0.15)
    edges = [0, 13, 16, 18, 20, 22, 25, 28, rows]
    observed = np.histogram(sizes, bins=edges)[0]
    expected = np.diff(stats.binom.cdf(np.array(edges) - 1, rows, rate))
    expected[-1] += stats.binom.pmf(rows, rows, rate)
    assert stats.chisquare(observed, expected / expected.sum() * count).pvalue > 1e-3
    # Rows are alike, and neither neighbours nor steps depend on each other.
    each = held.mean(axis=0)
    assert stats.chisquare(each * count, np.full(rows, each.mean() * count)).pvalue > 1e-3
    for pairs in (held[:, 1:] * held[:, :-1], held[1:] * held[:-1]):
        assert pairs.mean() == pytest.approx(rate**2, abs=5 * rate / np.sqrt(pairs.size))


def test_samples_of_rates_zero_and_one():
    key = draws.key(SECRET, [])
    assert draws.poisson_sample(key, tf.constant(50), tf.constant(0.0, tf.float64)).shape == [0]
    whole = draws.poisson_sample(key, tf.constant(50), tf.constant(1.0, tf.float64))
    np.testing.assert_array_equal(whole, np.arange(50))


def test_noise_of_many_blocks_is_one_stream_of_gaussians(monkeypatch):
    key, deviation = draws.key(SECRET, []), tf.constant(1.0)
    shape = [draws._PAIRS // 4, 9]  # Two blocks, the second in part.
    whole = draws.noise(key, shape, deviation).numpy().ravel()
    assert stats.kstest(whole[::3], "norm").pvalue > 1e-3
    halves = whole[: draws._PAIRS], whole[draws._PAIRS : 2 * draws._PAIRS]
    first, second = whole[: draws._PAIRS // 4], whole[2 * draws._PAIRS :][: draws._PAIRS // 4]
    for one, other in (halves, (first, second), (whole[1:], whole[:-1])):
        # Neither they nor their sizes go together, as those of one radius would.
        for power in (1, 2):
            assert abs(np.corrcoef(one**power, other**power)[0, 1]) < 5 / np.sqrt(one.size)
    # Nothing is drawn twice, but for what 24 bits leave to chance.
    assert len(np.unique(whole)) > 0.98 * whole.size
    dynamic = tf.function(lambda n: draws.noise(key, [n, 9], deviation))(tf.constant(7))
    np.testing.assert_array_equal(dynamic.numpy().shape, (7, 9))
    for count in (1, 2, 5):
        assert draws.noise(key, [count], deviation).shape == [count]


def test_noise_is_gaussian_of_its_deviation_and_of_each_number_another():
    key = draws.key(SECRET, [])
    drawn = [draws.noise(draws.folded(key, n), [40_000], tf.constant(2.5)).numpy() for n in (1, 2)]
    for one in drawn:
        assert stats.kstest(one / 2.5, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(*drawn)[0, 1]) < 5 / 200


def test_uniform_numbers_are_told_the_finer_the_nearer_they_are_to_zero():
    bits = tf.constant([0, 0, 1, 511, 512, 2**31, 2**32 - 1], tf.uint32)
    further = tf.constant([0, 2**31, 2**31, 2**32 - 1, 5, 5, 5], tf.uint32)
    drawn = draws._above_zero(bits, lambda: further).numpy() * 2.0**32
    np.testing.assert_array_equal(drawn, [2.0**-33, 0.5, 1.5, 512.0, 512.5, 2.0**31, 2.0**32])
    # Where none is near zero nothing is drawn again.
    none = draws._above_zero(bits[4:], lambda: pytest.fail("drawn"))
    np.testing.assert_array_equal(none.numpy() * 2.0**32, drawn[4:])


def test_noise_goes_on_where_accounting_counts_on_it(monkeypatch):
    """As far as the normal distribution has a part in 10^15, so not only to the 5.65 deviations of
    uniform numbers of 23 bits; beyond 5.65 as often as it has.
    """
    drawn = draws._bits

    def near_zero(key, counter, rows, columns):
        """Of pairs whose uniform number is below 2^-23 alone."""
        bits = drawn(key, counter, rows, columns)
        return bits if rows == 1 else tf.stack([tf.bitwise.bitwise_and(bits[0], 511), bits[1]])

    # As it is before it is a graph, which has drawn its bits.
    monkeypatch.setattr(draws, "_pairs", draws._pairs.python_function)
    monkeypatch.setattr(draws, "_bits", near_zero)
    count = 200_000
    far = draws.noise(draws.key(SECRET, []), [2 * count], tf.constant(1.0)).numpy()
    for limit in (5.65, 6.0, 6.5):
        wanted = 2 * stats.norm.sf(limit) * 2.0**23
        assert np.mean(np.abs(far) > limit) == pytest.approx(wanted, rel=0.1)
    assert np.abs(far).max() > 7.0
    bits = tf.zeros([2, 1], tf.uint32)
    monkeypatch.setattr(draws, "_bits", lambda key, counter, rows, columns: bits[:rows])
    furthest = draws.noise(draws.key(SECRET, []), [1], tf.constant(1.0)).numpy()
    assert furthest == pytest.approx(np.sqrt(2 * 65 * np.log(2)))
