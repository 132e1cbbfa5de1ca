"""Power control of least error against a numerical optimiser, rivals and limits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar

from phy import theory_schemes as theory
from phy.config import LinkConfig
from phy.power.mse_optimal import Part

UNIFORM = 1.0 / 3.0


def part(n0: float, scheme: str = "analog") -> Part:
    return Part(LinkConfig(scheme=scheme, snr_max_db=-10.0 * float(np.log10(n0))))


def exponential(rounds: int, devices: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).exponential(size=(rounds, devices)).astype(np.float32)


def mse(one: Part, gains: np.ndarray, n0: float, mean_square: float = UNIFORM) -> np.ndarray:
    _, levels, scaling = one.levels(gains, None)
    return theory.aligned_sum_mse(levels.astype(np.float64), scaling.astype(np.float64), n0, mean_square)


@pytest.mark.parametrize("scheme", ["analog", "sign"])
@pytest.mark.parametrize("n0", [1e-3, 0.1, 3.0])
@pytest.mark.parametrize("devices", [1, 2, 9, 40])
def test_scaling_is_what_a_numerical_search_finds(scheme, n0, devices):
    mean_square = 1.0 if scheme == "sign" else UNIFORM
    gains = exponential(15, devices)
    reached = mse(part(n0, scheme), gains, n0, mean_square)
    _, _, scaling = part(n0, scheme).levels(gains, None)
    for b in range(15):
        amplitudes = np.sqrt(gains[b].astype(np.float64))

        def error(log_scaling: float, amplitudes: np.ndarray = amplitudes) -> float:
            a = np.exp(log_scaling)
            return float(theory.aligned_sum_mse(np.minimum(amplitudes, a), a, n0, mean_square))

        found = minimize_scalar(error, bounds=(-12.0, 12.0), method="bounded", options={"xatol": 1e-10})
        assert reached[b] == pytest.approx(found.fun, rel=1e-6)
        assert scaling[b] == pytest.approx(np.exp(found.x), rel=1e-3)


@pytest.mark.parametrize("n0", [0.01, 1.0])
def test_no_other_levels_within_the_peak_power_do_better(n0):
    # A search over every level and the receive scaling, free of the threshold structure.
    for b, gains in enumerate(exponential(6, 4, seed=3)):
        amplitudes = np.sqrt(gains.astype(np.float64))

        def error(x: np.ndarray, amplitudes: np.ndarray = amplitudes) -> float:
            received = x[:-1] * amplitudes * x[-1] / 4
            return float(UNIFORM * np.square(received - 0.25).sum() + n0 / 2 * (x[-1] / 4) ** 2)

        rng = np.random.default_rng(b)
        best = min(
            minimize(error, np.append(rng.random(4), rng.uniform(0.1, 5)), bounds=[(0, 1)] * 4 + [(0, 50)], tol=1e-14).fun
            for _ in range(5)
        )
        assert mse(part(n0), gains[None], n0)[0] <= best * (1 + 1e-6)


@given(devices=st.integers(1, 30), log_n0=st.floats(-6.0, 3.0), seed=st.integers(0, 10_000), threshold=st.floats(1e-3, 5.0))
@settings(max_examples=60, deadline=None)
def test_never_worse_than_weakest_alignment_or_truncation(devices, log_n0, seed, threshold):
    n0 = 10.0**log_n0
    gains = exponential(20, devices, seed)
    reached = mse(part(n0), gains, n0)
    amplitudes = np.sqrt(gains.astype(np.float64))
    weakest = amplitudes.min(axis=1)
    aligned = theory.aligned_sum_mse(np.broadcast_to(weakest[:, None], gains.shape), weakest, n0, UNIFORM)
    assert (reached <= aligned * (1 + 1e-5)).all()
    # Truncated inversion divides by the number heard: error s2 (1/A - 1/K) plus noise, against the mean over all K.
    heard = (gains >= threshold).sum(axis=1)
    counted = np.maximum(heard, 1)
    truncated = UNIFORM * (1 / counted - 1 / devices) + n0 / (2 * threshold * counted**2)
    assert (reached[heard > 0] <= truncated[heard > 0] * (1 + 1e-5)).all()
    # Nor than saying nothing, whose error is s2 / K.
    assert (reached <= UNIFORM / devices * (1 + 1e-5)).all()


def test_one_device_is_the_linear_mmse_estimate():
    n0 = 0.4
    gains = exponential(200, 1)
    _, levels, scaling = part(n0).levels(gains, None)
    amplitude = np.sqrt(gains[:, 0].astype(np.float64))
    assert np.allclose(levels[:, 0], amplitude, rtol=1e-6)
    assert np.allclose(scaling, amplitude + n0 / (2 * UNIFORM * amplitude), rtol=1e-6)
    assert np.allclose(mse(part(n0), gains, n0), UNIFORM * (n0 / 2) / (UNIFORM * amplitude**2 + n0 / 2), rtol=1e-5)


def test_limits_of_little_and_much_noise():
    gains = exponential(300, 8)
    amplitudes = np.sqrt(gains)
    _, levels, scaling = part(1e-15).levels(gains, None)
    assert np.allclose(scaling, amplitudes.min(axis=1), rtol=1e-5)
    assert np.allclose(levels, scaling[:, None])
    _, levels, scaling = part(1e9).levels(gains, None)
    assert np.array_equal(levels, amplitudes)  # everybody at full power
    assert np.allclose(mse(part(1e9), gains, 1e9), UNIFORM / 8, rtol=1e-6)


@given(devices=st.integers(1, 50), log_n0=st.floats(-12.0, 12.0), seed=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_peak_power_is_kept(devices, log_n0, seed):
    gains = exponential(50, devices, seed)
    _, levels, _ = part(10.0**log_n0).levels(gains, None)
    assert (np.square(levels.astype(np.float64)) / gains).max() <= 1 + 2.0**-22  # rounding, within the mode's margin of 2^-19


def test_the_absent_are_as_if_they_were_not_there():
    rng = np.random.default_rng(5)
    gains = exponential(60, 9)
    present = rng.random((60, 9)) < 0.6
    present[7] = False
    one = part(0.2)
    active, levels, scaling = one.levels(gains, present)
    assert active is present
    assert scaling[7] == 0
    assert not levels[~present].any()
    for b in range(60):
        if present[b].any():
            _, alone, a = one.levels(gains[b : b + 1, present[b]], None)
            assert np.array_equal(levels[b, present[b]], alone[0])
            assert scaling[b] == a[0]


@pytest.mark.parametrize("devices", [1, 8, 300])
def test_bits_do_not_depend_on_the_batch(devices):
    gains = exponential(40, devices)
    one = part(0.05)
    _, levels, scaling = one.levels(gains, None)
    assert levels.dtype == scaling.dtype == np.float32
    for b in range(40):
        _, alone, a = one.levels(gains[b : b + 1], None)
        assert np.array_equal(alone[0], levels[b])
        assert a[0] == scaling[b]


def test_error_of_the_estimate_equals_its_closed_form():
    n0, devices, rounds = 0.5, 6, 200_000
    rng = np.random.default_rng(6)
    gains = exponential(1, devices)
    _, levels, scaling = part(n0).levels(gains, None)
    symbols = rng.uniform(-1, 1, (rounds, devices))
    noise = rng.standard_normal(rounds) * np.sqrt(n0 / 2)
    error = ((symbols * levels).sum(axis=1) + noise) / scaling / devices - symbols.mean(axis=1)
    expected = mse(part(n0), gains, n0)[0]
    assert abs(np.square(error).mean() - expected) < 4 * np.square(error).std() / np.sqrt(rounds)
