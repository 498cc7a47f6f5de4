"""What is chosen by on `valid`: values by hand, the plain mean as a limit,
and that noise weighs little.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfrec import metrics
from tff_process.training import selection


def _values(cells):
    """float64 [scenarios, tasks, metrics] of (auc, rows, positives) each."""
    made = np.full((len(cells), len(cells[0]), len(metrics.METRICS)), np.nan)
    for s, tasks in enumerate(cells):
        for t, cell in enumerate(tasks):
            for name, value in zip(("auc", "rows", "positives"), cell):
                made[s, t, metrics.METRICS.index(name)] = value
    return made


NAN = float("nan")


def test_tasks_weigh_by_the_variance_of_their_auc():
    # Of 3 and 1 positives among 4: variances 5 / 36 both, as the rarer class is 1 in both. Of 2
    # among 4: 5 / 48.
    even = _values([[(0.8, 4, 3), (0.6, 4, 1)]])
    assert selection.score(even) == pytest.approx(0.7)
    first, second = 1 / (5 / 48 + 1e-4), 1 / (5 / 36 + 1e-4)
    uneven = _values([[(0.8, 4, 2), (0.6, 4, 1)]])
    assert selection.score(uneven) == pytest.approx((0.8 * first + 0.6 * second) / (first + second))


def test_a_scenario_with_few_rows_weighs_as_much_as_they_tell():
    # Variances 10,001 / (12 * 5,000^2) and 11 / (12 * 25).
    many, few = 1 / (10_001 / 3e8 + 1e-4), 1 / (11 / 300 + 1e-4)
    found = selection.score(_values([[(0.9, 10_000, 5_000)], [(0.5, 10, 5)]]))
    assert found == pytest.approx((0.9 * many + 0.5 * few) / (many + few))
    assert found > 0.898


def test_with_many_rows_it_is_the_plain_mean():
    assert selection.score(_values([[(0.8, 10**9, 10**8), (0.6, 10**8, 10**6)]])) == pytest.approx(
        0.7, abs=1e-4
    )


def test_what_is_not_defined_does_not_count():
    lacking = _values(
        [
            [(0.8, 100, 50), (NAN, 100, 0)],
            [(NAN, 0, 0), (NAN, NAN, NAN)],
            [(0.6, 100, 50), (NAN, 9, 9)],
        ]
    )
    assert selection.score(lacking) == pytest.approx(0.7)
    assert np.isnan(selection.score(_values([[(NAN, 100, 0)], [(NAN, NAN, NAN)]])))


def test_the_variance_is_that_of_scores_that_know_nothing():
    """The assumed deviation, 1 / sqrt(weight) without the hundredth, beside a simulation."""
    rng = np.random.default_rng(0)
    positives, negatives = 12, 240
    made = [
        (np.argsort(np.argsort(rng.normal(size=positives + negatives)))[:positives] + 1).sum()
        for _ in range(20_000)
    ]  # rank sums
    aucs = (np.array(made) - positives * (positives + 1) / 2) / (positives * negatives)
    assert np.var(aucs) == pytest.approx(
        (positives + negatives + 1) / (12 * positives * negatives), rel=0.03
    )


_CELL = st.integers(1, 10**6).flatmap(
    lambda p: st.tuples(st.floats(0.0, 1.0), st.integers(p + 1, 2 * 10**6), st.just(p))
)


@given(
    st.lists(st.lists(_CELL, min_size=2, max_size=2), min_size=1, max_size=5),
    st.randoms(use_true_random=False),
)
def test_it_lies_between_the_aucs_and_forgets_the_order(cells, random):
    found = selection.score(_values(cells))
    aucs = [cell[0] for tasks in cells for cell in tasks]
    assert min(aucs) - 1e-9 <= found <= max(aucs) + 1e-9
    shuffled = [list(reversed(tasks)) for tasks in cells]
    random.shuffle(shuffled)
    assert selection.score(_values(shuffled)) == pytest.approx(found, abs=1e-12)


def test_predictions_that_are_nan_count_as_the_worst():
    """Where rows of both classes are there; of one class nothing counts, whatever is predicted."""
    values = _values([[(NAN, 400, 200)], [(0.8, 400, 200)], [(NAN, 400, 0)]])
    logloss = metrics.METRICS.index("logloss")
    values[:, :, logloss] = [[NAN], [0.5], [0.3]]
    assert selection.score(values) == pytest.approx(0.4)
    assert selection.predicts_nan(values).tolist() == [[True], [False], [False]]
    # Without rows there is nothing to predict.
    assert not selection.predicts_nan(_values([[(NAN, 0, 0)]])).any()


@pytest.mark.filterwarnings("error")
def test_an_auc_that_is_said_of_one_class_does_not_count():
    said = _values([[(0.7, 100, 50)], [(1.0, 10**6, 0)], [(1.0, 10**6, 10**6)]])
    assert selection.score(said) == pytest.approx(0.7)
    np.testing.assert_array_equal(np.isnan(selection.by_scenario(said)), [False, True, True])


def test_the_best_round_is_not_chosen_by_one_client_of_four():
    """One says 1 of the first round and 0 afterwards; the others become better from 0.6 to 0.8."""
    rounds = [[0.6, 0.6, 0.6, 1.0], [0.7, 0.7, 0.7, 0.0], [0.8, 0.8, 0.8, 0.0]]
    for robust, best in ((False, 1), (True, 3)):
        found = selection.Best()
        for number, aucs in enumerate(rounds, 1):
            values = _values([[(auc, 10**6, 10**5)] for auc in aucs])
            found = found.after(number, values, robust)
        assert found.round == best


def test_who_has_no_auc_has_no_say_in_a_gain():
    one, other = np.array([0.7, NAN, 0.9, 0.5]), np.array([0.6, 0.1, NAN, 0.4])
    assert selection.gain(one, other) == pytest.approx(0.1)
    assert np.isnan(selection.gain(one[1:2], other[1:2]))
    # Nor without a majority of those that had one.
    assert np.isnan(selection.gain(one[:2], np.array([0.6, 0.1])))


def test_a_client_that_stays_silent_holds_no_round_back():
    """As one that says what cannot be after the first round, whose metrics are refused."""
    for robust, best in ((False, 1), (True, 2)):
        found = selection.Best()
        for number, (auc, last) in enumerate(((0.6, 0.6), (0.7, NAN), (0.65, NAN)), 1):
            cells = [[(auc, 10**6, 10**5)]] * 3
            values = _values([*cells, [(last, NAN if np.isnan(last) else 10**6, 10**5)]])
            found = found.after(number, values, robust)
        assert found.round == best


def test_a_round_that_few_spoke_of_stands_only_for_want_of_another():
    """Where all but one were away in the first, and that one is worse later."""
    found = selection.Best()
    for number, aucs in enumerate(([0.9, NAN, NAN], [0.6, 0.7, 0.7], [0.8, NAN, NAN]), 1):
        values = _values([[(auc, NAN if np.isnan(auc) else 10**6, 10**5)] for auc in aucs])
        found = found.after(number, values, robust=True)
    assert found.round == 2


def _scores(*aucs):
    """Metrics of a task with many rows in each scenario; NaN for a scenario that was away."""
    return _values([[(auc, NAN if np.isnan(auc) else 10**6, 10**5)] for auc in aucs])


def test_of_equal_rounds_the_earlier_stays_and_the_first_stands_for_want_of_another():
    for robust in (False, True):
        first = selection.Best().after(1, _scores(0.7, 0.6), robust)
        assert first.after(2, _scores(0.7, 0.6), robust) == first
        # Nothing could be measured after the first round: it is the best all the same.
        assert selection.Best().after(1, _scores(NAN, NAN), robust).round == 1


def test_a_round_that_just_half_spoke_of_gives_way_and_that_of_a_majority_does_not():
    half = selection.Best().after(1, _scores(0.9, NAN, NAN, NAN), robust=True)
    assert half.after(2, _scores(0.5, 0.5, NAN, NAN), robust=True).round == 2
    most = selection.Best().after(1, _scores(0.9, 0.9, NAN, NAN), robust=True)
    assert most.after(2, _scores(0.5, 0.5, 0.5, NAN), robust=True).round == 1
