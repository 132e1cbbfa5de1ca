import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning.privacy import gdp, paper_bound
from learning.privacy.accountants import find
from learning.privacy.calibration import largest_mu, largest_scale
from learning.privacy.errors import PrivacyError, UnsupportedRelease
from learning.privacy.release import Release

epsilons = st.floats(-2, 2).map(lambda x: 10.0**x)
deltas = st.floats(-10, -1).map(lambda x: 10.0**x)


@settings(deadline=None, max_examples=40)
@given(epsilons, deltas, st.integers(1, 8000))
def test_closed_forms_are_met_from_below(eps: float, delta: float, rounds: int) -> None:
    for name, total in (("gdp", gdp.mu(eps, delta)), ("paper", math.sqrt(2 * paper_bound.r_dp(eps, delta)))):
        mu = largest_mu(find(name)(), rounds, eps, delta, tolerance=1e-6)
        assert total * (1 - 2e-6) <= mu * math.sqrt(rounds) <= total * (1 + 1e-9)
        assert find(name)().epsilon(Release(np.full(rounds, mu)), delta) <= eps


@pytest.mark.parametrize(("eps", "rate"), [(5.0, 0.016), (0.1, 0.1), (30.0, 0.5)])
def test_sampled_target_is_kept_and_nearly_met(eps: float, rate: float) -> None:
    accountant = find("pld")()
    shape = Release(np.repeat([0.1, 0.4, 1.0], 7), sampling_rate=rate, relation="record_add_remove")
    scale = largest_scale(accountant, shape, eps, 1e-5, tolerance=1e-3)
    assert accountant.epsilon(shape.scaled(scale), 1e-5) <= eps
    assert accountant.epsilon(shape.scaled(scale * 1.01), 1e-5) > eps


def test_sampling_allows_a_louder_schedule() -> None:
    none = largest_mu(find("gdp")(), 100, 2.0, 1e-5)
    some = largest_mu(find("pld")(), 100, 2.0, 1e-5, sampling_rate=0.1, relation="record_add_remove", tolerance=1e-2)
    assert some > 3 * none


def test_bad_requests() -> None:
    accountant = find("gdp")()
    for epsilon, delta in ((0.0, 1e-5), (-1.0, 1e-5), (math.inf, 1e-5), (1.0, 0.0), (1.0, 1.0)):
        with pytest.raises(PrivacyError):
            largest_mu(accountant, 10, epsilon, delta)
    with pytest.raises(PrivacyError, match="round"):
        largest_mu(accountant, 0, 1.0, 1e-5)
    with pytest.raises(PrivacyError, match="silent"):
        largest_scale(accountant, Release(np.zeros(3)), 1.0, 1e-5)
    with pytest.raises(PrivacyError, match="without noise"):
        largest_scale(accountant, Release(np.array([math.inf])), 1.0, 1e-5)
    with pytest.raises(UnsupportedRelease):
        largest_mu(accountant, 10, 1.0, 1e-5, sampling_rate=0.1)
