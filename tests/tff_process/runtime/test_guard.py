"""Updates that are refused, by numbers that can be computed by hand."""

import collections
import dataclasses
import types

import numpy as np
import pytest
import tensorflow_federated as tff

from pfrec import metrics
from tff_process import plan as plan_lib
from tff_process.runtime import guard
from tff_process.runtime import options as options_lib

OD = collections.OrderedDict
KIND = tff.to_type(
    OD(
        values=OD(w=tff.TensorType(np.float32, [2])),
        examples=tff.TensorType(np.float32),
        serves=tff.TensorType(np.float32, [1]),
        loss=tff.TensorType(np.float32),
    )
)
ZERO = {"w": np.zeros(2, np.float32)}
PLAN = plan_lib.Plan("fedavg", batch_size=256)


def report(w, examples=10.0, loss=0.5):
    return OD(
        values=OD(w=np.array(w, np.float32)),
        examples=np.float32(examples),
        serves=np.ones(1, np.float32),
        loss=np.float32(loss),
    )


def judge(reports, steps=None, **rules):
    asked = {i: guard.Asked((steps or {}).get(i, 1), 1, 10) for i in range(len(reports))}
    return guard.judge(
        guard.Rules(**rules), dict(enumerate(reports)), KIND, lambda client: ZERO, asked
    )


def test_a_sound_round_passes_with_its_norms():
    verdict = judge([report([3, 4]), report([0, 2])])
    assert verdict.norms == {0: 5.0, 1: 2.0}
    assert set(verdict.accepted) == {0, 1}
    assert not verdict.refused
    assert not verdict.clipped


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (report([np.nan, 1]), "values/w holds values that are not finite"),
        (report([1, np.inf]), "values/w holds values that are not finite"),
        (report([1, 1], loss=np.nan), "loss holds values that are not finite"),
        (report([1, 1], examples=-1), "trained on -1 rows, where it was asked for 1 to 10"),
        (report([1, 1], examples=1e30), "trained on 1e+30 rows"),
        (report([1, 1], examples=0), "trained on 0 rows"),
        (report([1, 1, 1]), "values/w is float32[3], not float32[2]"),
        (OD(report([1, 1]), loss=np.float64(0.5)), "loss is float64[], not float32[]"),
        (report([1e30, 1]), "too large"),
    ],
)
def test_an_unfit_update_is_refused_and_the_others_stay(bad, reason):
    verdict = judge([report([1, 0]), bad, report([0, 1])])
    assert set(verdict.accepted) == {0, 2}
    assert set(verdict.refused) == {1}
    assert reason in verdict.refused[1]


def test_an_update_many_times_the_median_is_refused():
    """Norms 1, 1, 30: the median is 1."""
    reports = [report([1, 0]), report([0, 1]), report([30, 0])]
    verdict = judge(reports, max_norm_ratio=20.0)
    assert set(verdict.accepted) == {0, 1}
    assert "norm 30 after 1 batch, 30 times what is usual" in verdict.refused[2]
    assert set(judge(reports, max_norm_ratio=40.0).accepted) == {0, 1, 2}
    assert set(judge(reports, max_norm_ratio=30.0).accepted) == {0, 1, 2}
    assert set(judge(reports, max_norm_ratio=0.0).accepted) == {0, 1, 2}


def test_two_of_eight_that_send_a_constant_are_refused_by_default():
    """Norms and batches of a first aggregation step on built-in data, where the honest ones grow
    with the root of their batches: in proportion to batches the first constant is 2.6 times the
    median.
    """
    norms = dict(enumerate([17.6, 86.3, 86.3, 10.7, 8.92, 6.48, 5.14, 5.07]))
    steps = dict(enumerate([20, 14, 10, 7, 5, 3, 2, 2]))
    times = guard.excess(norms, steps)
    assert {i for i, of in times.items() if of > guard.Rules().max_norm_ratio} == {1, 2}
    assert times[1] == pytest.approx(2.6, abs=0.1)


def test_a_client_of_many_batches_may_go_further():
    """Norms 1, 1, 8 after 1, 1, 16 batches: twice the median by the root, half in proportion.

    After 2 batches 8 is 5.7 and 4 times.
    """
    reports = [report([1, 0]), report([0, 1]), report([8, 0])]
    assert guard.excess({0: 1.0, 1: 1.0, 2: 8.0}, {0: 1, 1: 1, 2: 16})[2] == 0.5
    assert guard.excess({0: 1.0, 1: 1.0, 2: 8.0}, {0: 1, 1: 1, 2: 2})[2] == 4.0
    assert not judge(reports, {2: 16}).refused
    assert set(judge(reports, {2: 2}).refused) == {2}


def test_updates_of_zero_are_no_excess_and_one_among_zeros_is():
    assert guard.excess({0: 0.0, 1: 0.0, 2: 0.0}, {0: 1, 1: 1, 2: 1}) == {0: 0.0, 1: 0.0, 2: 0.0}
    assert guard.excess({0: 0.0, 1: 0.0, 2: 1.0}, {0: 1, 1: 1, 2: 1})[2] == np.inf


def metrics_of(**changes):
    """Of one task, in the order of `metrics.METRICS`, whose names these are."""
    sound = {"auc": 0.7, "gauc": 0.6, "logloss": 0.4, "ece": 0.02, "rows": 100, "positives": 30}
    return np.array([[{**sound, **changes}[name] for name in metrics.METRICS]])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"auc": 1e6}, "its auc is 1e+06"),
        ({"auc": -0.1}, "its auc is -0.1"),
        ({"gauc": np.inf}, "its gauc is inf"),
        ({"ece": 1.5}, "its ece is 1.5"),
        ({"logloss": -1.0}, "its logloss is -1"),
        ({"positives": 101.0}, "101 of its 100 rows"),
        ({"positives": -1.0}, "-1 of its 100 rows"),
        ({"rows": np.nan}, "30 of its nan rows"),
        ({"rows": np.inf}, "30 of its inf rows"),
    ],
)
def test_metrics_that_cannot_be_are_refused(changes, reason):
    shape = (2, *metrics_of().shape)
    told = np.stack([metrics_of(), metrics_of(**changes)])
    assert reason in guard.unfit_metrics(told, shape)


def test_metrics_that_are_not_defined_pass():
    shape = metrics_of().shape
    assert guard.unfit_metrics(metrics_of(), shape) is None
    undefined = metrics_of(auc=np.nan, gauc=np.nan, positives=0.0)
    assert guard.unfit_metrics(undefined, shape) is None


def test_metrics_of_another_shape_are_refused():
    reason = guard.unfit_metrics(metrics_of(), (2, *metrics_of().shape))
    assert reason == f"they are of shape [1, {len(metrics.METRICS)}], not [2, 1, 6]"


def test_counts_below_nothing_are_refused():
    kind = tff.to_type(OD(t=tff.TensorType(np.float32, [2])))
    assert guard.unfit_counts(OD(t=np.float32([8, 0])), kind) is None
    assert "less often than never" in guard.unfit_counts(OD(t=np.float32([8, -8])), kind)
    assert "not finite" in guard.unfit_counts(OD(t=np.float32([8, np.inf])), kind)


def test_clipping_scales_it_down_to_the_bound():
    """Bound 20 times 1: 30 becomes 20, in its own direction."""
    verdict = judge(
        [report([1, 0]), report([0, 1]), report([30, 0])], max_norm_ratio=20.0, clip=True
    )
    assert verdict.clipped == {2: pytest.approx(2 / 3)}
    np.testing.assert_allclose(verdict.accepted[2]["values"]["w"], [20, 0], rtol=1e-6)
    np.testing.assert_array_equal(verdict.accepted[0]["values"]["w"], [1, 0])


def test_each_client_is_judged_by_what_it_received_and_was_asked_for():
    """Values of 100 and more, of which updates are (1, 0), (0, 1) and (3, 4): their norms are 1, 1
    and 5, and to a bound of 2 the last is scaled down around what that client started from.
    """
    before = [np.float32([100 * (client + 1)] * 2) for client in range(3)]
    moved = ([1, 0], [0, 1], [3, 4])
    rows = (3, 4, 5)
    reports = {i: report(before[i] + moved[i], examples=rows[i]) for i in range(3)}
    verdict = guard.judge(
        guard.Rules(max_norm_ratio=2.0, clip=True),
        reports,
        KIND,
        lambda client: {"w": before[client]},
        {i: guard.Asked(1, rows[i], rows[i]) for i in range(3)},
    )
    assert verdict.norms == {0: 1.0, 1: 1.0, 2: 5.0}
    assert verdict.clipped == {2: pytest.approx(0.4)}
    np.testing.assert_allclose(verdict.accepted[2]["values"]["w"], [301.2, 301.6], rtol=1e-6)
    assert not verdict.refused


def test_an_update_of_a_client_that_may_go_far_is_scaled_down_and_anybody_elses_refused():
    reports = [report([1, 0]), report([0, 1]), report([30, 0]), report([0, 40]), report([1, 0])]
    verdict = judge(reports, max_norm_ratio=20.0, clipped=frozenset({2}))
    assert verdict.clipped == {2: pytest.approx(2 / 3)}
    assert set(verdict.refused) == {3}


@pytest.mark.parametrize("clip", [False, True])
def test_rules_are_what_options_say_of_clients_by_their_place(clip):
    options = options_lib.Options(
        max_update_norm=5.0, clip_updates=clip, min_clients=2, newcomers=("at", "gone")
    )
    rules = guard.Rules.of(options, of_rows({"nl": 900, "at": 800, "de": 700}), PLAN)
    assert rules == guard.Rules(5.0, clip, 2, frozenset({1}))


def of_rows(rows):
    """A dataset of so many training rows by scenario."""
    return types.SimpleNamespace(scenarios=tuple(rows), rows=lambda name, split: rows[name])


@pytest.mark.parametrize(
    ("rows", "batch", "clipped"),
    [
        # The median of the first is 2,000, and 519 and 501 are told as 510 and 500.
        ([8000, 2000, 2000, 519], 256, []),
        ([8000, 2000, 2000, 501], 256, [3]),
        ([8000, 2000, 2000, 501], 128, []),
        ([8395, 4000, 1500, 180], 128, [3]),
        ([8395, 4000, 1500, 180], 32, []),
        ([20, 5000, 100, 5000, 5000], 64, [0, 2]),
        ([400_000, 400_000, 400_000, 100_000], 256, []),
        ([1000, 1000], 256, []),
    ],
)
def test_updates_of_small_scenarios_are_scaled_down(rows, batch, clipped):
    """Those with a quarter of the median one's rows, as a silo tells them, and two batches."""
    named = {f"s{number}": count for number, count in enumerate(rows)}
    plan = dataclasses.replace(PLAN, batch_size=batch)
    found = guard.Rules.of(options_lib.Options(), of_rows(named), plan).clipped
    assert sorted(found) == clipped


def test_of_two_clients_neither_is_the_odd_one():
    assert set(judge([report([1, 0]), report([1000, 0])], max_norm_ratio=2.0).accepted) == {0, 1}
