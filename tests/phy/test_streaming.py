"""Streams through channels, against closed forms, and in pieces of any length."""

import numpy as np
import pytest

from phy.channel import Channel
from phy.config import LinkConfig
from phy.draws import CachedDraws, KeyedDraws
from phy.errors import PhyError
from phy.streaming.air import StreamingAir
from phy.streaming.delays import HALF_SAMPLES, delay_filters
from phy.streaming.noise import StreamNoise
from phy.streaming.paths import StreamChannel
from phy.streaming.turning import Turning

RATE_HZ = 1e6
SEED = 5


def channel_of(devices: int = 1, antennas: int = 1, **link) -> StreamChannel:
    link.setdefault("channel", {"model": "awgn"})
    return StreamChannel(LinkConfig(backend="numpy", receive_antennas=antennas, **link), SEED, devices)


def air_of(devices: int = 1, antennas: int = 1, n0: float = 0.0, **link) -> StreamingAir:
    channel = channel_of(devices, antennas, **link)
    turns = [Turning(f, RATE_HZ, p) for f, p in zip(channel.frequency_hz, channel.phase_rad, strict=True)]
    noise = [StreamNoise(KeyedDraws(SEED), n0, m) for m in range(antennas)]
    return StreamingAir(channel.uplink(), RATE_HZ, turns, None, noise)


def through(air: StreamingAir, *streams: np.ndarray) -> np.ndarray:
    for j, stream in enumerate(streams):
        air.push(j, stream.astype(np.complex64))
    return air.take(min(air.ready(j) for j in range(len(streams))))


def constant(value: float) -> dict:
    return {"law": "constant", "value": value}


def tone(frequency_hz: float, times: np.ndarray) -> np.ndarray:
    """exp(j 2 pi f t) at ``times`` in samples."""
    return np.exp(2j * np.pi * frequency_hz / RATE_HZ * times)


def random(count: int, rows: int = 1) -> np.ndarray:
    rng = np.random.default_rng(1)
    return (rng.standard_normal((rows, count)) + 1j * rng.standard_normal((rows, count))).astype(np.complex64) * 0.5**0.5


EVERYTHING = {
    "channel": {"model": "tdl", "tdl": "D", "delay_spread_s": 2e-6, "doppler_hz": 40.0},
    "offsets": {"timing_s": {"law": "uniform", "value": 5e-6}, "frequency_hz": {"law": "normal", "value": 200.0}},
    "clock": {"sampling_ppm": {"law": "uniform", "value": 20.0}},
}


def test_powers_of_the_sum_and_of_the_noise_add():
    count, n0 = 400_000, 0.3
    out = through(air_of(3, antennas=2, n0=n0), *random(count, 3))
    for row in out:
        assert np.mean(np.abs(row) ** 2) == pytest.approx(3 + n0, rel=5 / np.sqrt(count / 3))
    noise = out - random(count, 3).sum(axis=0)
    assert np.mean(np.abs(noise) ** 2, axis=1) == pytest.approx(n0, rel=5 / np.sqrt(count))
    assert abs(np.vdot(noise[0], noise[1])) / count < 5 * n0 / np.sqrt(count)


@pytest.mark.parametrize("link", [
    {},
    {"channel": {"model": "rayleigh", "doppler_hz": 100.0}},
    {"offsets": {"timing_s": {"law": "uniform", "value": 9e-6}, "frequency_hz": {"law": "uniform", "value": 900.0}}},
    {"channel": {"model": "tdl", "delay_spread_s": 1e-6}},
    EVERYTHING,
], ids=["flat", "jakes", "offsets", "tdl", "everything"])  # fmt: skip
def test_many_short_calls_are_one_long_call(link):
    """To 1e-6 of the amplitude, in pieces of 1 to 3000 samples that begin and end anywhere."""
    count, streams = 60_000, random(70_000, 2)
    whole = air_of(2, antennas=2, n0=0.1, **link)
    for j in range(2):
        whole.push(j, streams[j])
    at_once = whole.take(count)
    rng, pieces = np.random.default_rng(3), air_of(2, antennas=2, n0=0.1, **link)
    pushed, parts, taken = [0, 0], [], 0
    while taken < count:
        for j in range(2):
            more = int(rng.integers(1, 3000))
            pieces.push(j, streams[j, pushed[j] : pushed[j] + more])
            pushed[j] += more
        ready = min(pieces.ready(0), pieces.ready(1), count - taken)
        assert pieces.missing(0, ready) == pieces.missing(1, ready) == 0
        if ready:
            parts.append(pieces.take(ready))
            taken += ready
    error = np.abs(np.concatenate(parts, axis=1) - at_once)
    amplitude = np.sqrt(np.mean(np.abs(at_once) ** 2))
    assert np.sqrt(np.mean(error**2)) < 5e-7 * amplitude
    assert error.max() < 2e-6 * amplitude


def test_a_carrier_offset_moves_a_tone_and_its_phase_starts_where_it_says():
    n = np.arange(50_000)
    out = through(air_of(offsets={"frequency_hz": constant(1234.5), "phase_rad": constant(0.7)}), tone(10_000.0, n))
    assert np.abs(out[0] - np.exp(0.7j) * tone(11_234.5, n)).max() < 2e-6


def test_a_carrier_offset_keeps_its_phase_after_days():
    """At sample 10^12, 11 days on: turns are 10^12 / 8, a whole number, plus what follows."""
    turning, out = Turning(RATE_HZ / 8, RATE_HZ), np.empty(10_000, np.complex64)
    turning.apply(np.ones(10_000, np.complex64), 10**12, out)
    assert np.abs(out - np.exp(2j * np.pi * np.arange(10_000) / 8)).max() < 1e-6


@pytest.mark.parametrize("frequency_hz", [0.0, 1e5, -3e5, 4e5])
def test_a_tone_is_delayed_by_a_fraction_of_a_sample(frequency_hz):
    air = air_of(offsets={"timing_s": constant(3.37e-6)})
    n = np.arange(30_000)
    out = through(air, tone(frequency_hz, n))[0, 200:]
    n = n[200 : 200 + len(out)]
    assert np.abs(out - tone(frequency_hz, n - 3.37 - air.latency_samples)).max() < 1e-4


def test_an_early_device_is_early_against_the_others_and_all_are_later_by_the_latency():
    air = air_of(2, offsets={"timing_s": {"law": "uniform", "value": 20e-6, "per": "device"}})
    timing = channel_of(2, offsets={"timing_s": {"law": "uniform", "value": 20e-6, "per": "device"}}).timing_s * RATE_HZ
    assert timing.min() < 0
    impulse, silence = np.eye(1, 3000, 1000), np.zeros((1, 3000))
    for j in range(2):
        one = air_of(2, offsets={"timing_s": {"law": "uniform", "value": 20e-6, "per": "device"}})
        sent = [silence[0], silence[0]]
        sent[j] = impulse[0]
        heard = through(one, *sent)[0]
        centre = np.sum(np.arange(len(heard)) * heard.real) / heard.real.sum()
        assert centre == pytest.approx(1000 + timing[j] + air.latency_samples, abs=1e-3)


def test_whole_delays_are_exact_and_cost_no_latency():
    air = air_of(offsets={"timing_s": constant(7e-6)})
    sent = random(5000)
    out = through(air, sent[0])
    assert air.latency_samples == 0
    assert out.shape[1] == 5007  # what is on its way can be heard before more is sent
    assert np.array_equal(out[0], np.concatenate([np.zeros(7), sent[0]]).astype(np.complex64))


@pytest.mark.parametrize("ppm", [20.0, -35.0])
def test_a_clock_that_is_fast_is_read_at_a_higher_rate(ppm):
    """x(n (1 + e) - D), over so long that 2 samples slip."""
    air = air_of(clock={"sampling_ppm": constant(ppm)})
    rate = 1 + ppm * 1e-6
    out = through(air, tone(2e5, np.arange(100_000)))[0]
    assert len(out) == pytest.approx(100_000 / rate, abs=60)
    n = np.arange(len(out))
    assert np.abs(out - tone(2e5, n * rate - air.latency_samples))[200:].max() < 1e-3


def test_fading_is_that_of_the_link_at_the_same_instant():
    """A constant comes out as the Jakes process of the same seed, which a link evaluates instant by instant."""
    link = {"channel": {"model": "rayleigh", "doppler_hz": 150.0}}
    config = LinkConfig(backend="numpy", **link)
    out = through(air_of(**link), np.ones(40_000))[0]
    at = np.array([0, 1, 777, 12_345, 39_999])
    channel = Channel(config, CachedDraws(KeyedDraws(SEED)))
    exact = [channel.paths(1, 0, 1, 1, start_s=float(n) / RATE_HZ)[0].ravel()[0] for n in at]
    assert np.abs(out[at] - exact).max() < 1e-3


def test_a_tapped_delay_line_has_the_frequency_response_of_its_paths():
    link = {"channel": {"model": "tdl", "tdl": "C", "delay_spread_s": 3e-6}}
    air = air_of(antennas=2, **link)
    a, delays_s = Channel(LinkConfig(backend="numpy", receive_antennas=2, **link), CachedDraws(KeyedDraws(SEED))).paths(
        1, 0, 1, 2
    )
    n = np.arange(20_000)
    out = through(air, tone(-2.1e5, n))[:, 500:]
    late = np.exp(-2j * np.pi * -2.1e5 * (delays_s[0, 0] + air.latency_samples / RATE_HZ))
    expected = (a[0, :, 0, :, 0] * late).sum(axis=1)
    assert np.abs(out - expected[:, None] * tone(-2.1e5, n[500 : 500 + out.shape[1]])).max() < 5e-4


def test_the_way_down_has_the_paths_of_the_way_up_and_the_clock_turned_round():
    link = {"channel": {"model": "rayleigh"}, "clock": {"sampling_ppm": constant(10.0)}}
    channel = channel_of(2, antennas=2, **link)
    up, down = channel.uplink(), channel.downlink(1)
    assert np.array_equal(up.coefficients(0.0, 1, 1.0)[:, 1], down.coefficients(0.0, 1, 1.0)[0])
    assert (1 + up.drift[1]) * (1 + down.drift[0]) == pytest.approx(1.0, abs=1e-15)


def test_noise_is_a_function_of_receiver_and_sample_alone():
    def drawn(first: int, count: int, receiver: int = 0) -> np.ndarray:
        out = np.zeros(count, np.complex64)
        StreamNoise(KeyedDraws(SEED), 1.0, receiver).add(out, first)
        return out

    assert np.array_equal(drawn(0, 20_000)[8000:9000], drawn(8000, 1000))
    assert abs(np.vdot(drawn(0, 20_000), drawn(0, 20_000, 1))) / 20_000 < 0.05
    assert abs(np.vdot(drawn(0, 8192), drawn(8192, 8192))) / 8192 < 0.06


def test_a_filter_of_a_whole_delay_is_one_tap():
    assert np.array_equal(delay_filters(np.array(30.0), 70), np.eye(1, 70, 30)[0])
    assert delay_filters(np.array(HALF_SAMPLES + 0.5), 2 * HALF_SAMPLES + 2).sum() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(("link", "words"), [
    ({"channel": {"model": "measured", "file": "/nowhere.h5"}}, "made for bursts"),
    ({"offsets": {"timing_s": constant(10.0)}}, "1048576"),
])  # fmt: skip
def test_what_cannot_be_a_stream_is_refused(link, words):
    with pytest.raises(PhyError, match=words):
        air_of(**link)
