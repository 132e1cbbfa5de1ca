"""Fading with memory against J0 and the complex normal law."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import j0, jv

from phy.channels._jakes import WAVES, JakesFading
from phy.draws import CachedDraws, KeyedDraws

DOPPLER_HZ = 8.0


@pytest.fixture(scope="module")
def fading() -> JakesFading:
    return JakesFading(CachedDraws(KeyedDraws(6)), DOPPLER_HZ)


@pytest.mark.parametrize("start_s", [0.0, 36_000.0])
def test_autocorrelation_is_j0_at_every_lag(fading, start_s):
    lags_s = np.array([0.0, 0.002, 0.01, 0.0479, 0.1, 0.35, 1.0, 4.0, 60.0])
    h = fading.at(start_s + lags_s, 20_000, 1, 1)[:, 0, :, 0]
    measured = (h * h[0].conj()).mean(axis=1)
    assert np.abs(measured - j0(2 * np.pi * DOPPLER_HZ * lags_s)).max() < 4 / np.sqrt(20_000)


def test_given_its_angles_a_device_has_j0_itself_at_short_lags(fading):
    shifts_hz, _ = fading._waves(50, 1, 1)
    x = np.linspace(0, 90, 400)
    rule = np.exp(1j * x[:, None, None] * shifts_hz / DOPPLER_HZ).mean(axis=2)
    error = np.abs(rule - j0(x)[:, None]).max(axis=1)
    assert error[x < WAVES / 2].max() < 1e-8
    # The next term is 2 cos(2 pi u) J_64(x); terms beyond J_128 are negligible here.
    assert (error <= 2 * np.abs(jv(WAVES, x)) + 1e-8).all()
    assert error[x > 60].max() > 0.1


def test_one_instant_is_complex_normal(fading):
    h = fading.at(np.array([123.4]), 20_000, 2, 2).reshape(2, -1, 2)
    assert stats.kstest((np.abs(h) ** 2).ravel(), "expon").pvalue > 1e-3
    assert stats.kstest(np.angle(h).ravel(), stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 1e-3
    columns = h.transpose(0, 2, 1).reshape(4, -1)
    others = columns @ columns.conj().T / columns.shape[1] - np.eye(4)
    assert np.abs(others).max() < 5 / np.sqrt(20_000)


def test_two_instants_are_jointly_normal(fading):
    # Of a sum of few waves with fixed moduli the fourth moments would fall short.
    h = fading.at(np.array([5.0, 5.02]), 50_000, 1, 1)[:, 0, :, 0]
    rho = j0(2 * np.pi * DOPPLER_HZ * 0.02)
    measured = (np.abs(h[0]) ** 2 * np.abs(h[1]) ** 2).mean()
    assert measured == pytest.approx(1 + rho**2, abs=5 * 3 / np.sqrt(50_000))
    innovation = (h[1] - rho * h[0]) / np.sqrt(1 - rho**2)
    assert stats.kstest(np.abs(innovation) ** 2, "expon").pvalue > 1e-3


def test_a_series_is_the_instants_one_by_one(fading):
    starts_s = np.array([0.5, 7200.0])
    series = fading.series(starts_s, 300, 1e4, 3, 2, 4)
    assert series.shape == (2, 2, 3, 4, 300)
    single = fading.at((starts_s[:, None] + np.arange(300) / 1e4).ravel(), 3, 2, 4)
    assert np.allclose(series, np.moveaxis(single.reshape(2, 300, 2, 3, 4), 1, -1), atol=4e-6)


def test_an_instant_is_the_sum_of_waves(fading):
    shifts_hz, amplitudes = fading._waves(4, 2, 3)
    t = 86_400.0
    expected = (amplitudes.astype(np.complex128) * np.exp(2j * np.pi * shifts_hz * t)).sum(axis=-1)
    assert np.allclose(fading.at(np.array([t]), 4, 2, 3)[0], expected.reshape(2, 4, 3), atol=3e-6)
