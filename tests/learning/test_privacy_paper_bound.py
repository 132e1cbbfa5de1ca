import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning.privacy import gdp, paper_bound
from learning.privacy.errors import PrivacyError

deltas = st.floats(-15, -0.05).map(lambda x: 10.0**x)
epsilons = st.floats(-4, 3).map(lambda x: 10.0**x)


@pytest.mark.parametrize(
    ("eps", "delta", "budget"),
    [
        (0.5, 0.01, 0.01706),
        (1, 0.01, 0.06407),
        (2, 0.01, 0.22931),
        (5, 0.01, 1.1079),
        (10, 0.01, 3.2915),
        (5, 1e-5, 0.51351),
    ],
)
def test_known_budgets(eps: float, delta: float, budget: float) -> None:
    assert paper_bound.r_dp(eps, delta) == pytest.approx(budget, rel=3e-4)


@pytest.mark.parametrize("delta", [0.5, 0.01, 1e-5, 1e-15, 1e-120])
def test_inverse_of_c(delta: float) -> None:
    x = paper_bound.inverse_c(delta)
    assert 0.5 * math.log(math.pi) + math.log(x) + x * x == pytest.approx(-math.log(delta), rel=1e-10)


def test_inverse_of_c_at_the_papers_delta() -> None:
    assert paper_bound.inverse_c(0.01) == pytest.approx(1.8488, abs=5e-5)


@settings(deadline=None)
@given(epsilons, deltas)
def test_the_inverse_charges_the_budget_with_its_epsilon(eps: float, delta: float) -> None:
    budget = paper_bound.r_dp(eps, delta)
    assert paper_bound.epsilon(budget, delta) == pytest.approx(eps, rel=1e-9)
    assert paper_bound.delta(budget, eps) == pytest.approx(delta, rel=1e-6)


@settings(deadline=None)
@given(epsilons, deltas)
def test_the_bound_is_valid(eps: float, delta: float) -> None:
    budget = paper_bound.r_dp(eps, delta)
    assert gdp.epsilon(math.sqrt(2 * budget), delta) <= eps
    assert gdp.delta(eps, math.sqrt(2 * budget)) <= delta


def test_ends() -> None:
    assert paper_bound.epsilon(0.0, 0.01) == 0.0
    assert paper_bound.delta(0.0, 1.0) == 0.0
    assert paper_bound.delta(2.0, 1.0) == 1.0
    assert paper_bound.delta(math.inf, 1.0) == 1.0


@pytest.mark.parametrize(
    "call",
    [
        lambda: paper_bound.r_dp(0, 0.01),
        lambda: paper_bound.r_dp(5, 1),
        lambda: paper_bound.r_dp(5, 0),
        lambda: paper_bound.epsilon(-1, 0.01),
        lambda: paper_bound.delta(1, -1),
    ],
)
def test_bad_input_is_refused(call) -> None:
    with pytest.raises(PrivacyError):
        call()
