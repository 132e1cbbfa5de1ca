"""Noise, SNR and the common phase, measured by the waveform receiver, whatever the link was configured to."""

import numpy as np
import pytest

from phy.burst.layout import BurstLayout
from phy.burst.measuring import noise_variance
from phy.burst.receiver import advance
from phy.burst.transmitter import modulate
from phy.config import LinkConfig
from phy.config_burst import BurstConfig
from phy.link import Link
from phy.waveform_airs.emulated import Part as Emulated

ROUNDS = np.arange(12)


def link(air: type | None = None, **settings: object) -> Link:
    shared = {"fidelity": "waveform", "clip": 1.0, "snr_max_db": 30.0, "channel": {"model": "rayleigh"}, **settings}
    return Link(LinkConfig.model_validate(shared), 5, air)


def turned(phase: float = 0.0, carrier_hz: float = 0.0, noise: float = 0.0, level: float = 1.0) -> type:
    """The emulated air, heard by a receiver whose carrier, level and noise are others than configured."""

    class Air(Emulated):
        def transmit(self, bursts, round_index, sounded, reference_sample):
            heard = super().transmit(bursts, round_index, sounded, reference_sample)
            rng = np.random.default_rng(round_index)
            more = rng.normal(size=heard.shape) + 1j * rng.normal(size=heard.shape)
            at = round_index * heard.shape[1] + np.arange(heard.shape[1])
            carrier = np.exp(1j * (phase + 2 * np.pi * carrier_hz * at / 1e6))
            return (level * heard * carrier + np.sqrt(noise / 2) * more).astype(np.complex64)

    return Air


def sent(devices: int = 3) -> np.ndarray:
    return np.random.default_rng(2).uniform(-1, 1, (len(ROUNDS), devices, 1))


@pytest.mark.parametrize("antennas", [1, 3])
@pytest.mark.parametrize(("phase", "carrier_hz"), [(0.4, 0.0), (3.0, 0.0), (-1.6, 0.0), (0.0, 120.0), (1.0, -733.0)])
def test_a_common_phase_and_carrier_are_removed(antennas, phase, carrier_hz):
    payloads = sent()
    plain = link(receive_antennas=antennas).aggregate(ROUNDS, payloads)
    result = link(turned(phase, carrier_hz), receive_antennas=antennas).aggregate(ROUNDS, payloads)
    assert not result.lost.any()
    # Noise of the phase and of the carrier at the payload, against noise of the estimate itself.
    assert np.abs(result.estimates - plain.estimates).max() < 0.06
    if carrier_hz == 0:
        error = np.angle(np.exp(1j * (result.diagnostics["phase_rad"] - phase)))
        assert np.abs(error).max() < 0.1


def test_what_has_no_common_phase_keeps_its_bits():
    """Noise alone stands out of three deviations in few rounds; in all others nothing is turned."""
    rounds = np.arange(400)
    payloads = np.random.default_rng(3).uniform(-1, 1, (400, 3, 1))
    turns = link().aggregate(rounds, payloads).diagnostics["phase_rad"]
    assert np.mean(turns != 0) < 0.0027 + 4 * np.sqrt(0.0027 / 400)


def test_the_mean_phase_of_devices_is_common_and_the_rest_is_not():
    """Two devices at phases 0.9 and 0.1: half a radian is removed, and 0.4 to either side stay: cos 0.4 of the sum."""

    class Apart(Emulated):
        def transmit(self, bursts, round_index, sounded, reference_sample):
            phases = np.exp(1j * np.array([0.9, 0.1]))[:, None].astype(np.complex64)
            return super().transmit(bursts * phases, round_index, sounded, reference_sample)

    payloads = np.full((len(ROUNDS), 2, 1), 0.8)
    result = link(Apart, channel={"model": "awgn"}, snr_max_db=60.0).aggregate(ROUNDS, payloads)
    assert result.diagnostics["phase_rad"] == pytest.approx(0.5, abs=0.01)
    assert result.estimates == pytest.approx(0.8 * np.cos(0.4), abs=0.01)


def test_the_slot_clock_and_energies_know_no_common_phase():
    payloads = sent()
    for settings in ({"burst": {"synchronisation": "slot"}}, {"scheme": "reed"}):
        result = link(turned(1.0), **settings).aggregate(ROUNDS, payloads)
        assert not np.nan_to_num(result.diagnostics["phase_rad"]).any()
        assert np.isnan(result.diagnostics["snr_measured_db"]).all()
        assert np.isfinite(result.diagnostics["n0_measured"]).all()


@pytest.mark.parametrize("antennas", [1, 2])
def test_snr_and_noise_are_those_of_the_air_and_not_of_the_configuration(antennas):
    """Level -6 dB, noise 0.02 more: the SNR of a full-scale scalar through a gain of 1 is 0.25 / (0.25 N0 + 0.02)."""
    rounds = np.arange(60)
    payloads = np.random.default_rng(4).uniform(-1, 1, (60, 3, 1))
    plain = link(receive_antennas=antennas).aggregate(rounds, payloads).diagnostics
    other = link(turned(0.7, 50.0, noise=0.02, level=0.5), receive_antennas=antennas).aggregate(rounds, payloads).diagnostics
    assert plain["n0_measured"].mean() == pytest.approx(1e-3, rel=0.05)
    assert np.median(plain["snr_measured_db"]) == pytest.approx(30.0, abs=0.3)
    assert np.median(plain["level_db"]) == pytest.approx(0.0, abs=0.05)
    assert other["n0_measured"].mean() == pytest.approx(0.25e-3 + 0.02, rel=0.05)
    assert np.median(other["level_db"]) == pytest.approx(-6.02, abs=0.3)
    assert np.median(other["snr_measured_db"]) == pytest.approx(10 * np.log10(0.25 / 0.02025), abs=0.6)


def test_interval_receivers_measure_noise_as_well():
    burst = {"pulse": "rect", "synchronisation": "slot", "pilot_symbols": 16}
    result = link(receiver="ml", burst=burst).aggregate(ROUNDS, sent())
    assert result.diagnostics["n0_measured"].mean() == pytest.approx(1e-3, rel=0.1)


def test_a_device_that_spills_into_a_guard_is_no_noise():
    layout = BurstLayout(BurstConfig(), 2, 1)
    slots = modulate(layout, np.ones((2, 1, 1), np.complex64), np.ones(2, np.complex64))
    rng = np.random.default_rng(5)
    measured = []
    for _ in range(200):
        noise = (rng.normal(size=(1, layout.slot_samples)) + 1j * rng.normal(size=(1, layout.slot_samples))) * 0.05
        late = slots[:1] + advance(slots[1:], -50.0)  # of a guard of 64
        measured.append(noise_variance(layout, (late + noise).astype(np.complex64), 0.0))
    # What is left out would have been a hundred times as much; tails that do not stand out stay.
    assert 0.95 < np.mean(measured) / (2 * 0.05**2) < 1.2
    assert noise_variance(layout, np.zeros((1, layout.slot_samples), np.complex64), 0.0) == 0
