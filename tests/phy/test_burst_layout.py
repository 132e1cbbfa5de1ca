"""Index arithmetic of the burst."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import next_fast_len

from phy.burst.layout import BurstLayout
from phy.burst.receiver import advance, matched_filters
from phy.burst.transmitter import modulate
from phy.config_burst import BurstConfig
from phy.errors import PhyError

CONFIGS = st.builds(
    BurstConfig,
    samples_per_symbol=st.integers(2, 5),
    pulse=st.sampled_from(["rrc", "rect"]),
    span_symbols=st.integers(4, 12),
    payload=st.sampled_from(["repeated", "long", "spread"]),
    symbols_per_scalar=st.integers(1, 9),
    preamble_symbols=st.sampled_from([0, 8, 10, 32]),
    pilot_symbols=st.integers(0, 5),
    guard_symbols=st.integers(1, 9),
    synchronisation=st.just("slot"),
)


@settings(max_examples=60, deadline=None)
@given(config=CONFIGS, devices=st.integers(1, 4), scalars=st.integers(1, 5), looks=st.integers(1, 3))
def test_sections_lie_in_order_a_guard_apart(config, devices, scalars, looks):
    layout = BurstLayout(config, devices, scalars, 1, looks)
    guard, sps = config.guard_symbols * config.samples_per_symbol, config.samples_per_symbol
    sections = [*([layout.preamble] if layout.preamble else []), *layout.pilots, layout.payload]
    assert sections[0].first >= guard
    for before, after in pairwise(sections):
        assert after.first - before.stop == guard * (1 if after is layout.payload else 2)
    assert layout.burst_samples == layout.payload.stop + guard
    assert layout.slot_samples == next_fast_len(layout.burst_samples)
    assert len(layout.pilots) == (devices if config.pilot_symbols else 0)
    for section in sections:
        assert section.first <= section.start < section.stop
    if layout.preamble:
        assert layout.preamble.stop - layout.preamble.first == layout.preamble_waveform.samples.size
    assert layout.reference_sample == layout.payload.start == layout.scalar_start(0)
    assert layout.scalar_start(1) - layout.scalar_start(0) == looks * config.symbols_per_scalar * sps
    used = layout.symbols_used
    assert sum(used.values()) * sps == pytest.approx(layout.slot_samples)
    assert used["payload"] == scalars * looks * config.symbols_per_scalar


@settings(max_examples=60, deadline=None)
@given(config=CONFIGS, tones=st.integers(1, 2), looks=st.integers(1, 3))
def test_resource_waveforms_have_unit_energy_and_tones_are_orthogonal(config, tones, looks):
    if tones == 2 and config.symbols_per_scalar < 2:
        return
    layout = BurstLayout(config, 1, 1, tones, looks)
    waveforms, lead = layout.waveforms()
    assert waveforms.shape == (layout.resources, layout.payload.stop - layout.payload.first)
    assert lead == layout.payload.start - layout.payload.first
    gram = waveforms.conj() @ waveforms.T
    assert np.diag(gram) == pytest.approx(np.ones(layout.resources), abs=2e-6)
    # Rectangles are orthogonal but for rounding; so are root raised cosines but for their cut tails.
    slack = 2e-6 if config.pulse == "rect" else 0.12
    assert np.abs(gram - np.diag(np.diag(gram))).max(initial=0) < slack


def test_a_slot_that_is_given_is_kept():
    layout = BurstLayout(BurstConfig(slot_symbols=500), 2, 1)
    assert layout.slot_samples == 2000
    assert layout.payload == BurstLayout(BurstConfig(), 2, 1).payload


def test_refuses_a_burst_longer_than_its_slot_with_both_lengths():
    with pytest.raises(PhyError, match="burst of 159 symbols does not fit the slot of 100 symbols"):
        BurstLayout(BurstConfig(slot_symbols=100), 1, 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((1, 1, 3), "one or two tones"),
        ((0, 1), "at least one of its devices"),
        ((1, 0), "at least one of its scalars"),
        ((1, 1, 1, 0), "at least one of its looks"),
    ],
)
def test_refuses_what_has_no_meaning(arguments, words):
    with pytest.raises(PhyError, match=words):
        BurstLayout(BurstConfig(), *arguments)


def test_refuses_two_tones_over_one_symbol():
    with pytest.raises(PhyError, match="at least 2"):
        BurstLayout(BurstConfig(symbols_per_scalar=1), 1, 1, 2)


@pytest.mark.parametrize("delay_guards", [-1, 1])
@pytest.mark.parametrize("pilots", [0, 4])
def test_a_burst_early_or_late_by_a_guard_leaves_other_sections_alone(delay_guards, pilots):
    layout = BurstLayout(BurstConfig(pilot_symbols=pilots), 1, 2)
    slots = modulate(layout, np.zeros((1, 2, 1), np.complex64), np.ones(1, np.complex64))
    assert np.abs(matched_filters(layout, np.roll(slots, delay_guards * layout.guard_samples, axis=1))).max() == 0
    # Circular, as the delay is: nothing of the payload leaves the slot at one end and comes back at the other.
    payload = modulate(layout, np.ones((1, 2, 1), np.complex64), np.zeros(1, np.complex64))
    late = advance(payload, -delay_guards * layout.guard_samples)
    assert late[0] == pytest.approx(np.roll(payload[0], delay_guards * layout.guard_samples), abs=1e-6)
    assert not payload[0, : layout.guard_samples].any()
    assert not payload[0, -layout.guard_samples :].any()


def test_equal_layouts_are_one_key():
    one, two = (BurstLayout(BurstConfig(), 2, 3) for _ in range(2))
    assert one.bank.span == two.bank.span
    assert {one: 1}[two] == 1
    assert one != BurstLayout(BurstConfig(), 2, 4)
