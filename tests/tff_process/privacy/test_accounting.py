"""Epsilon against closed forms, Renyi accounting and a published figure."""

import math

import dp_accounting
import pytest
from dp_accounting.rdp import rdp_privacy_accountant
from scipy import optimize, stats

from pfrec import errors
from tff_process.privacy import accounting, mechanism


def gaussian(noise, steps, delta):
    """Epsilon of unsampled Gaussian steps, which are one of noise / sqrt(steps): theorem 8 of Balle
    and Wang.
    """
    mu = math.sqrt(steps) / noise

    def excess(epsilon):
        high = stats.norm.cdf(mu / 2 - epsilon / mu)
        return high - math.exp(epsilon) * stats.norm.cdf(-mu / 2 - epsilon / mu) - delta

    return optimize.brentq(excess, 0.0, 100.0)


@pytest.mark.parametrize(("noise", "steps"), [(1.0, 1), (5.0, 10), (20.0, 100), (40.0, 1000)])
def test_without_sampling_it_is_the_gaussian_mechanism(noise, steps):
    exact = gaussian(noise, steps, 1e-5)
    found = accounting.epsilon(1.0, noise, steps, 1e-5)
    assert exact <= found <= exact + 2e-3 + 1e-6 * steps


@pytest.mark.parametrize(
    ("rate", "noise", "steps"), [(0.01, 1.0, 500), (0.1, 2.0, 100), (0.004, 0.8, 2000)]
)
def test_it_is_below_renyi_accounting_and_not_by_much(rate, noise, steps):
    renyi = rdp_privacy_accountant.RdpAccountant()
    sampled = dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(noise))
    bound = renyi.compose(sampled, steps).get_epsilon(1e-5)
    assert 0.7 * bound < accounting.epsilon(rate, noise, steps, 1e-5) < bound


def test_it_is_below_what_the_moments_accountant_published():
    """Abadi et al. 2016, section 5.2 and figure 2: q = 0.01, noise 4, delta 1e-5, 10,000 steps cost
    1.26 by their accountant, a looser one.
    """
    found = accounting.epsilon(0.01, 4.0, 10_000, 1e-5)
    assert 0.8 < found < 1.26


def test_more_steps_and_larger_samples_cost_more_and_noise_less():
    base = accounting.epsilon(0.02, 1.0, 100, 1e-5)
    assert accounting.epsilon(0.02, 1.0, 0, 1e-5) == 0.0
    assert accounting.epsilon(0.02, 1.0, 200, 1e-5) > base
    assert accounting.epsilon(0.04, 1.0, 100, 1e-5) > base
    assert accounting.epsilon(0.02, 1.5, 100, 1e-5) < base


@pytest.mark.parametrize(
    ("budget", "rate", "steps"), [(1.0, 0.01, 1000), (8.0, 0.02, 400), (3.0, 1.0, 20)]
)
def test_the_noise_spends_the_budget_and_not_more(budget, rate, steps):
    noise = accounting.noise_for(budget, rate, steps, 1e-5)
    assert 0.98 * budget < accounting.epsilon(rate, noise, steps, 1e-5) <= budget


def test_a_budget_that_no_noise_meets_is_refused():
    with pytest.raises(errors.PfrecError, match="larger --dp_epsilon"):
        accounting.noise_for(1e-7, 1.0, 10, 1e-12)


def test_a_mechanism_has_each_scenarios_own_noise():
    made = mechanism.of(2.0, 0.0, 0.5, 64, rows=[6400, 640, 40], steps=[100, 100, 10])
    large, small, tiny = made.budgets
    assert (large.rate, small.rate, tiny.rate) == (0.01, 0.1, 1.0)
    assert large.delta == pytest.approx(6400**-1.1)
    assert large.noise < small.noise < tiny.noise
    assert tiny.batch == 40
    for budget in made.budgets:
        assert budget.spent(budget.steps) <= 2.0
        assert budget.spent(budget.steps // 2) < budget.spent(budget.steps)
        assert budget.spent(2 * budget.steps) > 2.0


def test_a_budget_that_hardly_bounds_anything_has_a_little_noise():
    assert 0.0 < accounting.noise_for(1e6, 0.01, 10, 1e-5) < 0.3


@pytest.mark.parametrize(
    ("batch_size", "rows", "at_home"),
    [(8, 100, 8), (64, 6400, 32), (512, 6400, 128), (4096, 90_000, 256)],
)
def test_a_model_without_noise_has_batches_of_its_own(batch_size, rows, at_home, monkeypatch):
    """A quarter of a batch, within 32 and 256, and never more than one."""
    monkeypatch.setattr(accounting, "noise_for", lambda *told: 1.0)
    (budget,) = mechanism.of(8.0, 1e-6, 1.0, batch_size, [rows], [2]).budgets
    assert budget.home_batch == at_home
    assert budget.home_epoch_steps == rows // at_home
    assert budget.home_steps(2.5) == round(2.5 * (rows // at_home))
    assert budget.epoch_steps == rows // batch_size
    assert budget.delta == 1e-6


def test_a_scenario_of_less_than_a_batch_has_an_epoch_of_one(monkeypatch):
    monkeypatch.setattr(accounting, "noise_for", lambda *told: 1.0)
    (budget,) = mechanism.of(8.0, 0.0, 1.0, 64, [20], [2]).budgets
    assert (budget.batch, budget.epoch_steps, budget.home_epoch_steps) == (20, 1, 1)


def test_a_delta_that_lets_a_row_be_published_is_refused():
    """What publishes each row with probability delta is (0, delta)-differentially private."""
    with pytest.raises(errors.PfrecError) as raised:
        mechanism.of(3.0, 1 / 640, 1.0, 64, [6400, 640], [100, 100])
    assert str(raised.value) == (
        "--dp_delta=0.0015625: the smallest scenario has about 640 training rows, and with a delta "
        "of 1 / rows or more a mechanism may publish a row as it is; give far less than 0.0016, or "
        "leave --dp_delta out for 1 / rows^1.1"
    )


def test_a_delta_of_exactly_one_row_is_refused_of_every_count(monkeypatch):
    """(1 / 49) * 49 is below 1 in binary."""
    monkeypatch.setattr(accounting, "noise_for", lambda *told: 1.0)
    for rows in range(1, 2001):
        with pytest.raises(errors.PfrecError, match="--dp_delta"):
            mechanism.of(3.0, 1 / rows, 1.0, 64, [rows], [1])
        mechanism.of(3.0, 0.999 / rows, 1.0, 64, [rows], [1])
