"""Updates that are refused, by numbers that can be computed by hand."""

import collections

import numpy as np
import pytest
import tensorflow_federated as tff

from tff_process.runtime import guard, server

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


def report(w, examples=10.0, loss=0.5):
    return OD(
        values=OD(w=np.array(w, np.float32)),
        examples=np.float32(examples),
        serves=np.ones(1, np.float32),
        loss=np.float32(loss),
    )


def judge(reports, **rules):
    return guard.judge(guard.Rules(**rules), dict(enumerate(reports)), KIND, lambda client: ZERO)


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
        (report([1, 1], examples=-1), "trained on -1.0 rows"),
        (report([1, 1, 1]), "values/w is float32[3], not float32[2]"),
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
    assert "30 times the median 1" in verdict.refused[2]
    assert set(judge(reports, max_norm_ratio=40.0).accepted) == {0, 1, 2}
    assert set(judge(reports, max_norm_ratio=0.0).accepted) == {0, 1, 2}


def test_clipping_scales_it_down_to_the_bound():
    """Bound 20 times 1: 30 becomes 20, in its own direction."""
    verdict = judge(
        [report([1, 0]), report([0, 1]), report([30, 0])], max_norm_ratio=20.0, clip=True
    )
    assert verdict.clipped == {2: pytest.approx(2 / 3)}
    np.testing.assert_allclose(verdict.accepted[2]["values"]["w"], [20, 0], rtol=1e-6)
    np.testing.assert_array_equal(verdict.accepted[0]["values"]["w"], [1, 0])


def test_of_two_clients_neither_is_the_odd_one():
    assert set(judge([report([1, 0]), report([1000, 0])], max_norm_ratio=2.0).accepted) == {0, 1}


def test_reports_are_stacked_with_zeros_for_the_absent():
    stacked = server.stack({0: report([1, 2]), 2: report([3, 4], examples=5)}, KIND, 3)
    np.testing.assert_array_equal(stacked["value"]["values"]["w"], [[1, 2], [0, 0], [3, 4]])
    np.testing.assert_array_equal(stacked["value"]["examples"], [10, 0, 5])
    np.testing.assert_array_equal(stacked["present"], [True, False, True])
