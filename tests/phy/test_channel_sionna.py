"""Sionna models as our channels, our channels as Sionna models, and both ways of applying them."""

from typing import Any

import numpy as np
import pytest
import torch
from sionna.phy import config as sionna_config
from sionna.phy.channel import (
    ApplyTimeChannel,
    ChannelModel,
    RayleighBlockFading,
    TimeChannel,
    cir_to_time_channel,
)
from sionna.phy.channel.tr38901 import TDL
from sionna.phy.signal import RootRaisedCosineFilter

from phy.channel import Channel
from phy.channels._as_sionna import KeyedChannelModel
from phy.config import LinkConfig
from phy.draws import CachedDraws, KeyedDraws
from phy.errors import PhyError


def make(channel: dict[str, Any], seed: int = 3, **link: Any) -> Channel:
    config = LinkConfig.model_validate({"fidelity": "waveform", "channel": channel, **link})
    return Channel(config, CachedDraws(KeyedDraws(seed)))


def named(name: str, **link: Any) -> Channel:
    return make({"model": f"{__name__}:{name}"}, **link)


class FiveUsers(RayleighBlockFading):
    def __init__(self) -> None:
        super().__init__(1, 2, 5, 1, device="cpu")


def single_link() -> TDL:
    return TDL("A", 1e-7, 3.5e9, min_speed=10.0, num_rx_ant=2, device="cpu")


class Fixed(ChannelModel):
    """Returns what its subclass says."""

    a = torch.ones(1, 1, 2, 5, 1, 1, 1, dtype=torch.complex64)
    tau = torch.zeros(1, 1, 5, 1)

    def __init__(self) -> None:
        super().__init__(precision="single", device="cpu")

    def __call__(self, batch_size, num_time_steps, sampling_frequency):
        return self.a.expand(*self.a.shape[:-1], num_time_steps), self.tau


class NotANumber(Fixed):
    a = torch.full((1, 1, 2, 5, 1, 1, 1), torch.nan, dtype=torch.complex64)


class Early(Fixed):
    tau = torch.full((1, 1, 5, 1), -3e-7)


class Misshapen(Fixed):
    tau = torch.zeros(1, 5, 1)


class Failing(Fixed):
    def __call__(self, batch_size, num_time_steps, sampling_frequency):
        raise RuntimeError("set a topology first")


class Needy(Fixed):
    def __init__(self, carrier_hz: float) -> None:
        super().__init__()


class Stated(Fixed):
    max_delay_s = 4e-6


class GlobalDraws(Fixed):
    """Draws from torch's, numpy's and Python's generators as models may, one way or another."""

    def __call__(self, batch_size, num_time_steps, sampling_frequency):
        a = torch.randn(1, 1, 2, 5, 1, 1, 1, dtype=torch.complex64)
        return (a * self.np_rng.normal() * self.py_rng.random()).expand(*a.shape[:-1], num_time_steps), self.tau


def unrelated() -> dict[str, int]:
    return {}


NOT_CALLABLE = 3


@pytest.mark.parametrize("name", ["FiveUsers", "single_link", "GlobalDraws"])
def test_a_sionna_model_becomes_a_pure_function_of_seed_and_round(name):
    channel = named(name)
    a, tau_s = channel.paths(5, 126, 4, 2, 3, 1e4)
    assert a.shape == (4, 2, 5, tau_s.shape[-1], 3)
    assert np.array_equal(a, named(name).paths(5, 126, 4, 2, 3, 1e4)[0])
    assert np.array_equal(a, np.concatenate([channel.paths(5, r, 1, 2, 3, 1e4)[0] for r in range(126, 130)]))
    assert not np.array_equal(a[0], a[1])
    assert not np.array_equal(a, named(name, seed=4).paths(5, 126, 4, 2, 3, 1e4)[0])


def test_the_process_wide_generators_are_left_as_they_were():
    def states() -> list[Any]:
        generators = [sionna_config.torch_rng("cpu"), torch.default_generator]
        own = [str(sionna_config.np_rng.bit_generator.state), sionna_config.py_rng.getstate(), sionna_config.seed]
        return [g.get_state().tolist() for g in generators] + own

    before = states()
    named("GlobalDraws").paths(5, 0, 3, 2)
    with pytest.raises(PhyError):
        named("Failing").paths(5, 0, 3, 2)
    assert states() == before


def test_links_of_a_single_link_model_are_independent_and_keep_its_statistics():
    a, tau_s = named("single_link").paths(2000, 0, 2, 2)
    model = single_link()
    assert np.allclose(tau_s, model.delays.numpy(), rtol=1e-5)
    assert np.allclose((np.abs(a) ** 2).mean(axis=(0, 1, 2, 4)), model.mean_powers.numpy(), rtol=0.06)
    taps = a[..., 0, 0].reshape(4, -1) / np.sqrt(float(model.mean_powers[0]))
    others = taps @ taps.conj().T / 2000 - np.diag((np.abs(taps) ** 2).mean(axis=1))
    assert np.abs(others).max() < 5 / np.sqrt(2000)


def test_a_flat_sionna_model_is_recognised():
    channel = named("FiveUsers")
    assert channel.flat
    assert np.array_equal(channel.gains(5, 3, 2, 2), channel.paths(5, 3, 2, 2)[0][..., 0, 0])
    assert not named("single_link").flat


def test_the_largest_delay_is_stated_or_looked_for():
    assert named("single_link").max_delay_s(4) == pytest.approx(9.6586e-7, rel=1e-4)  # the last tap of TDL-A
    assert named("Stated").max_delay_s(4) == 4e-6


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("NotANumber", "returned a coefficient that is not finite"),
        ("Early", r"delays \[s\] of channel model .* must be finite and not negative, got -3e-07"),
        ("Misshapen", r"must return a \[batch=1, .* got \(1, 1, 2, 5, 1, 1, 1\) and \(1, 5, 1\)"),
        ("Failing", "failed in round 0: set a topology first"),
        ("Needy", "cannot be made without arguments"),
        ("unrelated", "neither a part nor a Sionna ChannelModel, but gives a dict"),
        ("NOT_CALLABLE", "neither a part nor a Sionna ChannelModel"),
    ],
)
def test_bad_models_are_refused_in_one_sentence(name, message):
    with pytest.raises(PhyError, match=message):
        named(name).paths(5, 0, 1, 2)


def test_models_that_do_not_fit_the_link_are_refused():
    with pytest.raises(PhyError, match="has 5 transmitters and the link 6 devices; give it num_tx=6"):
        named("FiveUsers").paths(6, 0, 1, 2)
    with pytest.raises(PhyError, match="has 2 receive antennas and the link 1"):
        named("FiveUsers").paths(5, 0, 1, 1)
    for setting in ({"doppler_hz": 5.0}, {"antenna_correlation": 0.5}):
        with pytest.raises(PhyError, match=f"channel.{next(iter(setting))} does not reach"):
            make({"model": f"{__name__}:FiveUsers", **setting})


@pytest.mark.parametrize(
    "settings",
    [
        {"model": "rayleigh", "antenna_correlation": 0.5},
        {"model": "awgn", "placement": {"law": "disc"}},
        {"model": "tdl", "tdl": "D", "placement": {"law": "disc"}},
        {"model": "tdl", "doppler_hz": 2e3, "variation": "block"},
        {"model": "tdl", "doppler_hz": 2e3, "variation": "sample", "antenna_correlation": 0.5},
    ],
)
def test_our_channels_run_in_sionnas_time_channel(settings):
    channel = make(settings)
    bandwidth_hz, samples, l_min, l_max, first = 1e7, 40, -6, 16, 126
    model = KeyedChannelModel(channel, num_rx_ant=2, num_tx=3, first_round=first)
    air = TimeChannel(model, bandwidth_hz, samples, l_min=l_min, l_max=l_max, precision="single", device="cpu")
    x = np.random.default_rng(0).normal(size=(4, 3, samples)).astype(np.complex64)
    y = air(torch.from_numpy(x[:, :, None])).numpy()[:, 0]

    taps = l_max - l_min + 1
    steps = samples + taps - 1
    a, tau_s = channel.paths(3, first, 4, 2, steps if channel.moves else 1, bandwidth_hz)
    a = np.broadcast_to(a, (*a.shape[:-1], steps))
    sinc = np.sinc(np.arange(l_min, l_max + 1) - bandwidth_hz * tau_s[..., None])
    response = np.einsum("bmkpt,bkpl->bmktl", a, sinc)
    expected = np.zeros((4, 2, steps), complex)
    for i in range(steps):
        for tap in range(max(0, i - samples + 1), min(taps, i + 1)):
            expected[:, :, i] += (response[:, :, :, i, tap] * x[:, None, :, i - tap]).sum(axis=2)
    assert y.shape == expected.shape
    assert np.allclose(y, expected, atol=1e-5 * np.abs(expected).max() + 1e-6)


def test_a_keyed_model_has_sionnas_shapes():
    a, tau = KeyedChannelModel(make({"model": "tdl", "tdl": "D"}), num_rx_ant=2, num_tx=5)(4, 3, 1e6)
    assert a.shape == (4, 1, 2, 5, 1, 13, 3)
    assert a.dtype == torch.complex64
    assert tau.shape == (4, 1, 5, 13)
    assert tau.dtype == torch.float32


def test_a_spectrum_of_delays_is_what_long_tap_filters_approach():
    """sum_p a_p exp(-j 2 pi f tau_p) on the spectrum against Sionna's truncated sinc taps.

    On a root raised cosine burst (roll-off 0.35) at 4 samples per symbol the difference falls with the taps on either side:
    -33 dB at 6 (Sionna's default), -46 dB at 32, -56 dB at 128 and -68 dB at 512. It is theirs: the spectrum cuts nothing off.
    """
    rate_hz, samples = 1e7, 4096
    a, tau_s = make({"model": "tdl", "tdl": "C", "delay_spread_s": 2e-7}).paths(3, 5, 1, 2)
    pulse = RootRaisedCosineFilter(32, 4, 0.35, precision="double", device="cpu").coefficients.numpy()
    x = np.zeros((3, samples))
    symbols = np.random.default_rng(1).choice([-1.0, 1.0], (3, 64))
    for k in range(3):
        x[k, 1900 : 1900 + 64 * 4 : 4] = symbols[k]
        x[k] = np.convolve(x[k], pulse, "same")
    f = np.fft.fftfreq(samples, 1 / rate_hz)
    response = np.einsum("mkp,kpf->mkf", a[0, ..., 0], np.exp(-2j * np.pi * tau_s[0, :, :, None] * f))
    ours = np.fft.ifft((response * np.fft.fft(x)).sum(axis=1))

    errors_db = []
    for reach in (6, 32, 128, 512):
        l_min, l_max = -reach, int(np.ceil(tau_s.max() * rate_hz)) + reach
        taps = cir_to_time_channel(
            rate_hz,
            torch.from_numpy(a).to(torch.complex128)[:, None, :, :, None],
            torch.from_numpy(tau_s)[:, None],
            l_min,
            l_max,
        )
        apply = ApplyTimeChannel(samples, l_max - l_min + 1, precision="double", device="cpu")
        theirs = apply(torch.from_numpy(x)[None, :, None].to(torch.complex128), taps).numpy()[0, 0, :, reach : reach + samples]
        errors_db.append(10 * np.log10((np.abs(ours - theirs) ** 2).sum() / (np.abs(ours) ** 2).sum()))
    assert errors_db == pytest.approx([-33, -46, -56, -68], abs=1)
