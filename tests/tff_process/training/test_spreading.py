"""Which factor of the clients' differences is taken after a round, by metrics made by hand."""

import collections

import numpy as np
import pytest

from pfrec import metrics
from tff_process.algorithms import base
from tff_process.process import round_report, spread
from tff_process.training import spreading

OD = collections.OrderedDict


def _values(auc, scenarios=2):
    made = np.zeros([scenarios, 1, len(metrics.METRICS)])
    for name, value in (("auc", auc), ("rows", 4), ("positives", 2), ("logloss", 0.5)):
        made[:, :, metrics.METRICS.index(name)] = value
    return made


class Training:
    """Two clients, one value each, 1 apart around a consensus of 0; its AUC by their distance."""

    def __init__(self, auc):
        self._auc, self.asked, self.members = auc, [], {}
        self.state = OD(
            personal=OD(w=np.array([[-0.5], [0.5]])), consensus=OD(w=np.array([0.0])), extra=OD()
        )

    @property
    def distance(self):
        return float(np.ptp(self.state["personal"]["w"]))

    def server_state(self):
        return self.state

    def set_server_state(self, state):
        self.state = state

    def spread_members(self):
        return self.members

    def measure(self, factors):
        self.asked.append(factors)
        return np.stack([self._auc(factor * self.distance) for factor in factors])

    def after_round(self, robust=False):
        report = round_report.RoundReport({"S1": 0.5}, {"gram/all": np.eye(2)})
        return spreading.after_round(self, report, self.measure, robust)


@pytest.mark.parametrize(
    ("best", "factor"), [(0.0, 0.0), (0.6, 0.5), (1.0, 1.0), (1.3, 1.25), (9.0, 1.5)]
)
def test_the_best_on_valid_is_taken(best, factor):
    training = Training(lambda distance: _values(0.9 - 0.05 * abs(distance - best)))
    values, report = training.after_round()
    # At one time, with what the round itself came to.
    assert training.asked == [(1.0, *spread.FACTORS)]
    assert training.distance == factor
    np.testing.assert_array_equal(values, _values(0.9 - 0.05 * abs(factor - best)))
    assert report.diagnostics["spread"] == factor
    assert set(report.diagnostics) == {"gram/all", "spread"}
    assert report.loss == {"S1": 0.5}


def test_one_lying_client_of_four_decides_by_the_mean_and_not_by_the_median():
    """It says 1 of what drives clients furthest apart, where all others say that nothing should."""

    def auc(distance):
        values = _values(0.8 - 0.01 * distance, scenarios=4)
        values[1] = _values(float(distance == 1.5), scenarios=1)[0]
        return values

    lying, robust = Training(auc), Training(auc)
    lying.after_round()
    assert lying.distance == 1.5
    robust.after_round(robust=True)
    assert robust.distance == 0.0


def test_what_training_goes_on_from_is_moved_once_the_best_is_found():
    training = Training(lambda distance: _values(0.9 - 0.05 * abs(distance - 0.5)))
    trained = OD({"trained/personal/w": np.array([[2.0], [6.0]])})
    trained["trained/consensus/w"] = np.array([4.0])
    training.state["extra"] = trained
    training.after_round()
    moved = training.state["extra"]
    np.testing.assert_array_equal(moved["trained/personal/w"], [[3.0], [5.0]])
    np.testing.assert_array_equal(moved["trained/consensus/w"], [4.0])


@pytest.mark.parametrize("robust", [False, True])
def test_where_all_are_alike_clients_stay_where_they_are(robust):
    training = Training(lambda distance: _values(0.7))
    before = training.state
    _, report = training.after_round(robust)
    assert training.state is before
    assert report.diagnostics["spread"] == 1.0
    assert spreading.search(before, training.measure, {}, robust).state is before


def test_a_model_that_a_client_did_not_measure_is_not_compared():
    def auc(distance):
        values = _values(0.5 if distance == 1.0 else 0.9)
        if distance in (0.0, 0.5):
            values[0] = np.nan  # its client was away
        return values

    training = Training(auc)
    training.after_round()
    assert training.distance == 0.75


def test_a_minority_that_did_not_measure_a_model_keeps_a_robust_choice_from_none():
    def auc(distance):
        values = _values(0.5 + 0.1 * (distance == 0.5), scenarios=4)
        if distance == 0.5:
            values[0] = np.nan  # its client was away
        return values

    for robust, distance in ((False, 1.0), (True, 0.5)):
        training = Training(auc)
        training.after_round(robust)
        assert training.distance == distance


def test_who_takes_no_part_in_a_value_stays_where_it_is():
    training = Training(lambda distance: _values(0.9 - 0.05 * abs(distance - 0.5)))
    training.members = {"w": np.array([True, False])}
    training.after_round()
    np.testing.assert_array_equal(training.state["personal"]["w"], [[-0.25], [0.5]])


def test_predictions_that_are_nan_are_worst():
    def auc(distance):
        return _values(0.5 if distance <= 1.0 else np.nan)

    training = Training(auc)
    training.after_round()
    assert training.distance == 1.0


def test_predictions_that_are_numbers_are_better_than_those_that_are_not():
    """A model that predicts NaN was measured: its client was not away."""

    def auc(distance):
        values = _values(0.5 if distance < 1.0 else np.nan)
        values[:, :, metrics.METRICS.index("logloss")] = 0.5 if distance < 1.0 else np.nan
        return values

    training = Training(auc)
    training.after_round()
    assert training.distance == 0.0


def test_what_clients_take_in_rounds_to_come_follows():
    training = Training(lambda distance: _values(0.9 - 0.05 * abs(distance - 1.25)))
    training.state["extra"][base.SHARING] = np.float32(1.0)
    training.after_round()
    assert training.distance == 1.25
    assert training.state["extra"][base.SHARING] == np.float32(0.8)
