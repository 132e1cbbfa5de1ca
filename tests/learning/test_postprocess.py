"""Post-processing of released estimates: closed forms against quadrature and simulation, and causality."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.integrate import quad
from scipy.stats import chi, norm

from learning.privacy import postprocess
from learning.privacy.errors import PrivacyError
from learning.privacy.postprocess import RunningWiener, gaussian_mse, joint_clip, wiener

Floats = npt.NDArray[np.float64]
FINITE = st.floats(-1e6, 1e6)


@given(arrays(np.float64, 5, elements=FINITE), arrays(np.float64, 5, elements=st.floats(-1.0, 1.0)))
def test_clip_never_hurts(estimate: Floats, payload: Floats) -> None:
    clipped = postprocess.clip(estimate, 1.0)
    assert (np.abs(clipped) <= 1.0).all()
    assert (np.abs(clipped - payload) <= np.abs(estimate - payload)).all()


@given(arrays(np.float64, (3, 4), elements=FINITE), arrays(np.float64, (3, 4), elements=st.floats(-1.0, 1.0)))
def test_joint_clip_never_hurts_and_keeps_directions(estimate: Floats, payload: Floats) -> None:
    payload = payload / np.maximum(np.linalg.norm(payload, axis=-1, keepdims=True), 1.0)
    clipped = joint_clip(estimate, 1.0)
    norms = np.linalg.norm(clipped, axis=-1)
    assert (norms <= 1.0 + 1e-12).all()
    assert (np.linalg.norm(clipped - payload, axis=-1) <= np.linalg.norm(estimate - payload, axis=-1) + 1e-9).all()
    inside = np.linalg.norm(estimate, axis=-1) <= 1.0 - 1e-12
    np.testing.assert_array_equal(clipped[inside], estimate[inside])
    cosine = (clipped * estimate).sum(axis=-1)
    np.testing.assert_allclose(cosine, norms * np.linalg.norm(estimate, axis=-1), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-200, 1e-3, 1.0, 1e200])
def test_joint_clip_of_any_size(scale: float) -> None:
    clipped = joint_clip(np.array([3.0, 4.0]) * scale, 2.5 * scale)
    np.testing.assert_allclose(clipped / scale, [1.5, 2.0], rtol=1e-14)
    np.testing.assert_array_equal(joint_clip(np.zeros(3), 1.0), np.zeros(3))


def test_wiener_extremes() -> None:
    values = np.array([2.0, -2.0])
    np.testing.assert_array_equal(wiener(values, 0.0, 1.0), values)
    np.testing.assert_array_equal(wiener(values, 1.0, 1.0), values / 2)
    np.testing.assert_array_equal(wiener(values, 0.0, 0.0), values)
    np.testing.assert_array_equal(wiener(np.array([np.inf, 3.0]), math.inf, 1.0), [0.0, 0.0])  # a silent round says nothing
    np.testing.assert_array_equal(wiener(values, np.array([0.0, 3.0]), np.array([1.0, 1.0])), [2.0, -0.5])


# --- closed forms ----------------------------------------------------------------------------------------------------------


def test_mse_without_a_limit() -> None:
    assert gaussian_mse(2.0, 3.0) == pytest.approx(3.0)
    assert gaussian_mse(2.0, 3.0, n=4) == pytest.approx(12.0)
    assert gaussian_mse(2.0, 3.0, gain=2.0 / 5.0) == pytest.approx(2.0 * 3.0 / 5.0)  # Wiener
    assert gaussian_mse(2.0, 3.0, gain=0.7) == pytest.approx(0.3**2 * 2.0 + 0.7**2 * 3.0)
    assert gaussian_mse(0.0, 0.0) == 0.0


@given(st.floats(0.01, 10), st.floats(0.01, 10), st.floats(0.05, 1.0), st.floats(0.05, 20.0))
@settings(max_examples=40, deadline=None)
def test_mse_of_clipping_by_quadrature(signal: float, noise: float, gain: float, limit: float) -> None:
    scale, best = math.sqrt(signal + noise), signal / (signal + noise)

    def integrand(u: float) -> float:
        y = scale * u
        return float((np.clip(gain * y, -limit, limit) - best * y) ** 2 * norm.pdf(u))

    edge = limit / gain / scale
    breaks = sorted({-12.0, 12.0, *(x for x in (-edge, edge) if abs(x) < 12.0)})
    extra = sum(quad(integrand, a, b, epsabs=1e-12)[0] for a, b in pairwise(breaks))
    expected = signal * noise / (signal + noise) + extra
    assert gaussian_mse(signal, noise, gain=gain, limit=limit) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("n", [2, 5, 64])
def test_mse_of_joint_clipping_by_quadrature(n: int) -> None:
    signal, noise, gain, limit = 1.0, 4.0, 0.9, 1.7 * math.sqrt(n)
    scale, best = math.sqrt(signal + noise), signal / (signal + noise)

    def integrand(u: float) -> float:
        return float((min(gain * scale * u, limit) - best * scale * u) ** 2 * chi.pdf(u, n))

    edge = limit / gain / scale
    top = math.sqrt(n) + 12.0
    extra = quad(integrand, 0, edge, epsabs=1e-12)[0] + quad(integrand, edge, top, epsabs=1e-12)[0]
    expected = n * signal * noise / (signal + noise) + extra
    assert gaussian_mse(signal, noise, gain=gain, limit=limit, n=n) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize(("n", "limit"), [(1, 1.5), (4, 2.5)])
def test_mse_by_simulation(n: int, limit: float) -> None:
    rng = np.random.default_rng(5)
    p = rng.normal(size=(200_000, n))
    y = p + 3.0 * rng.normal(size=p.shape)
    processed = postprocess.clip(y, limit) if n == 1 else joint_clip(y, limit)
    error = np.square(processed - p).sum(axis=1)
    expected = gaussian_mse(1.0, 9.0, limit=limit, n=n)
    assert abs(error.mean() - expected) < 5 * error.std() / math.sqrt(len(error))
    shrunk = np.square(wiener(y, 9.0, 1.0) - p).sum(axis=1)
    assert abs(shrunk.mean() - 0.9 * n) < 5 * shrunk.std() / math.sqrt(len(shrunk))


def test_what_shrinking_saves_at_the_papers_noise() -> None:
    """Noise of standard deviation 2403 around a payload of at most 100: clipping saves 27 dB, Wiener 33 dB."""
    power = 50.0**2
    plain = gaussian_mse(power, 2403.0**2)
    assert 10 * math.log10(plain / gaussian_mse(power, 2403.0**2, limit=100.0)) == pytest.approx(26.8, abs=0.3)
    gain = power / (power + 2403.0**2)
    assert 10 * math.log10(plain / gaussian_mse(power, 2403.0**2, gain=gain)) == pytest.approx(33.6, abs=0.1)


# --- the running filter ----------------------------------------------------------------------------------------------------


def run(values: Floats, noise: Floats, **options: float) -> tuple[Floats, RunningWiener]:
    filter_ = RunningWiener(prior_power=100.0, **options)
    return np.array([filter_.apply(v, float(n)) for v, n in zip(values, noise, strict=True)]), filter_


def test_the_gain_is_fixed_before_the_output_is_heard() -> None:
    rng = np.random.default_rng(0)
    values, noise = rng.normal(size=(30, 2)), rng.uniform(0.1, 5.0, 30)
    first, _ = run(values, noise)
    changed = values.copy()
    changed[20:] *= 7.0
    second, _ = run(changed, noise)
    np.testing.assert_array_equal(first[:20], second[:20])
    np.testing.assert_allclose(second[20], 7.0 * first[20], rtol=1e-12)


def test_it_learns_the_power_through_uneven_noise() -> None:
    rng = np.random.default_rng(1)
    rounds, power = 20_000, 4.0
    noise = 10.0 ** rng.uniform(-1, 3, rounds)
    payload = math.sqrt(power) * rng.normal(size=rounds)
    estimate = payload + np.sqrt(noise) * rng.normal(size=rounds)
    shrunk, filter_ = run(estimate[:, None], noise, memory=1.0)
    assert filter_.signal_power == pytest.approx(power, rel=0.1)
    error = np.square(shrunk[2000:, 0] - payload[2000:]).mean()
    best = np.mean(power * noise[2000:] / (power + noise[2000:]))
    assert error == pytest.approx(best, rel=0.05)
    assert error < 0.1 * noise[2000:].mean()


def test_it_follows_a_change() -> None:
    values = np.concatenate([np.full(200, 8.0), np.full(200, 0.5)])[:, None]
    _, filter_ = run(values, np.zeros(400), memory=0.9)
    # window of 10 rounds beside a prior of 1 round at 100
    assert filter_.signal_power == pytest.approx((100.0 + 10 * 0.25) / 11, rel=0.01)


def test_pure_noise_is_shrunk_to_almost_nothing() -> None:
    rng = np.random.default_rng(2)
    values = 10.0 * rng.normal(size=(5000, 1))
    shrunk, _ = run(values, np.full(5000, 100.0), memory=1.0)
    assert np.square(shrunk[1000:]).mean() < 1.0
    floored, _ = run(values, np.full(5000, 100.0), memory=1.0, floor=0.5)
    assert (np.abs(floored) >= 0.5 * np.abs(values) - 1e-12).all()


def test_state_resumes_bit_for_bit_and_lost_rounds_are_no_news() -> None:
    rng = np.random.default_rng(3)
    values, noise = rng.normal(size=(20, 1)), rng.uniform(0.0, 2.0, 20)
    whole, _ = run(values, noise)
    _, first = run(values[:10], noise[:10])
    lost = RunningWiener(prior_power=100.0)
    lost.restore(first.state())
    rest = [lost.apply(v, float(n)) for v, n in zip(values[10:], noise[10:], strict=True)]
    np.testing.assert_array_equal(whole[10:], rest)
    before = lost.signal_power
    assert np.isnan(lost.apply(np.array([np.nan]), 1.0)).all()
    np.testing.assert_array_equal(lost.apply(np.array([5.0]), math.inf), [0.0])
    assert math.isfinite(lost.signal_power)
    assert lost.signal_power >= before  # only the memory faded, towards the prior


def test_refusals() -> None:
    for limit in (0.0, math.nan):
        with pytest.raises(PrivacyError, match="clip is"):
            postprocess.clip(np.ones(1), limit)
        with pytest.raises(PrivacyError, match="clip is"):
            joint_clip(np.ones(1), limit)
    with pytest.raises(PrivacyError, match="prior_power is 0"):
        RunningWiener(0.0)
    with pytest.raises(PrivacyError, match="memory must lie"):
        RunningWiener(1.0, memory=1.5)
    with pytest.raises(PrivacyError, match="noise variance is -1"):
        RunningWiener(1.0).apply(np.ones(1), -1.0)
    with pytest.raises(PrivacyError, match="no state"):
        RunningWiener(1.0).restore({"sum": math.nan, "weight": 1.0})
    with pytest.raises(PrivacyError, match="must be positive"):
        gaussian_mse(1.0, 1.0, limit=0.0)
