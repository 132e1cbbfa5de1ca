import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning.privacy import gdp
from learning.privacy.accountants import find
from learning.privacy.errors import PrivacyError, UnsupportedRelease
from learning.privacy.odometer import BudgetSpent, Odometer
from learning.privacy.release import Release


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.floats(0.1, 5), st.sampled_from(["gdp", "pld", "paper"]))
def test_the_filter_stops_before_the_budget_and_not_early(mus: list[float], budget: float, name: str) -> None:
    odometer = Odometer(1e-5, name, budget)
    spent: list[float] = []
    for mu in mus:
        refused = odometer.would_exceed(mu)
        after = find(name)().epsilon(Release(np.array([*spent, mu])), 1e-5)
        if refused:
            assert after > budget * (1 - 1e-9)
            with pytest.raises(BudgetSpent, match="budget"):
                odometer.spend(mu)
        else:
            assert after <= budget * (1 + 1e-12)
            odometer.spend(mu)
            spent.append(mu)
        assert odometer.rounds == len(spent)
        assert odometer.epsilon <= budget
        assert odometer.epsilon >= gdp.epsilon(math.hypot(*spent), 1e-5) * (1 - 1e-12)


def test_counting_without_a_budget_is_the_closed_form() -> None:
    odometer = Odometer(1e-5)
    for _ in range(100):
        odometer.spend(0.1)
    assert odometer.epsilon == pytest.approx(gdp.epsilon(1.0, 1e-5), rel=1e-9)
    odometer.spend(math.inf)
    assert odometer.epsilon == math.inf


def sampled(rounds: int) -> Release:
    return Release(0.5 + 0.5 * (np.arange(rounds) >= rounds // 2), sampling_rate=0.05, relation="record_add_remove")


def test_sampled_epsilon_never_lags_behind() -> None:
    schedule = sampled(40)
    odometer = Odometer(1e-5, "pld", schedule=schedule, refresh_rounds=8)
    for t in range(1, 41):
        odometer.spend(schedule.mu[t - 1] * 0.5)  # quieter than announced: charged as announced
        if t % 5 == 0:
            assert odometer.epsilon >= find("pld")().epsilon(schedule.prefix(t), 1e-5)
    assert odometer.epsilon == pytest.approx(find("pld")().epsilon(schedule, 1e-5), rel=1e-6)
    with pytest.raises(PrivacyError, match="schedule ends"):
        odometer.spend(0.1)


def test_sampled_filter_stops_at_the_last_round_that_fits() -> None:
    schedule = sampled(40)
    accountant = find("pld")()
    budget = accountant.epsilon(schedule.prefix(25), 1e-5) * 1.0001
    odometer = Odometer(1e-5, "pld", budget, schedule=schedule, refresh_rounds=10)
    done = 0
    while not odometer.would_exceed(schedule.mu[done]):
        odometer.spend(schedule.mu[done])
        done += 1
        assert odometer.epsilon <= budget
    assert done == 25
    with pytest.raises(BudgetSpent):
        odometer.spend(schedule.mu[done])


def test_a_sampled_round_may_not_be_louder_than_announced() -> None:
    odometer = Odometer(1e-5, "pld", schedule=sampled(4))
    with pytest.raises(PrivacyError, match="louder"):
        odometer.spend(0.51)


def test_state_goes_through_json_and_resumes() -> None:
    schedule = Release(np.ones(10), csi="tail", extra_delta=1e-6)
    first, second = (Odometer(1e-5, "gdp", 20.0, schedule=schedule) for _ in range(2))
    for _ in range(5):
        first.spend(0.3)
    second.load_state(json.loads(json.dumps(first.state())))
    first.spend(0.2)
    second.spend(0.2)
    assert second.state() == first.state()
    assert second.epsilon == first.epsilon
    assert second.epsilon == pytest.approx(gdp.epsilon(math.sqrt(5 * 0.09 + 0.04), 9e-6), rel=1e-9)


def test_state_of_another_odometer_is_refused() -> None:
    state = Odometer(1e-5, "gdp", 2.0).state()
    with pytest.raises(PrivacyError, match="delta"):
        Odometer(1e-6, "gdp", 2.0).load_state(state)
    with pytest.raises(PrivacyError, match="accountant"):
        Odometer(1e-5, "paper", 2.0).load_state(state)
    with pytest.raises(PrivacyError, match="malformed"):
        Odometer(1e-5, "gdp", 2.0).load_state({"rounds": 1})
    with pytest.raises(PrivacyError, match="malformed"):
        Odometer(1e-5, "gdp", 2.0).load_state({**state, "sum_mu_squared": -1.0})


def test_bad_odometers() -> None:
    with pytest.raises(PrivacyError):
        Odometer(0.0)
    with pytest.raises(PrivacyError):
        Odometer(1e-5, "gdp", -1.0)
    with pytest.raises(UnsupportedRelease, match="pld"):
        Odometer(1e-5, "gdp", schedule=sampled(3))
    with pytest.raises(UnsupportedRelease, match="gain"):
        Odometer(1e-5, "gdp", schedule=Release(np.ones(3), csi="unbounded"))
    with pytest.raises(PrivacyError):
        Odometer(1e-5).spend(-1.0)
    with pytest.raises(PrivacyError):
        Odometer(1e-5).spend(math.nan)
