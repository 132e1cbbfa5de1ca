"""Every accountant on 8000 rounds of a changing schedule, and the odometer round by round."""

from typing import Any

import numpy as np
import pytest

from learning.privacy.accountants import find
from learning.privacy.energy import EnergyRound
from learning.privacy.odometer import Odometer
from learning.privacy.release import Release

ROUNDS, EPSILON, DELTA = 8000, 5.0, 1e-5


def schedule() -> Release:
    """c_t proportional to A^(-t/4), A = 0.998: 35 dB of range, as the paper's optimum where power does not bind."""
    return Release(0.9 * 0.998 ** (np.arange(ROUNDS)[::-1] / 4))


def bench_accountants(benchmark: Any, record: Any, interleaved: Any) -> None:
    """Seconds of each accountant, and of all together: paper, gdp, pld with and without Poisson sampling, energy detection."""
    plain = schedule()
    poisson = Release(plain.mu, sampling_rate=0.016, relation="record_add_remove")
    cases = {
        "paper": lambda: find("paper")().epsilon(plain, DELTA),
        "gdp": lambda: find("gdp")().epsilon(plain, DELTA),
        "pld, no sampling": lambda: find("pld")().epsilon(plain, DELTA),
        "pld, Poisson": lambda: find("pld")().epsilon(poisson, DELTA),
        "energy": lambda: EnergyRound("reed", 100.0).epsilon(ROUNDS, DELTA),
    }
    times = interleaved(*cases.values(), repeats=3, warmup=1)
    for name, seconds in zip(cases, times, strict=True):
        record(f"accounting of {ROUNDS} rounds, {name}: s", seconds, None, "low")
    record(f"accounting of {ROUNDS} rounds, all accountants: s", sum(times), 10.0, "low")
    benchmark.pedantic(cases["gdp"], rounds=10, warmup_rounds=2)


@pytest.mark.parametrize("budget", [None, 50.0])
def bench_odometer(benchmark: Any, record: Any, interleaved: Any, budget: float | None) -> None:
    """Seconds of 8000 rounds, each asked for the budget, spent, and reported."""
    mus = schedule().mu.tolist()

    def run() -> None:
        odometer = Odometer(DELTA, "gdp", budget)
        for mu in mus:
            if odometer.would_exceed(mu):
                break
            odometer.spend(mu)
            assert odometer.epsilon >= 0

    (seconds,) = interleaved(run, repeats=3, warmup=0)
    record(f"odometer, {ROUNDS} rounds, budget {budget}: s", seconds, None, "low")
    benchmark.pedantic(run, rounds=1)
