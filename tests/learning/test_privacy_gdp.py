import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from learning.privacy import gdp, paper_bound
from learning.privacy.errors import PrivacyError

mus = st.floats(-6, 2).map(lambda x: 10.0**x)
deltas = st.floats(-15, math.log10(0.9)).map(lambda x: 10.0**x)
epsilons = st.floats(-6, 3).map(lambda x: 10.0**x)


def exact(eps: float, mu: float) -> mpmath.mpf:
    with mpmath.workdps(60):
        e, m = mpmath.mpf(eps), mpmath.mpf(mu)
        return mpmath.ncdf(m / 2 - e / m) - mpmath.e**e * mpmath.ncdf(-m / 2 - e / m)


@settings(deadline=None, max_examples=300)
@given(mus, st.floats(-9, 36))
def test_delta_is_exact_and_rounded_up(mu: float, a: float) -> None:
    eps = max(0.0, mu * (a + mu / 2))
    truth, reported = exact(eps, mu), gdp.delta(eps, mu)
    assert reported == 1.0 or reported >= truth
    assert reported <= float(truth) * (1 + 1e-10) + 1e-300


@settings(deadline=None, max_examples=200)
@given(mus, deltas)
def test_epsilon_is_never_below_the_exact_one_and_close(mu: float, delta: float) -> None:
    eps = gdp.epsilon(mu, delta)
    assert exact(eps, mu) <= delta
    if eps > 0:
        assert exact(eps * (1 - 1e-6), mu) > delta * (1 - 1e-9)


@settings(deadline=None, max_examples=200)
@given(epsilons, deltas)
def test_mu_is_never_above_the_exact_one_and_close(eps: float, delta: float) -> None:
    mu = gdp.mu(eps, delta)
    assert exact(eps, mu) <= delta
    assert exact(eps, mu * (1 + 1e-6)) > delta
    assert gdp.epsilon(mu, delta) <= eps * (1 + 1e-9)


@settings(deadline=None)
@given(mus, deltas, st.floats(1.001, 10))
def test_louder_or_stricter_costs_no_less(mu: float, delta: float, factor: float) -> None:
    assert gdp.epsilon(mu * factor, delta) >= gdp.epsilon(mu, delta)
    assert gdp.epsilon(mu, delta / factor) >= gdp.epsilon(mu, delta)
    eps = gdp.epsilon(mu, delta)
    assert gdp.delta(eps * factor, mu) <= gdp.delta(eps, mu)
    assert gdp.delta(eps, mu * factor) >= gdp.delta(eps, mu)


@pytest.mark.parametrize(("mu", "eps"), [(0.5, 0.3), (1.7563, 5.0), (3.0, 1.0)])
def test_delta_is_the_hockey_stick_of_two_gaussians(mu: float, eps: float) -> None:
    stick = quad(lambda x: max(0.0, norm.pdf(x - mu) - math.exp(eps) * norm.pdf(x)), eps / mu + mu / 2, 40)[0]
    assert gdp.delta(eps, mu) == pytest.approx(stick, rel=1e-7)


@pytest.mark.parametrize(
    ("eps", "delta", "half_square"),
    [(0.5, 0.01, 0.05049), (1, 0.01, 0.14179), (2, 0.01, 0.40128), (5, 0.01, 1.5423), (10, 0.01, 4.0794), (5, 1e-5, 0.62859)],
)
def test_known_budgets(eps: float, delta: float, half_square: float) -> None:
    assert gdp.mu(eps, delta) ** 2 / 2 == pytest.approx(half_square, abs=6e-5)


def test_budget_of_the_paper_spends_less_than_it_says() -> None:
    assert gdp.epsilon(math.sqrt(2 * paper_bound.r_dp(5, 0.01)), 0.01) == pytest.approx(3.98, abs=0.005)


@settings(deadline=None)
@given(st.lists(st.floats(0, 10), min_size=1, max_size=50))
def test_composition_is_the_root_of_the_sum_of_squares_rounded_up(mus: list[float]) -> None:
    with mpmath.workdps(60):
        truth = mpmath.sqrt(mpmath.fsum(mpmath.mpf(m) ** 2 for m in mus))
    composed = gdp.compose(mus)
    assert truth <= composed <= truth * (1 + 1e-14) + 1e-300


def test_tradeoff_curve_is_that_of_the_likelihood_ratio_test() -> None:
    x = np.linspace(-3, 5, 50)
    np.testing.assert_allclose(gdp.tradeoff(norm.sf(x), 1.3), norm.cdf(x - 1.3), rtol=1e-9)
    assert gdp.tradeoff([0.0, 1.0], math.inf).tolist() == [1.0, 0.0]
    assert gdp.tradeoff(0.25, 0.0) == pytest.approx(0.75)


def test_nothing_and_everything() -> None:
    assert gdp.epsilon(0.0, 1e-5) == 0.0
    assert gdp.epsilon(1e-6, 0.1) == 0.0
    assert gdp.epsilon(math.inf, 1e-5) == math.inf
    assert gdp.delta(1.0, 0.0) == 0.0
    assert gdp.delta(1.0, math.inf) == 1.0


@pytest.mark.parametrize("call", [lambda: gdp.delta(-1, 1), lambda: gdp.delta(math.nan, 1), lambda: gdp.delta(1, -1),
                                  lambda: gdp.epsilon(1, 0), lambda: gdp.epsilon(1, 1), lambda: gdp.epsilon(math.nan, 0.1),
                                  lambda: gdp.mu(-1, 0.1), lambda: gdp.mu(math.inf, 0.1), lambda: gdp.mu(1, 1.5),
                                  lambda: gdp.tradeoff([1.5], 1)])  # fmt: skip
def test_bad_input_is_refused(call) -> None:
    with pytest.raises(PrivacyError):
        call()
