"""The one-run audit: exact rational arithmetic, a worst-case mechanism, and coverage."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm

from learning.privacy import gdp
from learning.privacy.audit import one_run
from learning.privacy.errors import PrivacyError


def exact(m: int, r: int, v: int, q: Fraction, delta: Fraction) -> Fraction:
    """The formula of the paper, term by term, in rational numbers."""
    pmf = [math.comb(r, j) * q**j * (1 - q) ** (r - j) for j in range(r + 1)]
    tail = sum(pmf[v:], Fraction(0))
    worst = max((sum(pmf[v - i : v], Fraction(0)) / i for i in range(1, v + 1)), default=Fraction(0))
    return min(Fraction(1), tail + 2 * m * delta * worst)


@pytest.mark.parametrize(("m", "r", "v"), [(10, 10, 8), (30, 20, 17), (12, 7, 0), (40, 40, 40), (25, 5, 5)])
@pytest.mark.parametrize("delta", [Fraction(0), Fraction(1, 1000), Fraction(1, 20)])
def test_p_value_is_the_papers_formula(m, r, v, delta):
    for q in (Fraction(1, 2), Fraction(3, 4), Fraction(9, 10)):
        epsilon = math.log(q / (1 - q))
        assert one_run.p_value(m, r, v, epsilon, float(delta)) == pytest.approx(float(exact(m, r, v, q, delta)), rel=1e-9)


@pytest.mark.parametrize("delta", [0.0, 1e-3, 0.02])
def test_a_mechanism_that_reveals_or_randomises_stays_below_the_p_value(delta):
    """Each canary is revealed with probability delta, otherwise answered by randomised response: (epsilon, delta)-private."""
    m, epsilon = 40, 1.0
    q = 1 / (1 + math.exp(-epsilon))
    right = binom(m, delta + (1 - delta) * q)
    for v in range(m + 1):
        assert right.sf(v - 1) <= one_run.p_value(m, m, v, epsilon, delta) * (1 + 1e-9)


@settings(max_examples=40)
@given(st.integers(1, 200), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_p_value_rises_with_epsilon(m, guessed, correct, share):
    r = round(guessed * m)
    v = round(correct * r)
    delta = share / (2 * m)
    values = [one_run.p_value(m, r, v, e, delta) for e in np.linspace(0, 6, 25)]
    assert (np.diff(values) >= -1e-12).all()


@pytest.mark.parametrize(("m", "r", "v", "delta"), [(1000, 200, 180, 1e-5), (500, 500, 330, 1e-4), (100, 20, 20, 0.0)])
def test_the_bound_is_where_the_p_value_crosses(m, r, v, delta):
    epsilon = one_run.epsilon_lower_bound(m, r, v, delta)
    assert epsilon > 0
    assert one_run.p_value(m, r, v, epsilon * (1 - 1e-6), delta) < 0.05
    assert one_run.p_value(m, r, v, epsilon * (1 + 1e-6), delta) > 0.05


def test_known_values():
    # All right, delta 0: q^r = 0.05, so epsilon = logit(0.05^(1/r)).
    q = 0.05 ** (1 / 100)
    assert one_run.epsilon_lower_bound(100, 100, 100, 0.0) == pytest.approx(math.log(q / (1 - q)), rel=1e-9)
    assert one_run.epsilon_lower_bound(100, 100, 55, 0.0) == 0
    assert one_run.epsilon_lower_bound(100, 0, 0, 1e-5) == 0
    # A delta of one half of a canary explains everything.
    assert one_run.epsilon_lower_bound(10, 10, 10, 0.5) == 0


@settings(max_examples=30)
@given(st.integers(1, 30), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_correct_guesses_are_counted_as_by_hand(m, share, seed):
    rng = np.random.default_rng(seed)
    scores, coins = rng.integers(0, 5, m), rng.random(m) < 0.5
    r = round(share * m)
    ranked = sorted(range(m), key=lambda i: (scores[i], i))
    out, into = ranked[: r // 2], ranked[m - (r - r // 2) :]
    assert not set(out) & set(into)
    expected = sum(bool(coins[i]) for i in into) + sum(not coins[i] for i in out)
    assert one_run.count_correct(scores, coins, r) == expected


def above(draw, truth, delta, guesses, repeats=150):
    return sum(one_run.audit_one_run(*draw(np.random.default_rng(s)), delta, guesses).epsilon > truth for s in range(repeats))


@pytest.mark.parametrize("guesses", [100, (20, 50, 100)])
def test_coverage_on_randomised_response(guesses):
    epsilon = 1.0

    def draw(rng):
        coins = rng.random(100) < 0.5
        return np.where(rng.random(100) < 1 / (1 + math.exp(-epsilon)), coins, ~coins).astype(float), coins

    assert above(draw, epsilon, 0.0, guesses) <= binom.ppf(0.999, 150, 0.05)


def test_coverage_on_a_gaussian_mechanism():
    mu, delta = 1.0, 1e-4

    def draw(rng):
        coins = rng.random(200) < 0.5
        return mu * coins + rng.normal(0, 1, 200), coins

    assert above(draw, gdp.epsilon(mu, delta), delta, (10, 40)) <= binom.ppf(0.999, 150, 0.05)


def test_a_leaky_mechanism_is_found():
    rng = np.random.default_rng(0)
    coins = rng.random(500) < 0.5
    found = one_run.audit_one_run(8.0 * coins + rng.normal(0, 1, 500), coins, 1e-5, (100, 400))
    assert found.epsilon_any > 4
    assert found.guesses == found.correct == 400
    assert found.gaussian_guesses == found.gaussian_correct == 400
    # Claims of Gaussian privacy say more, so that more of the 8 is seen; what is seen is stated as an epsilon, too.
    assert 1.5 < found.mu < 8
    assert found.epsilon == found.epsilon_gaussian == pytest.approx(gdp.epsilon(found.mu, 1e-5), rel=1e-9)
    assert found.epsilon_gaussian > 1.5 * found.epsilon_any


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 80), st.floats(0, 1), st.floats(0, 3), st.sampled_from([0.05, 0.01, 0.3]))
def test_no_gaussian_claim_is_rejected_that_explains_the_guesses(m, share, mu, beta):
    """Guesses of independent canaries are right with probability Phi(mu / 2): exactly known, so nothing is left to chance."""
    v = round(share * m)
    if binom.sf(v - 1, m, norm.cdf(mu / 2)) >= beta:
        assert not one_run.gaussian_rejected(m, m, v, mu, beta)


def test_coverage_of_the_gaussian_bound():
    """A lower limit of 95 % confidence exceeds the true mu in no more than 5 % of runs; abstaining included."""
    for mu, guesses in ((0.5, 30), (1.7, 50), (3.0, 150)):
        exceeded = 0
        for seed in range(300):
            rng = np.random.default_rng(seed)
            coins = rng.random(150) < 0.5
            v = one_run.count_correct(mu * coins + rng.normal(0, 1, 150), coins, guesses)
            exceeded += one_run.gaussian_rejected(150, guesses, v, mu, 0.05)
        assert exceeded <= binom.ppf(0.999, 300, 0.05)


def test_the_gaussian_bound_can_fail_where_the_claim_is_false():
    rejected = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        coins = rng.random(500) < 0.5
        v = one_run.count_correct(1.7 * coins + rng.normal(0, 1, 500), coins, 125)
        rejected += one_run.gaussian_rejected(500, 125, v, 0.8, 0.05)
        low = one_run.mu_lower_bound(500, 125, v)
        if low > 0:
            assert one_run.gaussian_rejected(500, 125, v, low * (1 - 1e-6), 0.05)
            assert not one_run.gaussian_rejected(500, 125, v, low * (1 + 1e-6), 0.05)
    assert rejected > 30


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: one_run.p_value(10, 11, 5, 1.0, 0.0), "correct <= guesses <= canaries"),
        (lambda: one_run.p_value(10, 10, 5, -1.0, 0.0), "epsilon must not be negative"),
        (lambda: one_run.epsilon_lower_bound(10, 10, 5, 1.5), "delta"),
        (lambda: one_run.epsilon_lower_bound(10, 10, 5, 0.0, confidence=0.0), "confidence"),
        (lambda: one_run.count_correct([1.0, 2.0], [True], 1), "one per canary"),
        (lambda: one_run.count_correct([1.0, math.nan], [True, False], 1), "NaN"),
        (lambda: one_run.count_correct([1.0, 2.0], [True, False], 3), "0 .. 2 canaries"),
        (lambda: one_run.audit_one_run([1.0], [True], 0.0, ()), "at least one number"),
        (lambda: one_run.gaussian_rejected(10, 10, 5, -1.0, 0.05), "mu must not be negative"),
        (lambda: one_run.mu_lower_bound(10, 10, 5, 1.0), "confidence"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(PrivacyError, match=words):
        call()
