import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import binom, ncx2

from learning.privacy.errors import PrivacyError
from learning.privacy.gain_bound import (
    GainLaw,
    charge_realised,
    charge_tail,
    choose_g_max,
    gain_law,
    realised_mu,
    tail_failure,
)
from learning.privacy.release import Release, gaussian_mu

LAWS = [("ls", 0.05, 1.0), ("mmse", 0.05, 1.0), ("ls", 0.1, 0.97), ("mmse", 0.01, 0.9)]


@pytest.mark.parametrize(("estimator", "variance", "correlation"), LAWS)
@pytest.mark.parametrize("threshold", [0.0, 0.1])
def test_tail_against_simulated_channels(estimator: str, variance: float, correlation: float, threshold: float) -> None:
    rng = np.random.default_rng(7)
    n = 300_000

    def normal():
        return (rng.normal(size=n) + 1j * rng.normal(size=n)) / math.sqrt(2)

    pilot = normal()
    now = correlation * pilot + math.sqrt(1 - correlation**2) * normal()
    estimate = pilot + math.sqrt(variance) * normal()
    if estimator == "mmse":
        estimate /= 1 + variance
    law = gain_law(estimator, variance, correlation)
    active = np.abs(estimate) ** 2 >= threshold
    assert active.mean() == pytest.approx(law.active(threshold), abs=5e-3)
    for g_max in (1.1, 1.5, 2.5):
        p = law.exceeds(g_max, threshold)
        count = int((np.abs(now / estimate)[active] > g_max).sum())
        trials = int(active.sum())
        assert binom.cdf(count, trials, p) > 1e-5
        assert binom.sf(count - 1, trials, p) > 1e-5


@pytest.mark.parametrize(("estimator", "variance", "correlation"), LAWS)
@pytest.mark.parametrize("g_max", [1.05, 1.5, 3.0])
def test_tail_against_quadrature_of_the_noncentral_chi_square(estimator, variance, correlation, g_max: float) -> None:
    law, threshold = gain_law(estimator, variance, correlation), 0.1

    def integrand(x: float) -> float:
        scale = 2 * x / law.e2
        return ncx2.sf(g_max**2 * scale, 2, law.beta**2 * scale) * math.exp(-(x - threshold) / law.variance) / law.variance

    truth = quad(integrand, threshold, 1.0, epsabs=0, epsrel=1e-10, limit=200)[0] + quad(integrand, 1.0, 40.0, epsrel=1e-10)[0]
    p = law.exceeds(g_max, threshold)
    assert p == pytest.approx(truth, rel=1e-6)
    assert p >= truth * (1 - 1e-8)


@settings(deadline=None, max_examples=100)
@given(st.floats(0.1, 3), st.floats(0, 1), st.floats(-4, 1).map(lambda x: 10.0**x), st.floats(1.01, 20))
def test_tail_without_threshold_is_that_of_a_quadratic_form(variance: float, beta: float, e2: float, g_max: float) -> None:
    """|h|^2 - G^2 |h'|^2 has one positive and one negative eigenvalue; it is positive with probability l+ / (l+ - l-)."""
    power = beta**2 * variance + e2
    mean, root = power - g_max**2 * variance, 0.0
    root = math.sqrt(mean**2 + 4 * g_max**2 * variance * e2)
    positive = 2 * g_max**2 * variance * e2 / (root - mean) if mean < 0 else (mean + root) / 2
    assert GainLaw(variance, beta, e2).exceeds(g_max) == pytest.approx(positive / root, rel=1e-8)


def test_no_error_no_tail_and_perfect_estimates() -> None:
    assert gain_law("mmse", 0.0).exceeds(1.01) == 0.0
    assert choose_g_max(gain_law("mmse", 0.0), 8000, 1e-6) == pytest.approx(1.0)


def test_deep_tails_have_no_cancellation() -> None:
    law = gain_law("mmse", 0.05)
    assert 1e-50 < law.exceeds(8.0, 0.1) < 1e-48


def test_failure_over_rounds() -> None:
    law = gain_law("ls", 0.05)
    p = law.exceeds(2.0, 0.1) * law.active(0.1)
    assert tail_failure(law, 2.0, 100, 0.1) == pytest.approx(100 * p)
    assert tail_failure(law, 2.0, 100, 0.1, independent=True) == pytest.approx(1 - (1 - p) ** 100)
    assert tail_failure(law, 1.01, 10**6, 0.1) == 1.0


@pytest.mark.parametrize(("estimator", "variance"), [("ls", 0.05), ("mmse", 1e-4), ("mmse", 1e-8)])
@pytest.mark.parametrize("independent", [True, False])
def test_chosen_bound_keeps_the_failure_and_is_tight(estimator: str, variance: float, independent: bool) -> None:
    law = gain_law(estimator, variance)
    g_max = choose_g_max(law, 8000, 1e-6, 0.1, independent=independent)
    assert tail_failure(law, g_max, 8000, 0.1, independent=independent) <= 1e-6
    assert tail_failure(law, g_max * (1 - 1e-5), 8000, 0.1, independent=independent) > 1e-6


def test_tail_charge_covers_every_realised_round_below_the_bound() -> None:
    rng = np.random.default_rng(1)
    rounds, devices, g_max = 500, 5, 1.5
    gains = g_max * np.sqrt(rng.random((rounds, devices))) * np.exp(2j * np.pi * rng.random((rounds, devices)))
    amplitude = rng.random(rounds)
    for art in (0.0, 0.3, 3.0):
        realised = realised_mu(amplitude, gains, 0.01, 2.0, artificial_std=art)
        tail = charge_tail(
            amplitude, 0.01, 2.0, gain_law("mmse", 0.05), g_max, Release(np.zeros(rounds)), threshold=0.1, artificial_std=art
        )
        assert np.all(realised <= tail.mu * (1 + 1e-12))
    assert tail.csi == "tail"
    assert tail.extra_delta == pytest.approx(tail_failure(gain_law("mmse", 0.05), g_max, rounds, 0.1))


def test_realised_gains_of_one_are_the_aligned_release() -> None:
    gains = np.ones((3, 4), complex)
    amplitude = [0.2, 0.0, 0.9]
    mine = realised_mu(amplitude, gains, 0.1, 2.0, artificial_std=0.5)
    np.testing.assert_allclose(mine, gaussian_mu(amplitude, 0.1, 2.0, artificial_std=0.5, active=4), rtol=1e-12)
    release = charge_realised(amplitude, 1.7 * gains, 0.1, 2.0, Release(np.zeros(3), csi="unbounded"))
    np.testing.assert_allclose(release.mu, 1.7 * gaussian_mu(amplitude, 0.1, 2.0), rtol=1e-12)
    assert release.csi == "realised"


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(0, 1000), st.floats(0, 2), st.floats(1e-3, 1))
def test_realised_mu_is_the_distance_of_two_gaussians_of_the_plane(devices: int, seed: int, art: float, n0: float) -> None:
    rng = np.random.default_rng(seed)
    g = rng.normal(size=devices) + 1j * rng.normal(size=devices)
    a, ratio = 0.7, 2.0
    vectors = np.stack((g.real, g.imag))
    covariance = n0 / 2 * np.eye(2) + (a * art) ** 2 * vectors @ vectors.T
    shifts = ratio * a * vectors
    truth = math.sqrt(max(shifts[:, k] @ np.linalg.solve(covariance, shifts[:, k]) for k in range(devices)))
    assert realised_mu([a], g[None], n0, ratio, artificial_std=art)[0] == pytest.approx(truth, rel=1e-8)


def test_a_phase_error_does_not_hide_behind_artificial_noise_of_others() -> None:
    gains = np.array([[1j, 1.0, 1.0, 1.0]])
    turned = realised_mu([1.0], gains, 1e-3, 2.0, artificial_std=0.5)[0]
    assert turned > realised_mu([1.0], np.ones((1, 4)), 1e-3, 2.0, artificial_std=0.5)[0] * 1.9


def test_silence_and_no_noise() -> None:
    assert realised_mu([1.0, 0.0], np.array([[0j], [1.0 + 0j]]), 0.1, 2.0).tolist() == [0.0, 0.0]
    assert realised_mu([1.0], np.array([[1.0 + 0j]]), 0.0, 2.0).tolist() == [math.inf]


@pytest.mark.parametrize("call", [
    lambda: gain_law("perfect", 0.1), lambda: gain_law("ls", -1.0), lambda: gain_law("ls", 0.1, 1.5),
    lambda: gain_law("mmse", 0.1).exceeds(1.0), lambda: gain_law("mmse", 0.1).exceeds(2.0, -1.0),
    lambda: choose_g_max(gain_law("ls", 0.1), 10, 0.0), lambda: tail_failure(gain_law("ls", 0.1), 2.0, -1),
    lambda: realised_mu([1.0], np.array([[math.nan]]), 0.1, 2.0), lambda: GainLaw(0.0, 1.0, 0.1),
])  # fmt: skip
def test_bad_input(call) -> None:
    with pytest.raises(PrivacyError):
        call()
