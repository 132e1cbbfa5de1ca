"""Residual offsets against numerical integration and against the whole link."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from phy import theory
from phy.config import LinkConfig
from phy.link import Link
from phy.offsets import residual_gain

T = 1e-3


def integral(tau: float, phi: float, f: float, age: float) -> complex:
    low, high = max(0.0, tau), min(T, T + tau)
    if high <= low:
        return 0.0
    real = quad(lambda t: np.cos(2 * np.pi * f * (t + age) + phi), low, high)[0]
    imag = quad(lambda t: np.sin(2 * np.pi * f * (t + age) + phi), low, high)[0]
    return (real + 1j * imag) / T


@settings(max_examples=100, deadline=None)
@given(tau=st.floats(-1.2 * T, 1.2 * T), phi=st.floats(-4, 4), f=st.floats(-3000, 3000), age=st.floats(0, 2e-3))
def test_residual_gain_is_the_matched_filter_integral(tau, phi, f, age):
    assert residual_gain(np.array(tau), np.array(phi), np.array(f), T, age) == pytest.approx(
        integral(tau, phi, f, age), abs=1e-9
    )


def mean_estimate(offsets: dict[str, object], rounds: int = 60_000) -> tuple[float, float]:
    config = LinkConfig.model_validate(
        {"clip": 1.0, "power": {"control": "truncated"}, "offsets": {"symbol_duration_s": T, **offsets}}
    )
    estimates = Link(config, 4).aggregate(np.arange(rounds), np.ones((rounds, 3, 1))).estimates
    estimates = estimates[np.isfinite(estimates)]
    return float(estimates.mean()), float(estimates.std() / np.sqrt(len(estimates)))


def test_uniform_phase_costs_sinc_of_its_spread():
    mean, error = mean_estimate({"phase_rad": {"law": "uniform", "value": 1.0}})
    assert abs(mean - theory.uniform_phase_loss(1.0)) < 4 * error


def test_normal_phase_costs_exp_of_half_its_variance():
    mean, error = mean_estimate({"phase_rad": {"law": "normal", "value": 0.7}})
    assert abs(mean - np.exp(-(0.7**2) / 2)) < 4 * error


def test_uniform_timing_costs_its_mean_overlap():
    mean, error = mean_estimate({"timing_s": {"law": "uniform", "value": 0.5 * T}})
    assert abs(mean - 0.75) < 4 * error


def test_constant_frequency_costs_sinc_and_a_rotation():
    mean, error = mean_estimate({"frequency_hz": {"law": "constant", "value": 200.0}})
    assert abs(mean - np.sinc(0.2) * np.cos(np.pi * 0.2)) < 4 * error


def test_an_offset_drawn_once_per_device_stays():
    laws = {"phase_rad": {"law": "uniform", "value": 3.0, "per": "device"}}
    config = LinkConfig.model_validate({"clip": 1.0, "snr_max_db": 100.0, "offsets": laws})
    estimates = Link(config, 4).aggregate(np.arange(300), np.ones((300, 1, 1))).estimates
    assert np.ptp(estimates) < 1e-2
    assert abs(estimates.mean() - 1) > 1e-2
