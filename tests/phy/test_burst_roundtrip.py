"""Modulation and matched filters against explicit loops, exact round trips, energies and noise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phy.burst.layout import BurstLayout
from phy.burst.pulses import Pulse, pulse
from phy.burst.receiver import advance, carrier, matched_filters, receive
from phy.burst.sequences import preamble_sequence, spreading_sequence
from phy.burst.transmitter import modulate
from phy.config_burst import BurstConfig
from phy.errors import PhyError


def loop_train(slot: np.ndarray, amplitudes: list[complex], shape: Pulse, start: int, spacing: int) -> None:
    for i, amplitude in enumerate(amplitudes):
        for j in range(shape.length_samples):
            slot[start + i * spacing - shape.lead_samples + j] += amplitude * shape.samples[j]


def loop_waveform(layout: BurstLayout, scalar: int, resource: int) -> np.ndarray:
    """One resource of one scalar in its slot, symbol by symbol."""
    config, slot = layout.config, np.zeros(layout.slot_samples, complex)
    look, tone = divmod(resource, layout.tones)
    length, sps = config.symbols_per_scalar, config.samples_per_symbol
    start = layout.payload.start + (scalar * layout.looks + look) * length * sps
    steps = length * sps if config.payload == "long" else length
    turns = 0 if layout.tones == 1 else (1 - 2 * tone) * (1 if steps > 2 else 0.5)
    if config.payload == "long":
        loop_train(slot, [1.0], pulse(config, length), start, 1)
        slot *= np.exp(2j * np.pi * turns * (np.arange(slot.size) - start) / steps)
    else:
        signs = spreading_sequence(length) if config.payload == "spread" else np.ones(length)
        chips = [signs[i] * np.exp(2j * np.pi * turns * i / length) for i in range(length)]
        loop_train(slot, chips, pulse(config), start, sps)
    return slot / np.sqrt((np.abs(slot) ** 2).sum())


def coefficients(layout: BurstLayout, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shape = (layout.devices, layout.scalars, layout.resources, 2)
    return rng.uniform(-1, 1, shape).astype(np.float32).view(np.complex64)[..., 0]


LAYOUTS = st.builds(
    lambda config, devices, scalars, tones, looks: BurstLayout(
        config, devices, scalars, tones if config.symbols_per_scalar > 1 else 1, looks
    ),
    config=st.builds(
        BurstConfig,
        samples_per_symbol=st.integers(2, 5),
        pulse=st.sampled_from(["rrc", "rect"]),
        span_symbols=st.integers(4, 8),
        payload=st.sampled_from(["repeated", "long", "spread"]),
        symbols_per_scalar=st.integers(1, 7),
        preamble_symbols=st.sampled_from([0, 8]),
        pilot_symbols=st.integers(0, 3),
        guard_symbols=st.integers(1, 4),
        synchronisation=st.just("slot"),
    ),
    devices=st.integers(1, 3),
    scalars=st.integers(1, 40),
    tones=st.integers(1, 2),
    looks=st.integers(1, 2),
)


@settings(max_examples=25, deadline=None)
@given(layout=LAYOUTS)
def test_modulation_and_filters_are_the_explicit_loops(layout):
    bank = [[loop_waveform(layout, i, u) for u in range(layout.resources)] for i in range(layout.scalars)]
    sent = coefficients(layout)
    slots = modulate(layout, sent, np.zeros(layout.devices, np.complex64))
    for k in range(layout.devices):
        loop = sum(sent[k, i, u] * bank[i][u] for i in range(layout.scalars) for u in range(layout.resources))
        assert np.abs(slots[k] - loop).max() < 2e-6
    found = receive(layout, slots, 1.0).statistics
    for i in (0, layout.scalars - 1):
        for u in range(layout.resources):
            for k in range(layout.devices):
                assert abs(found[i, u, k] - np.vdot(bank[i][u], slots[k])) < 1e-5


@settings(max_examples=40, deadline=None)
@given(layout=LAYOUTS)
def test_round_trip_is_exact_but_for_the_known_tails(layout):
    sent = coefficients(layout)
    preamble_and_all = modulate(layout, sent, np.ones(layout.devices, np.complex64))
    found = receive(layout, preamble_and_all, 1.0).statistics.transpose(2, 0, 1)
    if layout.config.pulse == "rect":
        assert np.abs(found - sent).max() < 1e-5
        return
    bank = np.array([loop_waveform(layout, i, u) for i in range(layout.scalars) for u in range(layout.resources)])
    gram = bank.conj() @ bank.T
    expected = sent.reshape(layout.devices, -1) @ gram.T
    assert np.abs(found.reshape(layout.devices, -1) - expected).max() < 1e-5


def interference_db(config: BurstConfig) -> float:
    """Power of the residual inter-symbol interference at full load, relative to a scalar's."""
    layout = BurstLayout(config, 1, 81)
    sent = np.zeros((1, 81, 1), np.complex64)
    sent[0, 40] = 1
    heard = receive(layout, modulate(layout, sent, np.zeros(1, np.complex64)), 1.0).statistics[:, 0, 0]
    assert heard[40] == pytest.approx(1, abs=1e-6)
    return float(10 * np.log10((np.abs(np.delete(heard, 40)) ** 2).sum()))


@pytest.mark.parametrize(("span", "measured_db"), [(8, -36.1), (16, -53.3), (32, -60.2)])
def test_interference_of_cut_tails_between_neighbouring_scalars(span, measured_db):
    config = BurstConfig(span_symbols=span, symbols_per_scalar=1, synchronisation="slot")
    assert interference_db(config) == pytest.approx(measured_db, abs=0.1)


def test_interference_falls_with_the_length_of_a_scalar():
    one, sixteen = (BurstConfig(symbols_per_scalar=n, synchronisation="slot") for n in (1, 16))
    assert interference_db(sixteen) < interference_db(one) - 10


@pytest.mark.parametrize("kind", ["repeated", "long", "spread"])
def test_a_scalar_at_full_scale_has_energy_one_and_references_its_power(kind):
    layout = BurstLayout(BurstConfig(payload=kind, pilot_symbols=6), 2, 1)
    slots = modulate(layout, np.ones((2, 1, 1), np.complex64), np.array([1, 0.5j], np.complex64))
    payload, preamble, pilot = layout.payload, layout.preamble, layout.pilots[1]
    for section, expected in ((payload, [1, 1]), (preamble, [64 / 16, 0.25 * 64 / 16]), (pilot, [0, 0.25 * 6 / 16])):
        energy = (np.abs(slots[:, section.first : section.stop]) ** 2).sum(axis=1)
        assert energy == pytest.approx(expected, rel=1e-5)
    outside = np.ones(layout.slot_samples, bool)
    for section in (payload, preamble, *layout.pilots):
        outside[section.first : section.stop] = False
    assert not slots[:, outside].any()


def test_preamble_is_the_known_symbols_pulse_by_pulse():
    layout = BurstLayout(BurstConfig(), 1, 1)
    slot = np.zeros(layout.slot_samples, complex)
    loop_train(slot, list(preamble_sequence(64) / 4), pulse(layout.config), layout.preamble.start, 4)
    sent = modulate(layout, np.zeros((1, 1, 1), np.complex64), np.ones(1, np.complex64))[0]
    assert np.abs(sent - slot).max() < 1e-4


@pytest.mark.parametrize("kind", ["repeated", "long", "spread"])
def test_noise_of_the_statistics_is_that_of_a_sample(kind):
    layout = BurstLayout(BurstConfig(payload=kind, synchronisation="slot", symbols_per_scalar=8), 1, 20_000)
    rng = np.random.default_rng(3)
    noise = rng.normal(size=(2, layout.slot_samples, 2)).astype(np.float32).view(np.complex64)[..., 0]
    z = matched_filters(layout, noise * np.float32(np.sqrt(0.3 / 2)))
    assert z.shape == (20_000, 1, 2)
    variance, error = (np.abs(z) ** 2).mean(), 0.3 / np.sqrt(z.size)
    assert abs(variance - 0.3) < 4 * error
    assert abs((z**2).mean()) < 4 * error  # circular
    assert abs((z[:-1] * z[1:].conj()).mean()) < 5 * error


def test_repeated_calls_give_equal_bits():
    layout = BurstLayout(BurstConfig(), 5, 700)
    sent, reference = coefficients(layout), np.ones(5, np.complex64)
    first, second = (modulate(layout, sent, reference) for _ in range(2))
    assert np.array_equal(first, second)
    again = BurstLayout(BurstConfig(), 5, 700)
    assert np.array_equal(modulate(again, sent, reference), first)
    heard = first.sum(axis=0, keepdims=True)
    one, two = (receive(layout, heard, 0.1) for _ in range(2))
    assert np.array_equal(one.statistics, two.statistics)
    assert one.timing_samples == two.timing_samples
    # An antenna does not change what another one filters.
    both = matched_filters(layout, np.concatenate((heard, first[:1])))
    assert np.array_equal(both[:, :, 0], matched_filters(layout, heard)[:, :, 0])


@pytest.mark.parametrize("delay", [0.25, -3.5, 7.77])
def test_advance_is_the_pulse_at_shifted_instants(delay):
    config = BurstConfig(span_symbols=64, synchronisation="slot", preamble_symbols=0)
    layout = BurstLayout(config, 1, 1)
    slot = modulate(layout, np.ones((1, 1, 1), np.complex64), np.zeros(1, np.complex64))
    shape, shifted = pulse(config), np.zeros(layout.slot_samples)
    for i in range(16):
        shifted += shape.at(np.arange(layout.slot_samples) - layout.payload.start - 4 * i - delay) / 4
    error = advance(slot, -delay)[0] - shifted
    assert 10 * np.log10((np.abs(error) ** 2).sum()) < -75  # what the cut of the tails leaves
    assert np.abs(advance(advance(slot, -delay), delay) - slot).max() < 1e-6


@pytest.mark.parametrize("length", [1, 2, 97, 4096])
def test_carrier_and_advance_on_closed_forms(length):
    n = np.arange(length)
    assert np.abs(carrier(0.0123, length, 40) - np.exp(2j * np.pi * 0.0123 * (n - 40))).max() < 1e-6
    k = length // 3 - length // 2
    tone = np.exp(2j * np.pi * k * n / length)[None].astype(np.complex64)
    expected = tone * np.exp(2j * np.pi * k * 2.3 / length)
    if abs(k) < length / 2:
        assert np.abs(advance(tone, 2.3) - expected).max() < 1e-5


def test_refuses_shapes_that_do_not_fit():
    layout = BurstLayout(BurstConfig(), 2, 1)
    with pytest.raises(PhyError, match=r"coefficients and reference must have shapes \(2, 1, 1\) and \(2,\)"):
        modulate(layout, np.zeros((2, 1, 2), np.complex64), np.zeros(2, np.complex64))
    with pytest.raises(PhyError, match="a slot must have shape"):
        receive(layout, np.zeros((1, 100), np.complex64), 1.0)


@pytest.mark.parametrize(("length", "scalars", "tones"), [(8192, 1, 2), (8192, 3, 1), (1, 900, 1), (300, 20, 2)])
def test_products_taken_in_pieces_are_the_plain_ones(length, scalars, tones):
    layout = BurstLayout(BurstConfig(symbols_per_scalar=length, synchronisation="slot"), 3, scalars, tones)
    sent = coefficients(layout)
    slots = modulate(layout, sent, np.zeros(3, np.complex64))
    waveforms, lead = layout.waveforms()
    for i in (0, scalars - 1):
        begin = layout.scalar_start(i) - lead
        frame = slots[:, begin : begin + waveforms.shape[1]]
        found = matched_filters(layout, slots)[i].T
        assert np.abs(found - frame.astype(complex) @ waveforms.conj().T).max() < 1e-5
        assert np.abs(found - sent[:, i]).max() < 0.02
