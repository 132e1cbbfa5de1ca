"""The surest guesses: their law by integration and by simulation, coverage, and how much more they show."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import binom, norm

from learning.privacy.audit.one_run import count_correct, mu_lower_bound
from learning.privacy.audit.ordered import count_surest, ordered_mu_lower_bound, ordered_p_value
from learning.privacy.errors import PrivacyError


def draw(seed, canaries, mu):
    rng = np.random.default_rng(seed)
    coins = rng.random(canaries) < 0.5
    return np.where(coins, 0.5, -0.5) * mu + rng.normal(size=canaries), coins


@pytest.mark.parametrize("mu", [0.3, 1.7, 4.0])
@pytest.mark.parametrize("canaries", [2, 9, 60])
def test_the_single_surest_guess_by_integration(mu, canaries):
    """The largest |z| of m lies at x and is right: m phi(x - mu/2) P[|z| < x]^(m - 1), integrated."""

    def density(x):
        inside = norm.cdf(x - mu / 2) - norm.cdf(-x - mu / 2)
        return canaries * norm.pdf(x - mu / 2) * inside ** (canaries - 1)

    exact = quad(density, 0, mu / 2 + 12, limit=200)[0]
    found = ordered_p_value(canaries, 1, 1, mu)
    assert exact <= found <= exact + 1e-3


def test_all_guesses_are_a_binomial_and_some_are_as_simulated():
    assert ordered_p_value(30, 30, 22, 1.1) == pytest.approx(binom.sf(21, 30, norm.cdf(0.55)), rel=1e-12)
    counts = np.array([count_surest(*draw(seed, 50, 1.5), 12) for seed in range(4000)])
    for v in (9, 10, 11, 12):
        seen = float((counts >= v).mean())
        assert ordered_p_value(50, 12, v, 1.5) == pytest.approx(seen, abs=4 * math.sqrt(0.25 / 4000))


def test_coverage_where_canaries_are_heard_one_by_one_and_how_much_more_it_shows():
    surest, plain, exceeded = [], [], 0
    for seed in range(200):
        scores, coins = draw(seed, 400, 1.7)
        right = count_surest(scores, coins, 200)
        exceeded += ordered_p_value(400, 200, right, 1.7) < 0.05
        if seed < 15:
            surest.append(ordered_mu_lower_bound(400, 200, right))
            assert ordered_p_value(400, 200, right, surest[-1]) == pytest.approx(0.05, rel=1e-4)
            plain.append(mu_lower_bound(400, 100, count_correct(scores, coins, 100)))
    assert exceeded <= binom.ppf(0.999, 200, 0.05)
    assert np.median(surest) > 0.8 * 1.7 > 1.2 * np.median(plain)


def test_the_surest_are_counted_as_by_hand():
    scores = np.array([0.1, -3.0, 2.0, -0.2, 2.0])
    coins = np.array([True, True, True, False, False])
    assert [count_surest(scores, coins, r) for r in range(6)] == [0, 0, 1, 1, 2, 3]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: count_surest([1.0, 2.0], [True, False], 3), "0 .. 2 canaries"),
        (lambda: count_surest([1.0, math.nan], [True, False], 1), "NaN"),
        (lambda: ordered_p_value(3, 4, 1, 1.0), "correct <= guesses <= canaries"),
        (lambda: ordered_p_value(4, 4, 1, -1.0), "must not be negative"),
        (lambda: ordered_mu_lower_bound(4, 4, 1, 0.0), "confidence"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(PrivacyError, match=words):
        call()
