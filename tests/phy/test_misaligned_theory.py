"""Closed forms of the receivers against Monte Carlo, and the order among receivers that they imply."""

import numpy as np
import pytest

from phy import theory_misaligned as theory
from phy.config import LinkConfig
from phy.misaligned import interval_count, observe
from phy.receivers import aligned, ml

T = 1e-3
ROUNDS = 20_000
PHASES = np.array([0.3, -0.5, 0.9, 0.1])


def simulate(name: str, scalars: int, timing: np.ndarray, n0: float, amplitude: float):
    """Estimates [B, n] for one vector of symbols [K, n], and the moments that they should have."""
    rng = np.random.default_rng(1)
    devices = len(timing)
    gains = (amplitude * np.exp(1j * PHASES[:devices])).astype(np.complex64)
    symbols = rng.uniform(-1, 1, (devices, scalars))
    every = (ROUNDS, devices)
    repeated = np.broadcast_to(symbols, (*every, scalars))
    known = np.zeros(every) if name == "matched" else None
    shape = (ROUNDS, interval_count(devices, scalars, known_apart=known is not None))
    noise = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) * np.sqrt(0.5)
    timings = np.array(np.broadcast_to(timing, every))
    all_gains = np.array(np.broadcast_to(gains, every))
    seen = observe(repeated, all_gains, timings, noise, symbol_duration_s=T, n0=n0, known_timing_s=known)
    config = LinkConfig(snr_max_db=-10 * np.log10(n0))
    known_to_receiver = (all_gains, timings, np.full(ROUNDS, amplitude, np.float32), np.full(ROUNDS, float(devices)))
    exact = gains.astype(np.complex128)
    if name == "matched":
        return symbols, seen.filtered()[:, 0] / amplitude, theory.matched(exact, timing, scalars, T, amplitude, n0)
    if name == "aligned":
        got = aligned.Part(config).estimate(seen, *known_to_receiver)
        return symbols, got, theory.aligned(exact, timing, scalars, T, amplitude, n0)
    part = ml.Part(config)
    ridge = float(part.ridge(all_gains[:1], np.full(1, amplitude, np.float32))[0])
    return symbols, part.estimate(seen, *known_to_receiver), theory.ml(exact, timing, scalars, T, n0, ridge)


@pytest.mark.parametrize("name", ["matched", "aligned", "ml"])
@pytest.mark.parametrize("scalars", [1, 3])
@pytest.mark.parametrize("n0", [0.01, 2.0])
def test_bias_and_noise_variance(name, scalars, n0):
    symbols, got, moments = simulate(name, scalars, np.array([0.1, 0.25, -0.2, 0.6]) * T, n0, 0.7)
    error = got.real - symbols.sum(axis=0)
    scale = np.sqrt(moments.variance)
    assert (np.abs(error.mean(axis=0) - moments.bias(symbols)) < 4 * scale / np.sqrt(ROUNDS)).all()
    assert (np.abs(error.var(axis=0) / moments.variance - 1) < 4 * np.sqrt(2 / ROUNDS)).all()


def test_one_isolated_symbol_in_closed_form():
    # Two devices, gains a exp(j phi): A = a^2 [[1, c], [c, 1]] with c = (1 - delta) cos(phi); 1^T A^-1 1 = 2 / (a^2 (1 + c)).
    a, phi, delta, n0 = 0.8, 0.6, 0.3, 0.05
    gains, timing = a * np.exp(1j * np.array([0, phi])), np.array([0, delta]) * T
    c = (1 - delta) * np.cos(phi)
    assert theory.ml(gains, timing, 1, T, n0).variance[0] == pytest.approx(n0 / (a**2 * (1 + c)))
    assert theory.aligned(gains, timing, 1, T, a, n0).variance[0] == pytest.approx(n0 / (2 * (1 - delta) * a**2))
    assert theory.matched(gains, timing, 1, T, a, n0).response[0, 1, 0] == pytest.approx((1 - delta) * np.cos(phi))


def test_no_common_window_is_infinite_variance():
    assert theory.aligned(np.ones(2, complex), np.array([0, T]), 1, T, 1.0, 1.0).variance[0] == np.inf


def mean_errors(phase_max: float, snr_db: float) -> dict[str, float]:
    """Median over 40 draws of the mean square error: K = 4 and 12 scalars back to back, timings uniform within 0.9 T."""
    rng = np.random.default_rng(3)
    n0 = 10 ** (-snr_db / 10)
    errors: dict[str, list[float]] = {"matched": [], "aligned": [], "ml": [], "ml_complex": []}
    for _ in range(40):
        timing, gains = rng.uniform(0, 0.9, 4) * T, np.exp(1j * rng.uniform(0, phase_max, 4))
        errors["matched"].append(theory.matched(gains, timing, 12, T, 1.0, n0).mean_square_error().mean())
        errors["aligned"].append(theory.aligned(gains, timing, 12, T, 1.0, n0).mean_square_error().mean())
        errors["ml"].append(theory.ml(gains, timing, 12, T, n0).mean_square_error().mean())
        errors["ml_complex"].append(theory.ml_complex(gains, timing, 12, T, n0).mean_square_error().mean())
    return {name: float(np.median(values)) for name, values in errors.items()}


def test_the_papers_order_of_receivers():
    """Shao, Gunduz, Liew 2022: aligned wins in noise under mild phases, ml at high Es/N0; phases put a floor under aligned."""
    low, high = mean_errors(np.pi / 2, -5.0), mean_errors(np.pi / 2, 40.0)
    assert low["aligned"] < low["ml"] < low["ml_complex"]
    assert high["ml"] < high["ml_complex"] < high["aligned"]
    # The floor: E[|1 - cos phi|^2] / 3 per device does not fall with noise, ml's error falls tenfold per 10 dB.
    higher = mean_errors(np.pi / 2, 60.0)
    assert higher["aligned"] > 0.95 * high["aligned"]
    assert higher["ml"] == pytest.approx(0.01 * high["ml"])


def test_real_unknowns_never_have_more_noise_than_complex_ones():
    for phase_max in (0.0, 0.8, np.pi):
        errors = mean_errors(phase_max, 10.0)
        assert errors["ml"] <= errors["ml_complex"] * (1 + 1e-9)


def test_with_known_equal_phases_ml_is_never_worse_than_aligned():
    """Gauss and Markov: aligned is a linear unbiased estimate from the same statistics, ml the best of them."""
    rng = np.random.default_rng(5)
    for _ in range(50):
        timing = rng.uniform(0, 0.95, 5) * T
        gains = np.ones(5, complex)
        best = theory.ml(gains, timing, 6, T, 0.1).variance
        assert (best <= theory.aligned(gains, timing, 6, T, 1.0, 0.1).variance * (1 + 1e-9)).all()


def test_the_matched_filter_stands_a_scalar_better_than_a_long_burst():
    """An isolated symbol loses its edge; symbols back to back pay that and their neighbours' interference."""
    timing, gains = np.array([0.0, 0.2, -0.2]) * T, np.ones(3, complex)
    alone = theory.matched(gains, timing, 1, T, 1.0, 0.0).mean_square_error()[0]
    burst = theory.matched(gains, timing, 9, T, 1.0, 0.0).mean_square_error()[4]
    assert alone == pytest.approx(2 * 0.2**2 / 3)
    assert burst == pytest.approx(2 * alone)
