"""Lower limits on the privacy loss: against definitions, closed forms, and their promised coverage by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, norm

from learning.privacy import gdp
from learning.privacy.audit import bounds
from learning.privacy.errors import PrivacyError


@given(st.integers(1, 5000), st.floats(0, 1), st.floats(0.5, 0.9999))
def test_clopper_pearson_is_the_probability_that_explains_no_more(trials, share, confidence):
    events = round(share * trials)
    upper = float(bounds.clopper_pearson_upper(events, trials, confidence))
    lower = float(bounds.clopper_pearson_lower(events, trials, confidence))
    assert 0 <= lower <= events / trials <= upper <= 1
    if events < trials:
        assert binom.cdf(events, trials, upper) == pytest.approx(1 - confidence, rel=1e-6)
    else:
        assert upper == 1
    if events > 0:
        assert binom.sf(events - 1, trials, lower) == pytest.approx(1 - confidence, rel=1e-6)
    else:
        assert lower == 0


def test_clopper_pearson_agrees_with_scipys_test():
    interval = binomtest(7, 120, alternative="less").proportion_ci(0.9, "exact")
    assert float(bounds.clopper_pearson_upper(7, 120, 0.9)) == pytest.approx(interval.high, rel=1e-9)


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 4.0])
def test_randomised_response_has_exactly_its_epsilon(epsilon):
    error = 1 / (1 + math.exp(epsilon))
    assert float(bounds.epsilon_from_rates(error, error, 0.0)) == pytest.approx(epsilon, rel=1e-12)


@pytest.mark.parametrize(("mu", "delta"), [(0.5, 1e-3), (1.7563, 0.01), (3.0, 1e-5)])
def test_the_best_threshold_on_a_gaussian_reaches_its_epsilon_and_none_exceeds_it(mu, delta):
    thresholds = np.linspace(-6, mu + 6, 20001)
    fpr, fnr = norm.sf(thresholds), norm.cdf(thresholds - mu)
    every = bounds.epsilon_from_rates(fpr, fnr, delta)
    assert every.max() == pytest.approx(gdp.epsilon(mu, delta), rel=1e-5)
    assert every.max() <= gdp.epsilon(mu, delta)
    middle = np.abs(thresholds - mu / 2) < 4
    assert np.allclose(bounds.mu_from_rates(fpr, fnr)[middle], mu, rtol=1e-9)


def test_rates_at_the_edges():
    assert float(bounds.epsilon_from_rates(1.0, 1.0, 0.0)) == 0
    assert float(bounds.epsilon_from_rates(0.5, 0.5, 0.1)) == 0
    assert float(bounds.epsilon_from_rates(0.0, 0.5, 0.0)) == math.inf
    assert float(bounds.mu_from_rates(1.0, 0.3)) == 0
    assert float(bounds.mu_from_rates(1.0, 0.0)) == 0  # an attack that always says present shows nothing
    assert bounds.gaussian_epsilon(0.0, 1e-5) == 0


def covered(bound, truth, repeats=400):
    """No more repeats above the truth than 5 % of them can produce by chance (once in a thousand)."""
    above = sum(bound(np.random.default_rng(seed)) > truth for seed in range(repeats))
    return above <= binom.ppf(0.999, repeats, 0.05)


@pytest.mark.parametrize("mu", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("thresholds", [None, (-1.0, 0.0, 0.5, 1.5, 3.0)])
def test_coverage_of_mu(mu, thresholds):
    def bound(rng):
        return bounds.mu_lower_bound(rng.normal(0, 1, 300), rng.normal(mu, 1, 300), thresholds=thresholds).value

    # A bound of exactly 0 does not exceed a truth of 0.
    assert covered(bound, mu)


@pytest.mark.parametrize(("mu", "delta"), [(0.8, 0.05), (2.0, 1e-5)])
def test_coverage_of_epsilon_on_a_gaussian(mu, delta):
    def bound(rng):
        return bounds.epsilon_lower_bound(rng.normal(0, 1, 300), rng.normal(mu, 1, 300), delta).value

    assert covered(bound, gdp.epsilon(mu, delta))


def test_coverage_of_epsilon_on_randomised_response_where_scores_tie():
    epsilon = 1.0
    true = 1 / (1 + math.exp(-epsilon))

    def bound(rng):
        absent, present = rng.random(300) > true, rng.random(300) < true
        return bounds.epsilon_lower_bound(absent, present, 0.0).value

    assert covered(bound, epsilon)


@pytest.mark.parametrize("mu", [1.0, 3.0])
def test_many_trials_come_close(mu):
    rng = np.random.default_rng(0)
    absent, present = rng.normal(0, 1, 50_000), rng.normal(mu, 1, 50_000)
    chosen = bounds.mu_lower_bound(absent, present)
    assert 0.93 * mu < chosen.value < mu
    fixed = bounds.mu_lower_bound(absent, present, thresholds=[mu / 2])
    assert 0.96 * mu < fixed.value < mu
    assert fixed.false_positives == (absent >= mu / 2).sum()
    assert fixed.false_negatives == (present < mu / 2).sum()


def test_an_attack_without_error_shows_the_reach():
    found = bounds.mu_lower_bound(np.zeros(1000), np.ones(1000), thresholds=[0.5])
    assert found.value == pytest.approx(bounds.mu_reach(1000, 1000))
    # (1 - p)^1000 = 0.025
    assert found.fpr_upper == pytest.approx(1 - 0.025**1e-3)
    assert bounds.mu_lower_bound(np.zeros(100), np.ones(100)).value == pytest.approx(bounds.mu_reach(50, 50))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: bounds.mu_lower_bound([0.0], [1.0]), "at least 4 trials"),
        (lambda: bounds.mu_lower_bound([0.0, math.nan] * 3, [1.0] * 6), "NaN"),
        (lambda: bounds.mu_lower_bound([0.0] * 6, [1.0] * 6, confidence=1.0), "confidence"),
        (lambda: bounds.epsilon_lower_bound([0.0] * 6, [1.0] * 6, 1.0), "delta"),
        (lambda: bounds.mu_lower_bound([0.0], [1.0], thresholds=[]), "at least one threshold"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(PrivacyError, match=words):
        call()
