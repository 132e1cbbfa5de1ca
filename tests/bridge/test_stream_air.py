"""The stream air against the emulated one: the same bursts, taps, delays and carrier offsets, through GNU Radio."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bridge.stream_air import STREAM_AIR, Part
from bridge.streams.config import StreamConfig
from bridge.streams.opening import opening_samples
from phy.ambiguity import BurstPulse
from phy.burst.layout import BurstLayout
from phy.burst.transmitter import modulate
from phy.channel import Channel
from phy.config import LinkConfig
from phy.draws import CachedDraws, KeyedDraws
from phy.errors import PhyError
from phy.link import Link
from phy.offsets import OffsetDraws
from phy.propagation import Propagation
from phy.waveform_airs.emulated import Part as Emulated
from testbench.captures.capture import load_capture
from testbench.captures.estimating import sound
from testbench.captures.recorder import Recorder
from testbench.elsewhere import MEASURED_CHANNEL
from testbench.sdr.gnuradio import flowgraph_command
from tests.bridge.gnuradio_needed import needs_gnuradio

DEVICES, SEED = 3, 5
HALF = 64  # by which a bank of interpolation filters delays everybody


def link_config(**settings: object) -> LinkConfig:
    return LinkConfig.model_validate({"fidelity": "waveform", "clip": 1.0, "snr_max_db": 200.0, **settings})


def parts(config: LinkConfig) -> tuple[KeyedDraws, CachedDraws, Propagation]:
    draws = KeyedDraws(SEED)
    cached = CachedDraws(draws)
    return draws, cached, Propagation(config, cached, BurstPulse(config.burst))


def bursts(config: LinkConfig) -> tuple[BurstLayout, np.ndarray]:
    layout = BurstLayout(config.burst, DEVICES, 4)
    rng = np.random.default_rng(2)
    shape = (DEVICES, 4, 1)
    coefficients = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)
    return layout, modulate(layout, coefficients, np.ones(DEVICES, np.complex64))


def apart_db(found: np.ndarray, expected: np.ndarray) -> float:
    return float(10 * np.log10((np.abs(found - expected) ** 2).sum() / (np.abs(expected) ** 2).sum()))


OFFSETS = {
    "timing_s": {"law": "uniform", "value": 6e-6},
    "phase_rad": {"law": "uniform", "value": 3.0},
    "frequency_hz": {"law": "uniform", "value": 500.0},
}


@needs_gnuradio
@pytest.mark.parametrize("channel", [
    {"model": "awgn"},
    {"model": "rayleigh"},
    {"model": "tdl", "tdl": "A", "delay_spread_s": 1e-6},
], ids=["awgn", "rayleigh", "tdl"])  # fmt: skip
def test_gnu_radio_and_the_emulated_air_agree_to_60_db(channel, tmp_path):
    config = link_config(channel=channel, offsets=OFFSETS)
    rate = config.burst.sample_rate_hz
    draws, cached, propagation = parts(config)
    layout, sent = bursts(config)
    sounded = propagation.sounded(DEVICES, 0, 1)[0]
    expected = Emulated(config, draws, cached, propagation).transmit(sent, 0, sounded, layout.reference_sample)

    offsets = OffsetDraws(config, KeyedDraws(SEED)).draw(DEVICES, 0, 1)
    a, tau = Channel(config, CachedDraws(KeyedDraws(SEED))).paths(DEVICES, 0, 1, 1)
    rows = [
        [[float(tau[0, k, p] * rate), float(a[0, 0, k, p, 0].real), float(a[0, 0, k, p, 0].imag)] for p in range(tau.shape[2])]
        for k in range(DEVICES)
    ]
    (tmp_path / "paths.json").write_text(json.dumps(rows))
    cfo = ",".join(repr(float(f)) for f in offsets.frequency_hz[0])
    delay = ",".join(repr(float(t * rate)) for t in offsets.timing_s[0])
    stream = StreamConfig(
        gains="flowgraph",
        command=flowgraph_command("uplink", f"--cfo={cfo}", f"--delay={delay}", "--paths", str(tmp_path / "paths.json")),
    )
    bare = link_config(channel={"model": "awgn"})
    air = Part(bare, draws, cached, propagation, stream)
    try:
        # An oscillator runs on between slots: where it stands at this slot's phase reference is known by counting.
        turned = opening_samples(DEVICES) + HALF + layout.reference_sample
        start = offsets.phase_rad[0] - 2 * np.pi * offsets.frequency_hz[0] * turned / rate
        # A device's path delays its own carrier, and so does the reference's delay.
        received = air.transmit((sent * np.exp(1j * start)[:, None]).astype(np.complex64), 0, sounded, layout.reference_sample)
    finally:
        air.close()
    assert apart_db(received, expected) < -60.0


@needs_gnuradio
def test_estimates_through_a_flowgraph_without_noise_are_those_of_the_emulated_air():
    """Gains at the sender: the same fades, found and filtered by the same receiver, slot after slot."""
    stream = StreamConfig(command=flowgraph_command("uplink", "--delay=0.4"), level=0.125)
    shared = {"power": {"control": "truncated"}, "snr_max_db": 100.0}
    through = Link(link_config(**shared, burst={"air": STREAM_AIR}), SEED, partial(Part, stream=stream))
    emulated = Link(link_config(**shared, offsets={"timing_s": {"law": "constant", "value": 4e-7}}), SEED)
    payloads = np.random.default_rng(0).uniform(-1, 1, (40, DEVICES, 2))
    found, expected = (link.aggregate(np.arange(40), payloads) for link in (through, emulated))
    assert np.array_equal(found.lost, expected.lost)
    assert np.nanmax(np.abs(found.estimates - expected.estimates)) < 1e-3
    timing = found.diagnostics["timing_s"]
    assert np.nanmax(np.abs(timing - 4e-7)) < 2e-8


@needs_gnuradio
def test_a_path_that_was_sounded_through_the_flowgraph_can_be_inverted_by_devices(tmp_path):
    """The calibration of docs/sdr.md: record with pilots, sound, and run on what was measured; gains from -5 to 0 dB."""
    gains = [0.7 - 0.6j, -0.3 + 0.5j, 0.8j]
    (tmp_path / "paths.json").write_text(json.dumps([[[0.0, gain.real, gain.imag]] for gain in gains]))
    stream = StreamConfig(gains="flowgraph", command=flowgraph_command("uplink", "--paths", str(tmp_path / "paths.json")))
    shared = {"snr_max_db": 60.0, "burst": {"air": STREAM_AIR, "pilot_symbols": 64}}
    payloads = np.random.default_rng(3).uniform(-1, 1, (4, DEVICES, 1))
    make_air = partial(Part, stream=stream)
    with Recorder(link_config(**shared, channel={"model": "awgn"}), SEED, tmp_path / "c", make_air=make_air) as recorder:
        blind = [recorder.aggregate(number, payloads[number]).estimate[0] for number in range(4)]
    measured = sound(load_capture(recorder.collection), taps=1)
    assert np.abs(measured.coefficients[:, 0, :, 0] - gains).max() < 1e-3
    room = measured.save(tmp_path / "room.h5")
    channel = {"model": MEASURED_CHANNEL, "file": str(room)}
    found = Link(link_config(**shared, channel=channel), SEED, make_air).aggregate(np.arange(4), payloads).estimates[:, 0]
    expected = payloads.mean(axis=1)[:, 0]
    assert np.abs(found - expected).max() < 1e-3
    assert np.abs(np.array(blind) - expected).max() > 0.1


@needs_gnuradio
def test_noise_of_the_flowgraph_has_the_stated_power():
    config = link_config(snr_max_db=20.0)
    draws, cached, propagation = parts(config)
    air = Part(config, draws, cached, propagation, StreamConfig(command=flowgraph_command("uplink", "--noise-power=0.01")))
    try:
        silence = np.zeros((DEVICES, 100_000), np.complex64)
        heard = air.transmit(silence, 0, propagation.sounded(DEVICES, 0, 1)[0], 0)
    finally:
        air.close()
    # The mean of n exponential variables has the relative deviation 1 / sqrt(n).
    assert np.mean(np.abs(heard) ** 2) == pytest.approx(0.01, rel=5 / np.sqrt(heard.size))


@pytest.mark.parametrize("synchronisation", ["preamble", "slot"])
def test_a_slot_that_does_not_return_is_a_lost_round_and_the_next_one_is_heard(synchronisation):
    """A flowgraph that ends in the middle of its second slot. Nothing of it needs a preamble to be noticed."""
    fake = [sys.executable, "-P", str(Path(__file__).with_name("fake_flowgraph.py")), "die"]
    stream = StreamConfig(command=tuple(fake))
    config = link_config(snr_max_db=60.0, channel={"model": "awgn"}, burst={"synchronisation": synchronisation})
    payloads = np.full((3, DEVICES, 1), 0.5)
    found = Link(config, SEED, partial(Part, stream=stream)).aggregate(np.arange(3), payloads)
    assert found.lost.tolist() == [False, True, False]
    assert np.isnan(found.estimates[1, 0])
    assert np.allclose(found.estimates[[0, 2], 0], 0.5, atol=1e-4)


def test_without_settings_the_air_says_where_they_belong():
    with pytest.raises(PhyError, match=r"section \[stream\]"):
        Link(link_config(burst={"air": STREAM_AIR}), 1)


@pytest.mark.parametrize(("settings", "message"), [
    ({"offsets": OFFSETS}, "link.offsets"),
    ({"clock": {"sampling_ppm": {"law": "constant", "value": 1.0}}}, "link.clock"),
    ({"impairments": {"converter": {"bits": 6}}}, "converter"),
    ({"receive_antennas": 2}, "one antenna"),
    ({"channel": {"model": "tdl"}}, "flat channels"),
])  # fmt: skip
def test_what_nobody_would_play_is_refused(settings, message):
    config = link_config(**settings)
    with pytest.raises(PhyError, match=message):
        Part(config, *parts(config), StreamConfig(command=("true",)))


def test_the_last_words_of_a_flowgraph_that_ends_reach_the_person():
    config = link_config()
    air = Part(config, *parts(config), StreamConfig(command=("sh", "-c", "echo no such radio >&2; exit 3")))
    with pytest.raises(PhyError, match=r"round 7: .*status 3.*no such radio"):
        air.transmit(np.zeros((2, 64), np.complex64), 7, np.ones((1, 2), np.complex64), 0)
