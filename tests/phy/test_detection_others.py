"""Detection against what is on the air beside silence: halves, bursts out of reach, bursts that are not ours."""

import numpy as np
import pytest

from phy.burst.detection import _SURE, _correlate, detect, find_waveform, symbol_metric
from phy.burst.detection_laws import false_alarm_probability, half_false_probability, half_miss_probability, threshold_for
from phy.burst.layout import BurstLayout
from phy.burst.pulses import pulse
from phy.burst.sequences import preamble_sequence
from phy.burst.transmitter import modulate
from phy.burst.waveforms import train
from phy.config_burst import BurstConfig

SMALL = BurstConfig(preamble_symbols=16, span_symbols=4, detection_threshold=1e-9)


def normals(rng: np.random.Generator, count: int, antennas: int = 1) -> np.ndarray:
    """CN(0, 1). Shape [M, count]."""
    return (rng.normal(size=(antennas, count)) + 1j * rng.normal(size=(antennas, count))).astype(np.complex64) * 0.5**0.5


def burst(layout: BurstLayout, value: float = 1.0) -> np.ndarray:
    """One slot of all devices, their scalars equal. Shape [1, N]."""
    shape = (layout.devices, layout.scalars, layout.resources)
    return modulate(layout, np.full(shape, value, np.complex64), np.ones(layout.devices, np.complex64)).sum(axis=0)[None]


def foreign(layout: BurstLayout, symbols: np.ndarray) -> np.ndarray:
    """A stream of other symbols in our pulses, from before the slot to its end. Shape [1, N]."""
    shape, count = pulse(layout.config), layout.slot_samples
    return train(symbols, shape, layout.config.samples_per_symbol)[None, 64 : 64 + count].astype(np.complex64)


@pytest.mark.parametrize("half_snr", [2.0, 5.0, 10.0])
def test_a_preamble_is_taken_for_a_half_as_often_as_the_law_says(half_snr):
    layout = BurstLayout(SMALL, 1, 1)
    known, rng, rounds = layout.preamble_waveform, np.random.default_rng(1), 3000
    scale = np.sqrt(half_snr / (np.abs(known.parts[0]) ** 2).sum())
    whys = [
        find_waveform(known, 0, (scale * known.samples + normals(rng, known.samples.size)).astype(np.complex64), 0, layout).why
        for _ in range(rounds)
    ]
    expected = half_miss_probability(half_snr)
    # Tails that both halves share tie their noise together a little.
    assert set(whys) <= {"", "half"}
    assert abs(np.mean([why == "half" for why in whys]) - expected) < 4 * np.sqrt(expected / rounds) + 0.1 * expected


@pytest.mark.parametrize("half_snr", [5.0, 15.0, 25.0])
def test_a_half_is_taken_for_a_preamble_as_often_as_the_law_says(half_snr):
    layout = BurstLayout(SMALL, 1, 1)
    known, rng, rounds = layout.preamble_waveform, np.random.default_rng(2), 3000
    scale = np.sqrt(half_snr / (np.abs(known.parts[0]) ** 2).sum())
    found = [
        find_waveform(known, 0, (scale * known.parts[1] + normals(rng, known.samples.size)).astype(np.complex64), 0, layout)
        for _ in range(rounds)
    ]
    expected = half_false_probability(half_snr)
    assert abs(np.mean([one.found for one in found]) - expected) < 4 * np.sqrt(expected / rounds) + 0.1 * expected


def test_the_laws_of_halves_at_their_limits():
    assert half_miss_probability(0.0) == pytest.approx(1 - 0.5**0.5, abs=1e-6)  # two equal exponentials: 2 w / (1 + w)
    assert half_false_probability(0.0) == pytest.approx(0.5**0.5, abs=1e-12)
    assert half_miss_probability(100.0) < 1e-12
    assert half_false_probability(400.0) < 1e-20


def test_false_alarms_of_noise_with_both_halves_follow_their_law():
    layout = BurstLayout(BurstConfig(preamble_symbols=8, span_symbols=4, detection_threshold=0.05), 1, 1)
    rng, rounds, known = np.random.default_rng(3), 4000, layout.preamble_waveform
    found = [find_waveform(known, 0, normals(rng, known.samples.size), 0, layout).found for _ in range(rounds)]
    expected = false_alarm_probability(0.05, known.samples.size, both_halves=True)
    assert 0.02 < expected < 0.5**0.5 + 0.1
    assert abs(np.mean(found) - expected) < 4 * np.sqrt(expected * (1 - expected) / rounds)
    assert false_alarm_probability(1e-12, 40, both_halves=True) == pytest.approx(0.5**0.5, abs=1e-9)


@pytest.mark.parametrize("name", ["noise", "gaussian symbols", "qpsk"])
def test_noise_and_other_symbols_are_one_law_once_a_symbol(name):
    layout = BurstLayout(BurstConfig(), 1, 1)
    rng, rounds, known = np.random.default_rng(4), 3000, layout.preamble_waveform
    metrics = []
    for _ in range(rounds):
        if name == "noise":
            window = normals(rng, known.samples.size)
        else:
            symbols = normals(rng, 64)[0] if name == "gaussian symbols" else 1j ** rng.integers(0, 4, 64)
            window = train(symbols, pulse(layout.config), 4)[None].astype(np.complex64)
        metrics.append(symbol_metric(known, window))
    for threshold in (0.04, 0.08):
        expected = false_alarm_probability(threshold, 64)
        assert abs(np.mean(np.array(metrics) > threshold) - expected) < 4 * np.sqrt(expected / rounds) + 0.05 * expected


@pytest.mark.parametrize("seed", [5, 6])
def test_bursts_that_are_not_ours_are_found_no_more_often_than_noise(seed):
    config = BurstConfig(false_alarm=0.05)
    layout = BurstLayout(config, 1, 1)
    rng, rounds, sample_law = np.random.default_rng(seed), 400, 0
    threshold = threshold_for(0.05, layout.preamble_waveform.samples.size, 129, 1)
    found = 0
    for _ in range(rounds):
        heard = foreign(layout, 1j ** rng.integers(0, 4, layout.slot_samples // 4 + 40))
        heard = heard + 0.001 * normals(rng, layout.slot_samples)
        finding = detect(layout, heard)
        found += finding.found
        sample_law += finding.metric > threshold
    assert sample_law > 0.9 * rounds  # what a threshold set against white noise makes of them
    assert found < 0.05 * rounds + 4 * np.sqrt(0.05 * rounds)


def test_a_preamble_in_noise_is_found_where_its_energy_suffices():
    """The tests of other signals cost little where the preamble is alone: at 13 dB most are found, at 15 dB all but 1 %."""
    layout = BurstLayout(BurstConfig(), 1, 1)
    clean, rng = burst(layout), np.random.default_rng(7)
    for snr_db, least in ((13.0, 0.8), (15.0, 0.99)):
        n0 = 4 / 10 ** (snr_db / 10)
        heard = [clean + np.sqrt(n0) * normals(rng, layout.slot_samples) for _ in range(300)]
        findings = [detect(layout, one.astype(np.complex64)) for one in heard]
        assert np.mean([one.found for one in findings]) >= least
        assert all(abs(one.timing_samples) < 3 for one in findings if one.found)


@pytest.mark.parametrize("settings", [
    {}, {"pilot_symbols": 32}, {"preamble_symbols": 16}, {"pulse": "rect"}, {"guard_symbols": 4}, {"samples_per_symbol": 2},
    {"preamble_symbols": 128, "guard_symbols": 40},
])  # fmt: skip
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_a_slot_cut_at_any_sample_is_found_where_it_is_or_lost(settings, noise):
    """Slots of a stream of bursts, cut everywhere: whatever is found is a whole preamble within a guard, at its place."""
    layout = BurstLayout(BurstConfig(**settings), 2, 1)
    rng, count, guard = np.random.default_rng(8), layout.slot_samples, layout.guard_samples
    stream = np.concatenate([burst(layout, value) for value in (0.9, -0.4, 0.7)], axis=1)
    stream = (stream + noise * normals(rng, 3 * count)).astype(np.complex64)
    early_most = min(guard, layout.preamble.first)
    for start in range(0, 2 * count, 3):
        finding = detect(layout, stream[:, start : start + count])
        off = (start + count // 2) % count - count // 2
        if finding.found:
            assert -off - 0.6 < finding.timing_samples < -off + 0.6, start
            assert abs(off) <= guard + 1
        else:
            assert not -guard < off < early_most, start  # whole preambles within reach are not lost


@pytest.mark.parametrize("settings", [
    {}, {"pulse": "rect"}, {"preamble_symbols": 8}, {"preamble_symbols": 16}, {"rolloff": 0.05}, {"samples_per_symbol": 2},
    {"preamble_symbols": 256},
])  # fmt: skip
def test_no_shifted_preamble_answers_as_surely_as_a_true_one(settings):
    """What lets the search beyond the reach be left out: noise-free, every lag of two symbols or more stays below."""
    layout = BurstLayout(BurstConfig(**settings), 1, 1)
    known, width = layout.preamble_waveform, layout.preamble_waveform.samples.size
    alone = np.concatenate((np.zeros(width), known.samples, np.zeros(width)))[None].astype(np.complex64)
    metric, _ = _correlate(known, alone, width)
    away = np.abs(np.arange(2 * width + 1) - width) >= 2 * layout.config.samples_per_symbol
    assert metric[away].max() < _SURE
    assert metric[width] == pytest.approx(1, abs=1e-4)


def test_neighbours_of_equal_power_do_not_hide_a_preamble():
    """A strong burst whose preamble is out of reach, beside a weak one within: the weak one stays found by its own peak."""
    layout = BurstLayout(BurstConfig(slot_symbols=800), 1, 1)
    clean = burst(layout)
    both = clean + 3 * np.roll(clean, 1500, axis=1)
    finding = detect(layout, both)
    assert finding.found
    assert finding.timing_samples == pytest.approx(0, abs=1e-3)


def test_a_waveform_of_another_sequence_is_not_ours():
    layout = BurstLayout(BurstConfig(), 1, 1)
    other = preamble_sequence(62)
    heard = np.zeros((1, layout.slot_samples), np.complex64)
    sent = train(other, pulse(layout.config), 4)
    heard[0, 64 : 64 + sent.size] = sent
    assert not detect(layout, heard).found
    assert detect(layout, heard).why in ("foreign", "noise", "half")
