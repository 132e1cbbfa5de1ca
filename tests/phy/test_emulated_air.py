"""The emulated air against explicit loops over devices, paths, samples and spectral lines."""

import cmath

import numpy as np
import pytest
from pydantic import ValidationError

from phy.ambiguity import BurstPulse
from phy.channel import Channel
from phy.config import LinkConfig
from phy.draws import CachedDraws, KeyedDraws
from phy.link import Link
from phy.offsets import OffsetDraws
from phy.propagation import Propagation
from phy.waveform_airs.emulated import Part

RATE = 1e6
COUNT = 96
REFERENCE = 30


def config(**link: object) -> LinkConfig:
    offsets = {
        "timing_s": {"law": "uniform", "value": 6e-6},
        "phase_rad": {"law": "uniform", "value": 3.0},
        "frequency_hz": {"law": "uniform", "value": 3e3},
    }
    return LinkConfig.model_validate({"fidelity": "waveform", "snr_max_db": 10.0, "offsets": offsets, **link})


def make(setting: LinkConfig, seed: int = 3) -> tuple[Part, Propagation, KeyedDraws]:
    draws = KeyedDraws(seed)
    cached = CachedDraws(draws)
    propagation = Propagation(setting, cached, BurstPulse(setting.burst))
    return Part(setting, draws, cached, propagation), propagation, draws


def slot(devices: int, seed: int = 0) -> np.ndarray:
    """Band-limited bursts (a quarter of the band) with silence at both ends."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((devices, COUNT)) + 1j * rng.standard_normal((devices, COUNT))
    spectrum = np.fft.fft(x)
    spectrum[:, COUNT // 8 : -COUNT // 8] = 0
    return np.fft.ifft(spectrum).astype(np.complex64)


def by_loops(x: np.ndarray, paths: np.ndarray, delays: np.ndarray, offsets: object, age_s: float = 0.0) -> np.ndarray:
    """y_m[n] = sum_k sum_p a_mkp[n] (x_k turned by its carrier)(n - (tau_k + tau_kp) f_s), one number at a time."""
    antennas, devices, count_paths, steps = paths.shape
    y = np.zeros((antennas, COUNT), complex)
    for k in range(devices):
        tau, f, phi = offsets.timing_s[0, k], offsets.frequency_hz[0, k], offsets.phase_rad[0, k]
        turned = [
            x[k, n] * cmath.exp(1j * (phi + 2 * np.pi * f * ((n - REFERENCE) / RATE + tau + age_s))) for n in range(COUNT)
        ]
        lines = [
            sum(turned[n] * cmath.exp(-2j * np.pi * m * n / COUNT) for n in range(COUNT)) / COUNT
            for m in range(-COUNT // 2, COUNT // 2)
        ]
        for p in range(count_paths):
            late = (tau + delays[k, p]) * RATE
            for n in range(COUNT):
                value = sum(
                    line * cmath.exp(2j * np.pi * m * (n - late) / COUNT)
                    for m, line in zip(range(-COUNT // 2, COUNT // 2), lines, strict=True)
                )
                for antenna in range(antennas):
                    y[antenna, n] += paths[antenna, k, p, n if steps > 1 else 0] * value
    return y


@pytest.mark.parametrize("channel", [
    {"model": "rayleigh"},
    {"model": "tdl", "tdl": "E", "delay_spread_s": 1e-6},
    {"model": "tdl", "tdl": "A", "delay_spread_s": 1e-6, "doppler_hz": 500.0, "variation": "sample"},
], ids=["flat", "tdl", "tdl-by-sample"])  # fmt: skip
def test_the_vectorised_air_is_the_double_loop(channel):
    setting = config(channel=channel, receive_antennas=2, csi={"age_s": 1e-4})
    air, propagation, draws = make(setting)
    x = slot(3)
    round_index = 11
    sounded = propagation.sounded(3, round_index, 1)[0]
    received = air.transmit(x, round_index, sounded, REFERENCE)
    noise = np.sqrt(setting.n0) * draws.long_complex_normal("noise", round_index, 2, COUNT)
    steps = COUNT if channel.get("variation") == "sample" else 1
    start_s = -REFERENCE / RATE if steps > 1 else 0.0
    paths, delays = Channel(setting, CachedDraws(KeyedDraws(3))).paths(3, round_index, 1, 2, steps, RATE, start_s)
    if channel["model"] == "rayleigh":
        assert np.array_equal(paths[0, :, :, 0, 0], sounded)
    offsets = OffsetDraws(setting, KeyedDraws(3)).draw(3, round_index, 1)
    expected = by_loops(x, paths[0], delays[0], offsets, age_s=1e-4)
    assert np.abs(received - noise - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("channel", [{"model": "rayleigh"}, {"model": "tdl", "tdl": "C", "delay_spread_s": 1e-6}])
def test_energy_is_conserved_on_average(channel):
    air, propagation, _ = make(config(channel=channel, snr_max_db=200.0))
    x = slot(1)
    energies = []
    for round_index in range(600):
        y = air.transmit(x, round_index, propagation.sounded(1, round_index, 1)[0], REFERENCE)
        energies.append((np.abs(y) ** 2).sum())
    sent = (np.abs(x) ** 2).sum()
    assert np.mean(energies) == pytest.approx(sent, abs=4 * np.std(energies) / np.sqrt(len(energies)))


def test_devices_add_up():
    """Superposition: the air of all is the sum of the airs of each, noise aside."""
    setting = config(snr_max_db=200.0, channel={"model": "tdl"})
    x = slot(4)
    air, propagation, _ = make(setting)
    sounded = propagation.sounded(4, 0, 1)[0]
    alone = sum(air.transmit(np.where(np.arange(4)[:, None] == k, x, 0), 0, sounded, REFERENCE) for k in range(4))
    assert np.abs(alone - air.transmit(x, 0, sounded, REFERENCE)).max() < 1e-5


def test_every_hardware_fault_runs_in_a_link_and_moves_its_estimates():
    faults = {
        "iq_imbalance": {"gain_db": {"law": "normal", "value": 1.0}, "phase_rad": {"law": "normal", "value": 0.1}},
        "power_amplifier": {"back_off_db": 3.0},
        "phase_noise": {"linewidth_hz": 200.0},
        "converter": {"bits": 6},
    }
    shared = {"fidelity": "waveform", "clip": 1.0, "snr_max_db": 60.0, "power": {"control": "truncated"}}
    payloads = np.random.default_rng(0).uniform(-1, 1, (20, 3, 1))
    clean = Link(LinkConfig.model_validate(shared), 1).aggregate(np.arange(20), payloads)
    for name, settings in faults.items():
        faulty = Link(LinkConfig.model_validate({**shared, "impairments": {name: settings}}), 1)
        estimates = faulty.aggregate(np.arange(20), payloads).estimates
        assert np.array_equal(np.isfinite(estimates), np.isfinite(clean.estimates)), name
        assert 1e-3 < np.nanmean(np.abs(estimates - clean.estimates)) < 0.3, name


def test_a_fault_that_does_not_exist_is_named():
    with pytest.raises(ValidationError, match="phase_noise"):
        LinkConfig.model_validate({"fidelity": "waveform", "impairments": {"phase_nose": {}}})
