"""Guesses from noised sums stay below the stated epsilon, and above it where it is broken."""

import numpy as np
import pytest

from benchmarks import privacy_audit
from tff_process.privacy import audit, mechanism

RUNS = 800


@pytest.fixture(scope="module")
def budget():
    # Every row in the one batch: what is stated is what can be found.
    (made,) = mechanism.of(3.0, 1e-5, 1.0, 10, [10], [2]).budgets
    return made


def test_what_is_found_is_below_what_is_stated(budget):
    """The bound of so few runs is between 0 and 1.9, by chance, where noise is as stated."""
    assert privacy_audit.bound(budget, RUNS) <= 3.0


def test_what_is_guessed_from_is_the_stated_noise_about_the_row(budget):
    """Else what is found is below what is stated for want of a row to find."""
    for present in (True, False):
        seen = privacy_audit.projections(budget, 0.05, RUNS, present)
        assert seen.shape == (RUNS, budget.steps)
        assert seen.mean() == pytest.approx(
            float(present), abs=4 * budget.noise / np.sqrt(seen.size)
        )
        assert seen.std() == pytest.approx(budget.noise, rel=4 / np.sqrt(2 * seen.size))


@pytest.mark.parametrize("broken", [{"noise_factor": 0.2}, {"clip_factor": 5.0}])
def test_less_noise_and_a_larger_clip_are_found(budget, broken):
    assert privacy_audit.bound(budget, RUNS, **broken) > 3.0


def test_a_bound_of_scores_that_tell_nothing_and_of_those_that_tell_all():
    random = np.random.default_rng(0)
    alike = audit.lower_bound(random.normal(size=2000), random.normal(size=2000), 1e-5)
    apart = audit.lower_bound(random.normal(9, 1, 2000), random.normal(size=2000), 1e-5)
    assert alike < 0.3
    assert apart > 4.0


def test_a_bound_holds_for_randomised_response():
    """It says the truth with probability e / (1 + e): epsilon is 1."""
    random = np.random.default_rng(1)
    truth = np.e / (1 + np.e)
    found = audit.lower_bound(
        1.0 * (random.random(20_000) < truth), 1.0 * (random.random(20_000) > truth), 0.0
    )
    assert 0.85 < found <= 1.0


def test_the_likelihood_ratio_of_one_full_step_is_that_of_two_normals():
    found = audit.log_likelihood_ratio(np.array([[0.0], [1.0]]), 1.0, 2.0)
    np.testing.assert_allclose(found, [-0.125, 0.125])
