"""Detection against the law of its metric, Cramer-Rao bounds, and its limits."""

import numpy as np
import pytest
from scipy.stats import ncf

from phy.burst.detection import detect, frequency_limit_hz, pilot_estimates
from phy.burst.detection_laws import false_alarm_probability
from phy.burst.layout import BurstLayout, KnownWaveform
from phy.burst.receiver import advance, carrier, receive
from phy.burst.transmitter import modulate
from phy.config_burst import BurstConfig
from phy.errors import PhyError

FS = 1e6


def burst(layout: BurstLayout, delay: float = 0.0, frequency_hz: float = 0.0, phase: float = 0.0) -> np.ndarray:
    """The devices' bursts, all at full scale, delayed, turning, and added up. Shape [1, N]."""
    shape = (layout.devices, layout.scalars, layout.resources)
    slots = modulate(layout, np.ones(shape, np.complex64), np.ones(layout.devices, np.complex64))
    turning = carrier(frequency_hz / layout.config.sample_rate_hz, layout.slot_samples, layout.reference_sample)
    return (advance(slots, -delay).sum(axis=0) * turning * np.exp(1j * phase))[None].astype(np.complex64)


def noise(rng: np.random.Generator, antennas: int, samples: int, n0: float) -> np.ndarray:
    normals = rng.normal(size=(antennas, samples, 2)).astype(np.float32).view(np.complex64)[..., 0]
    return np.float32(np.sqrt(n0 / 2)) * normals


def bounds(known: KnownWaveform, n0: float) -> tuple[float, float]:
    """Cramer-Rao bounds of timing (samples) and frequency (cycles per sample), gain and both unknown: standard deviations."""
    b = np.concatenate((np.zeros(64), known.samples, np.zeros(64)))
    n = np.arange(b.size) - b.size / 2
    slope = np.fft.ifft(2j * np.pi * np.fft.fftfreq(b.size) * np.fft.fft(b))
    derivatives = np.stack((b, 1j * b, -slope, 2j * np.pi * n * b))
    fisher = 2 / n0 * (derivatives.conj() @ derivatives.T).real
    covariance = np.linalg.inv(fisher)
    return float(np.sqrt(covariance[2, 2])), float(np.sqrt(covariance[3, 3]))


@pytest.mark.parametrize(("delay", "fraction"), [(0, 0), (3.3, 0), (-11.77, 0.2), (20.5, 0.6), (-31.4, -0.9), (63.6, 0.9)])
@pytest.mark.parametrize("preamble", [16, 32, 64, 128])
def test_noise_free_offsets_are_found_and_removed(delay, fraction, preamble):
    layout = BurstLayout(BurstConfig(preamble_symbols=preamble), 2, 3)
    frequency = fraction * frequency_limit_hz(layout)
    reception = receive(layout, burst(layout, delay, frequency, 0.3), 0.01)
    assert reception.found
    assert reception.timing_samples == pytest.approx(delay, abs=1e-3)
    assert reception.frequency_hz == pytest.approx(frequency, abs=0.02)
    assert reception.gains == pytest.approx(2 * np.exp(0.3j), abs=2e-3)
    assert reception.preamble_snr == pytest.approx(4 * preamble / 16 / 0.01, rel=2e-3)
    # The phase at the reference instant stays what it is; what differs from 2 e^{0.3 j} is interference between scalars.
    assert reception.statistics == pytest.approx(np.full((3, 1, 1), 2 * np.exp(0.3j)), abs=4e-3)


@pytest.mark.parametrize("pulse", ["rrc", "rect"])
@pytest.mark.parametrize("sps", [2, 3, 8])
def test_every_pulse_and_rate(pulse, sps):
    layout = BurstLayout(BurstConfig(pulse=pulse, samples_per_symbol=sps), 1, 1)
    reception = receive(layout, burst(layout, 7.3, 300.0), 0.0)
    # The delayed edges of a rectangle ring through the whole slot, beyond what the estimates look at.
    sharp = pulse == "rect"
    assert reception.timing_samples == pytest.approx(7.3, abs=2e-3 if sharp else 1e-4)
    assert reception.frequency_hz == pytest.approx(300.0, abs=3 if sharp else 0.1)
    assert reception.preamble_snr == np.inf
    assert reception.statistics[0, 0, 0] == pytest.approx(1, abs=1e-3)


def test_detection_loses_what_turns_within_a_half():
    layout = BurstLayout(BurstConfig(), 1, 1)
    for fraction in (0.25, 0.5, 0.9):
        metric = detect(layout, burst(layout, 0, fraction * frequency_limit_hz(layout))).metric
        assert metric == pytest.approx(np.sinc(fraction / 2) ** 2, abs=0.02)


def test_a_frequency_beyond_the_limit_is_taken_for_one_within():
    layout = BurstLayout(BurstConfig(), 1, 1)
    limit = frequency_limit_hz(layout)
    finding = detect(layout, burst(layout, 0, 1.1 * limit))
    assert finding.frequency_hz == pytest.approx(-0.9 * limit, rel=0.05)


def test_false_alarms_follow_their_law():
    layout = BurstLayout(BurstConfig(preamble_symbols=8, detection_threshold=1e-9, span_symbols=4), 1, 1)
    rng, rounds = np.random.default_rng(1), 4000
    metrics = [detect(layout, noise(rng, 1, layout.slot_samples, 1.0), 0).metric for _ in range(rounds)]
    samples = layout.preamble_waveform.samples.size
    for threshold in (0.02, 0.05, 0.1):
        expected = false_alarm_probability(threshold, samples)
        error = np.sqrt(expected * (1 - expected) / rounds)
        assert abs(np.mean(np.array(metrics) > threshold) - expected) < 4 * error
    # A coherent correlation, |corr|^2 / |r|^2 ~ Beta(1, N - 1), raises fewer alarms; two free phases raise more.
    assert (1 - 0.05) ** (samples - 1) < false_alarm_probability(0.05, samples)
    assert false_alarm_probability(0.05, samples) < (1 - 0.05) ** (samples - 2) * (1 + (samples - 2) * 0.05)
    assert false_alarm_probability(1e-12, samples) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("n0", [0.3, 0.6])
def test_detection_probability_lies_just_above_the_coherent_one(n0):
    layout = BurstLayout(BurstConfig(detection_threshold=1e-9), 1, 1)
    clean, rng, rounds = burst(layout), np.random.default_rng(2), 1500
    metrics = [detect(layout, clean + noise(rng, 1, layout.slot_samples, n0), 0).metric for _ in range(rounds)]
    samples, energy = layout.preamble_waveform.samples.size, 64 / 16
    threshold = float(np.median(metrics))
    # Coherent: |corr|^2 / (|r|^2 - |corr|^2) is a ratio of chi squares of 2 (non-central) and 2 (N - 1) degrees of freedom.
    coherent = ncf.sf(threshold / (1 - threshold) * (samples - 1), 2, 2 * (samples - 1), 2 * energy / n0)
    found = np.mean(np.array(metrics) > threshold)
    assert coherent - 4 * np.sqrt(0.25 / rounds) < found < coherent + 0.12


def test_at_0_db_per_sample_detection_is_certain_and_estimates_reach_their_bounds():
    layout = BurstLayout(BurstConfig(), 1, 1)
    n0 = 1 / 64  # a scalar of energy 1 over 64 samples
    rng, rounds, delay, frequency = np.random.default_rng(3), 400, 5.3, 400.0
    clean = burst(layout, delay, frequency)
    findings = [detect(layout, clean + noise(rng, 1, layout.slot_samples, n0)) for _ in range(rounds)]
    assert all(one.found for one in findings)
    errors = np.array([(one.timing_samples - delay, (one.frequency_hz - frequency) / FS) for one in findings])
    ratios = errors.std(axis=0) / bounds(layout.preamble_waveform, n0)
    spread = 1 / np.sqrt(2 * rounds)
    assert np.all(ratios > 1 - 4 * spread)
    assert np.all(ratios < 1.05 + 4 * spread)
    assert np.all(np.abs(errors.mean(axis=0)) < 4 * errors.std(axis=0) / np.sqrt(rounds))


def test_nothing_is_reported_where_nothing_is_found():
    layout = BurstLayout(BurstConfig(pilot_symbols=8), 2, 2)
    rng = np.random.default_rng(4)
    for heard in (noise(rng, 3, layout.slot_samples, 1.0), np.zeros((3, layout.slot_samples), np.complex64)):
        reception = receive(layout, heard, 1.0)
        assert not reception.found
        assert reception.metric < 0.1
        assert reception.statistics.shape == (2, 1, 3)
        for value in (reception.timing_samples, reception.frequency_hz, reception.preamble_snr):
            assert np.isnan(value)
        assert np.isnan(reception.statistics).all()
        assert np.isnan(reception.gains).all()
    blank = pilot_estimates(layout, np.zeros((1, layout.slot_samples), np.complex64))
    assert not blank.found.any()
    for values in (blank.gains, blank.timing_s, blank.frequency_hz, blank.instants_samples):
        assert np.isnan(values).all()


def test_samples_that_are_not_finite_are_not_found():
    layout = BurstLayout(BurstConfig(), 1, 1)
    heard = burst(layout)
    heard[0, layout.preamble.start + 9] = np.nan
    assert not receive(layout, heard, 1.0).found


def test_no_further_than_the_guard_unless_asked():
    layout = BurstLayout(BurstConfig(slot_symbols=400, guard_symbols=4), 1, 1)
    late = burst(layout, 200.25)
    assert not detect(layout, late).found
    assert detect(layout, late, 250).timing_samples == pytest.approx(200.25, abs=1e-3)
    # As far as the whole slot, and beyond its ends.
    assert detect(layout, late, 3000).timing_samples == pytest.approx(200.25, abs=1e-3)


def test_antennas_are_added_whatever_their_phases():
    layout = BurstLayout(BurstConfig(detection_threshold=0.05), 1, 1)
    gains = np.array([[1.0], [1j], [-0.5], [0.1j]], np.complex64)
    clean, n0 = gains * burst(layout, 2.5, 200.0), 0.08
    assert detect(layout, clean).metric == pytest.approx(detect(layout, clean[:1]).metric, abs=1e-6)
    assert receive(layout, clean, n0).gains == pytest.approx(gains[:, 0], abs=1e-3)
    rng = np.random.default_rng(5)
    errors: list[list[float]] = [[], []]
    for _ in range(100):
        heard = clean + noise(rng, 4, layout.slot_samples, n0)
        for i, part in enumerate((heard[:1], heard)):
            finding = detect(layout, part)
            errors[i].append(finding.timing_samples - 2.5)
    one, four = (np.std(e) for e in errors)
    assert four < 0.8 * one  # 10 log10(2.26) = 3.5 dB more energy: a factor 0.67 in standard deviation


def test_each_device_is_measured_by_its_own_pilots():
    layout = BurstLayout(BurstConfig(pilot_symbols=16), 3, 1)
    delays, frequencies = np.array([60.3, -60.4, 0.25]), np.array([300.0, -500.0, 0.0])
    gains = np.array([1.0, 0.5j, -2.0])
    slots = modulate(layout, np.ones((3, 1, 1), np.complex64), np.ones(3, np.complex64))
    heard = np.zeros(layout.slot_samples, complex)
    for k in range(3):
        turning = carrier(frequencies[k] / FS, layout.slot_samples, layout.reference_sample)
        heard += gains[k] * advance(slots[k : k + 1], -delays[k])[0] * turning
    found = pilot_estimates(layout, heard[None].astype(np.complex64))
    assert found.found.all()
    assert found.timing_s * FS == pytest.approx(delays, abs=0.01)
    assert found.frequency_hz == pytest.approx(frequencies, abs=5)
    since = (found.instants_samples - layout.reference_sample) / FS
    assert found.gains[:, 0] == pytest.approx(gains * np.exp(2j * np.pi * frequencies * since), abs=0.02)


@pytest.mark.parametrize("symbols", [1, 2, 3, 5])
def test_short_pilots(symbols):
    layout = BurstLayout(BurstConfig(pilot_symbols=symbols), 2, 1)
    found = pilot_estimates(layout, burst(layout))
    assert found.gains[:, 0] == pytest.approx([1, 1], abs=1e-3)
    assert found.timing_s * FS == pytest.approx([0, 0], abs=1e-3)
    if symbols == 1:
        assert np.isnan(found.frequency_hz).all()  # one symbol does not tell
    else:
        assert found.frequency_hz == pytest.approx([0, 0], abs=0.5)


def test_slot_synchronisation_looks_for_nothing():
    layout = BurstLayout(BurstConfig(synchronisation="slot"), 1, 1)
    reception = receive(layout, np.zeros((1, layout.slot_samples), np.complex64), 1.0)
    assert reception.found
    assert reception.timing_samples == reception.frequency_hz == 0
    assert np.isnan(reception.metric)
    assert not reception.statistics.any()


def test_refuses_to_look_for_what_is_not_sent():
    layout = BurstLayout(BurstConfig(synchronisation="slot", preamble_symbols=0), 1, 1)
    heard = np.zeros((1, layout.slot_samples), np.complex64)
    with pytest.raises(PhyError, match="without preamble"):
        detect(layout, heard)
    with pytest.raises(PhyError, match="without pilots"):
        pilot_estimates(layout, heard)
