"""Keyed tapped delay lines against Sionna's own TDL and the closed forms of their processes."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import j0
from sionna.phy import SPEED_OF_LIGHT
from sionna.phy.channel.tr38901 import TDL

from phy.channel import Channel
from phy.channels._profile import tdl_profile
from phy.config import LinkConfig
from phy.draws import CachedDraws, KeyedDraws
from phy.runtimes.torch import seeded as _seeded

CARRIER_HZ = 3.5e9
DOPPLER_HZ = 40.0
DEVICES = 2000


def ours(letter: str, **channel: Any) -> Channel:
    settings = {"model": "tdl", "tdl": letter, "delay_spread_s": 3e-7, **channel}
    config = LinkConfig.model_validate({"fidelity": "waveform", "channel": settings})
    return Channel(config, CachedDraws(KeyedDraws(11)))


def sionnas(letter: str, steps: int, rate_hz: float) -> np.ndarray:
    speed = DOPPLER_HZ * SPEED_OF_LIGHT / CARRIER_HZ
    with _seeded(5):
        model = TDL(letter, 3e-7, CARRIER_HZ, min_speed=speed, device="cpu", precision="single")
        a, _ = model(DEVICES, steps, rate_hz)
    return a[:, 0, 0, 0, 0].numpy()


@pytest.mark.parametrize("letter", "ABCDE")
def test_the_profile_is_sionnas_and_has_unit_energy(letter):
    profile = tdl_profile(letter, 3e-7)
    model = TDL(letter, 3e-7, CARRIER_HZ, device="cpu", precision="double")
    total = profile.powers.copy()
    total[0] += profile.los_power
    assert total.sum() == pytest.approx(1, abs=1e-12)
    assert np.allclose(total, model.mean_powers.numpy(), rtol=1e-12)
    assert np.allclose(profile.delays_s, model.delays.numpy(), rtol=1e-12)
    spread_s = np.sqrt((total * profile.delays_s**2).sum() - (total * profile.delays_s).sum() ** 2)
    assert spread_s == pytest.approx(3e-7, rel=0.02)
    # TR 38.901, tables 7.7.2-4 and 7.7.2-5: 13.3 dB and 22 dB.
    k_factor_db = {"D": 13.3, "E": 22.0}.get(letter)
    if k_factor_db is None:
        assert profile.los_power == 0
    else:
        assert 10 * np.log10(profile.los_power / profile.powers[0]) == pytest.approx(k_factor_db, abs=0.05)


@pytest.mark.parametrize("doppler_hz", [0.0, DOPPLER_HZ])
@pytest.mark.parametrize("letter", "AD")
def test_powers_per_tap_are_those_of_sionnas_draws(letter, doppler_hz):
    a, _ = ours(letter, doppler_hz=doppler_hz).paths(DEVICES, 7, 1, 1)
    power = (np.abs(a[0, 0, :, :, 0]) ** 2).mean(axis=0)
    profile = tdl_profile(letter, 3e-7)
    expected = profile.powers.copy()
    expected[0] += profile.los_power
    theirs = (np.abs(sionnas(letter, 1, 1e3)[..., 0]) ** 2).mean(axis=0)
    assert np.allclose(power, expected, rtol=4.5 / np.sqrt(DEVICES))
    assert np.allclose(power, theirs, rtol=6.5 / np.sqrt(DEVICES))


@pytest.mark.parametrize("letter", "CE")
def test_doppler_of_every_tap_is_that_of_sionnas_draws(letter):
    steps, rate_hz = 9, 400.0
    a, _ = ours(letter, doppler_hz=DOPPLER_HZ, variation="sample").paths(DEVICES, 7, 1, 1, steps, rate_hz)
    lags_s = np.arange(steps) / rate_hz
    profile = tdl_profile(letter, 3e-7)
    expected = profile.powers[:, None] * j0(2 * np.pi * DOPPLER_HZ * lags_s)
    expected = expected.astype(complex)
    expected[0] += profile.los_power * np.exp(2j * np.pi * 0.7 * DOPPLER_HZ * lags_s)
    scale = expected[:, :1].real
    for drawn in (a[0, 0], sionnas(letter, steps, rate_hz)):
        measured = (drawn * drawn[..., :1].conj()).mean(axis=0)
        assert (np.abs(measured - expected) / scale).max() < 5 / np.sqrt(DEVICES)


@pytest.mark.parametrize("doppler_hz", [0.0, DOPPLER_HZ])
@pytest.mark.parametrize("letter", "DE")
def test_the_first_tap_is_rician(letter, doppler_hz):
    profile = tdl_profile(letter, 3e-7)
    k = profile.los_power / profile.powers[0]
    variance = (1 + 2 * k) / (1 + k) ** 2  # of |h|^2 / E|h|^2
    a, _ = ours(letter, doppler_hz=doppler_hz).paths(DEVICES, 7, 1, 1)
    for first in (a[0, 0, :, 0, 0], sionnas(letter, 1, 1e3)[:, 0, 0]):
        energy = np.abs(first) ** 2
        assert energy.var() / energy.mean() ** 2 == pytest.approx(variance, rel=6 / np.sqrt(DEVICES))
        assert abs(first.mean()) < 4 / np.sqrt(DEVICES)  # the line of sight has a uniform phase


def test_rounds_fade_independently_without_doppler_and_follow_j0_with():
    lag_s = 0.003
    for letter in "AD":
        still = ours(letter, round_duration_s=lag_s).paths(DEVICES, 0, 2, 1)[0][:, 0, :, :, 0]
        moving = ours(letter, round_duration_s=lag_s, doppler_hz=DOPPLER_HZ).paths(DEVICES, 0, 2, 1)[0][:, 0, :, :, 0]
        power = (np.abs(moving[0]) ** 2).mean(axis=0)
        assert (np.abs((still[1] * still[0].conj()).mean(axis=0)) / power).max() < 5 / np.sqrt(DEVICES)
        memory = (moving[1] * moving[0].conj()).mean(axis=0)[1:] / power[1:]
        assert np.abs(memory - j0(2 * np.pi * DOPPLER_HZ * lag_s)).max() < 5 / np.sqrt(DEVICES)


def test_reading_a_profile_draws_nothing():
    before = torch.default_generator.get_state()
    tdl_profile("A", 1e-7)
    assert torch.equal(before, torch.default_generator.get_state())
