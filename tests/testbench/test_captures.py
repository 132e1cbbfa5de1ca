"""Captures of a link: recorded, replayed to the bit, refused for training, sounded, and laid over another run."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import fftconvolve

from bridge.captures import CaptureError, open_recording, write_recording
from bridge.captures.measured import measured
from bridge.captures.overlay import OverlayConfig
from phy.burst.layout import BurstLayout
from phy.burst.transmitter import modulate
from phy.channel import Channel
from phy.config import LinkConfig
from phy.draws import CachedDraws, KeyedDraws
from phy.errors import PhyError
from phy.link import Link
from phy.waveform_airs.emulated import Part as Emulated
from testbench.captures.capture import cut_capture, load_capture
from testbench.captures.estimating import sound
from testbench.captures.overlaying import overlaid_link
from testbench.captures.playback import Playback, exact
from testbench.captures.recorder import Recorder
from testbench.errors import TestbenchError

SEED = 11
OFFSETS = {"timing_s": {"law": "uniform", "value": 4e-6}, "frequency_hz": {"law": "uniform", "value": 300.0}}


def config(**link: object) -> LinkConfig:
    return LinkConfig.model_validate({"fidelity": "waveform", "snr_max_db": 15.0, "clip": 1.0, **link})


def payloads(rounds: int, devices: int = 3, scalars: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Payloads [B, K, n] and presence [B, K]; in round 1 device 1 is silent, in round 3 everybody."""
    rng = np.random.default_rng(5)
    values, present = rng.uniform(-1, 1, (rounds, devices, scalars)), np.ones((rounds, devices), bool)
    present[1:2, 1:2] = False
    present[3:4] = False
    values[~present] = 0
    return values, present


def record(folder: Path, setting: LinkConfig, rounds: int = 5, first: int = 20, **shape: int) -> Path:
    values, present = payloads(rounds, **shape)
    with Recorder(setting, SEED, folder) as recorder:
        for i in range(rounds):
            recorder.aggregate(first + i, values[i], None if present[i].all() else present[i])
    assert recorder.collection is not None
    return recorder.collection


LINKS = {
    "analog": {},
    "antennas": {"receive_antennas": 2, "csi": {"estimator": "ls"}},
    "offsets": {"offsets": OFFSETS, "scheme": "sign"},
    "tones": {"scheme": "fsk_mv", "noncoherent": {"looks": 2}},
    "dithered": {"scheme": "reed"},
    "ml": {"receiver": "ml", "burst": {"pulse": "rect", "synchronisation": "slot", "pilot_symbols": 16}},
    "hardware": {"impairments": {"converter": {}}},
    "deaf": {"snr_max_db": -12.0},
}


@pytest.mark.parametrize("name", LINKS)
def test_capture_then_replay_is_exact(tmp_path, name):
    setting = config(**LINKS[name])
    capture = load_capture(record(tmp_path, setting))
    result = Playback(capture).replay()
    assert exact(capture, result).all()
    values, present = payloads(5)
    link = Link(setting, SEED).aggregate(np.arange(20, 25), values, present)
    if name != "ml":  # presence given or not may differ in a last bit elsewhere
        assert np.array_equal(result.lost, link.lost)
    assert np.allclose(result.estimates, link.estimates, equal_nan=True)
    assert result.lost[3]
    assert name != "deaf" or result.lost.sum() > 1


@pytest.mark.parametrize("synchronisation", ["preamble", "slot"])
def test_a_slot_that_the_air_lost_is_a_lost_round_in_the_replay_as_well(tmp_path, synchronisation):
    """Its zeros would be a payload of zero to a receiver that trusts the slot clock."""

    class Losing(Emulated):
        def transmit(self, bursts, round_index, sounded, reference_sample):
            if round_index == 21:
                return None
            return super().transmit(bursts, round_index, sounded, reference_sample)

    setting = config(burst={"synchronisation": synchronisation})
    values = np.full((3, 2, 1), 0.5)
    with Recorder(setting, SEED, tmp_path, make_air=Losing) as recorder:
        answers = [recorder.aggregate(20 + i, values[i]) for i in range(3)]
    assert [answer.lost for answer in answers] == [False, True, False]
    assert np.isnan(answers[1].diagnostics["preamble_metric"])
    capture = load_capture(recorder.collection)
    assert capture.slot_lost.tolist() == [False, True, False]
    result = Playback(capture).replay()
    assert result.lost.tolist() == [False, True, False]
    assert exact(capture, result).all()
    assert not Link(setting, SEED, Losing).observe(np.array([21]), values[1:2]).any()


def test_the_recordings_hold_what_was_sent_and_the_truth(tmp_path):
    setting = config()
    record(tmp_path, setting)
    values, present = payloads(5)
    received, sent = open_recording(tmp_path / "antenna-0"), open_recording(tmp_path / "device-1")
    assert received.format == "cf32_le"
    assert LinkConfig.model_validate(received.own("link")) == setting
    assert (received.frequency_hz, received.sample_rate_hz) == (setting.clock.carrier_hz, setting.burst.sample_rate_hz)
    count = received.own("slot_samples")
    for i, (heard, note) in enumerate(zip(received.annotations, sent.annotations, strict=True)):
        assert (heard.start, heard.count) == (note.start, note.count) == (i * count, count)
        assert heard.own("round") == note.own("round") == 20 + i
        assert heard.own("payloads") == values[i].tolist()
        assert (note.own("payload"), note.own("present"), note.own("device")) == (values[i, 1].tolist(), present[i, 1], 1)
        assert heard.own("seed") == SEED
        silent = not sent.samples[0, note.start : note.start + note.count].any()
        assert silent == (not present[i, 1])
    # What the antenna hears is what devices sent through their channels, and noise.
    capture = load_capture(tmp_path)
    h = Channel(setting, CachedDraws(KeyedDraws(SEED))).gains(3, 20, 5, 1)
    noise = capture.slots[:, 0] - np.einsum("bk,bkn->bn", h[:, 0], capture.bursts)
    assert np.square(np.abs(noise[[0, 1, 2, 4]])).mean() == pytest.approx(setting.n0, rel=0.05)


def test_the_reference_library_accepts_a_capture(tmp_path):
    sigmf = pytest.importorskip("sigmf", reason="the package sigmf is not installed")
    path = record(tmp_path, config(receive_antennas=2))
    collection = sigmf.fromfile(str(path))
    assert collection.get_stream_names() == ["device-0", "device-1", "device-2", "antenna-0", "antenna-1"]
    for name in collection.get_stream_names():
        sigmf.fromfile(str(tmp_path / f"{name}.sigmf-meta")).validate()


def test_a_capture_is_no_air_to_train_over(tmp_path):
    capture = load_capture(record(tmp_path, config()))
    playback = Playback(capture)
    values, present = payloads(5)
    answer = playback.aggregate(21, values[1], present[1])
    assert np.array_equal(answer.estimate, capture.truth.estimates[1])
    moved = values[0].copy()
    moved[2, 0] = np.nextafter(moved[2, 0], 1)
    with pytest.raises(TestbenchError, match="open loop"):
        playback.aggregate(20, moved)
    with pytest.raises(TestbenchError, match="open loop"):
        playback.aggregate(20, values[0], present[1])
    with pytest.raises(TestbenchError, match="not in the capture"):
        playback.aggregate(19, values[0])


def test_slots_cut_from_a_plain_recording(tmp_path):
    setting = config()
    whole = load_capture(record(tmp_path, setting))
    joined = np.concatenate([np.zeros(17), *whole.slots[:, 0], np.zeros(30)]).astype(np.complex64)
    plain = open_recording(write_recording(tmp_path / "plain", joined, 1e6))
    capture = cut_capture(plain, setting, SEED, whole.slots.shape[2], 3, 20, 17)
    assert np.array_equal(capture.slots, whole.slots)
    assert capture.truth is None
    # One scalar is looked for here, where two were sent: the first one is the same but for which rows a product sums.
    single = cut_capture(plain, setting, SEED, BurstLayout(setting.burst, 3, 1).slot_samples, 3, 20, 17)
    with pytest.raises(TestbenchError, match="open loop"):
        Playback(single).aggregate(20, np.zeros((3, 1)))
    with pytest.raises(TestbenchError, match="less than one slot"):
        cut_capture(plain, setting, SEED, 10**6, 3, 0, 0)
    other = config(burst={"sample_rate_hz": 2e6})
    with pytest.raises(CaptureError, match="Hz are needed"):
        cut_capture(plain, other, SEED, 100, 3, 0, 0)


def test_a_device_stream_is_no_reception_and_one_antenna_is_not_all(tmp_path):
    record(tmp_path, config(receive_antennas=2))
    with pytest.raises(TestbenchError, match="what a device sent"):
        load_capture(tmp_path / "device-0.sigmf-meta")
    with pytest.raises(TestbenchError, match="one of 2 antennas"):
        load_capture(tmp_path / "antenna-0.sigmf-meta")


def test_a_capture_that_names_a_class_is_not_trusted(tmp_path):
    record(tmp_path, config())
    meta = tmp_path / "antenna-0.sigmf-meta"
    good = json.loads(meta.read_text())
    for place in ({"burst": {"air": "os:system"}}, {"impairments": {"os:system": {}}}):
        good["global"]["pairzero:link"] = place
        meta.write_text(json.dumps(good))
        with pytest.raises(TestbenchError, match="'os:system', which would run its code"):
            load_capture(meta)
    good["global"]["pairzero:link"] = {"fidelity": "waveform", "clipp": 1}
    meta.write_text(json.dumps(good))
    with pytest.raises(CaptureError, match="no valid link configuration: clipp"):
        load_capture(meta)


def test_a_symbol_link_has_nothing_to_record(tmp_path):
    with pytest.raises(TestbenchError, match="captures hold waveforms"):
        Recorder(LinkConfig(), 1, tmp_path)


QUIET = {
    "snr_max_db": 60.0,
    "burst": {"pilot_symbols": 64, "guard_symbols": 16},
    "csi": {"estimator": "ls", "pilot_snr_db": 0.0},
}


@pytest.mark.parametrize(
    "model", [{"model": "rayleigh"}, {"model": "tdl", "tdl": "A", "delay_spread_s": 1e-6}], ids=["flat", "tdl"]
)
def test_sounded_taps_resynthesise_held_out_bursts(tmp_path, model):
    """The channel is estimated from pilots and must carry the payload, which the estimate has not seen."""
    setting = config(**{**QUIET, "snr_max_db": 80.0}, channel=model, receive_antennas=2)
    capture = load_capture(record(tmp_path, setting))
    one = sound(capture, taps=16 if model["model"] == "tdl" else 8)
    layout = BurstLayout(setting.burst, 3, 2)
    payload = slice(layout.payload.first, layout.payload.stop)
    for i in (0, 1, 4):
        for m in range(2):
            total = np.zeros(layout.slot_samples, complex)
            for k in np.flatnonzero(one.found[i]):
                spectrum = np.fft.fft(fftconvolve(capture.bursts[i, k], one.coefficients[i, m, k])[: layout.slot_samples])
                shift = np.exp(-2j * np.pi * np.fft.fftfreq(layout.slot_samples, 1e-6) * one.timing_s[i, k])
                total += np.fft.ifft(spectrum * shift)
            error = np.square(np.abs(total - capture.slots[i, m])[payload]).mean()
            power = np.square(np.abs(capture.slots[i, m])[payload]).mean()
            assert error < 1.5 * setting.n0 + 1e-5 * power  # the slot's own noise, and 50 dB below the signal
    assert one.found.sum() == 3 * 5 - 1 - 3
    assert not one.found[1, 1]
    assert one.noise_variance[one.found].mean() == pytest.approx(setting.n0, rel=0.1)


def test_sounding_finds_timing_carrier_and_gain_of_each_device(tmp_path):
    setting = config(**QUIET, offsets=OFFSETS)
    capture = load_capture(record(tmp_path, setting))
    one = sound(capture, taps=8)
    from phy.offsets import OffsetDraws

    truth = OffsetDraws(setting, KeyedDraws(SEED)).draw(3, 20, 5)
    heard = one.found
    # The first tap lies two samples before the strongest.
    assert np.abs(one.timing_s + 2e-6 - truth.timing_s)[heard].max() < 0.02e-6
    assert np.abs(one.frequency_offset_hz - truth.frequency_hz)[heard].max() < 15.0
    h = Channel(setting, CachedDraws(KeyedDraws(SEED))).gains(3, 20, 5, 1)[:, 0]
    # At the middle of the band the response is the sum of the taps, turned by the two samples.
    sums = one.coefficients[:, 0].sum(axis=2)
    assert np.abs(np.abs(sums) / np.abs(h) - 1)[heard].max() < 0.02
    assert np.abs(np.angle(sums / h))[heard].max() < 0.1


def test_a_sounding_played_again_is_the_channel_that_was_measured(tmp_path):
    setting = config(**QUIET, channel={"model": "rayleigh"})
    path = record(tmp_path / "c", setting)
    one = sound(load_capture(path), taps=1)
    assert one.coefficients.shape == (5, 1, 3, 1)
    part = measured(one.save(tmp_path / "s.h5"))(setting, CachedDraws(KeyedDraws(0)))
    assert part.flat
    truth = Channel(setting, CachedDraws(KeyedDraws(SEED))).gains(3, 20, 5, 1)
    error = np.abs(part.gains(3, 0, 5, 1) - truth)[one.found[:, None]]
    assert error.max() < 5e-3


def test_devices_that_never_send_alone_cannot_be_sounded(tmp_path):
    with pytest.raises(TestbenchError, match="no section that each device sends alone"):
        sound(load_capture(record(tmp_path / "a", config())))
    values = payloads(2, 1)[0]
    with Recorder(config(snr_max_db=40.0), SEED, tmp_path / "b") as recorder:
        for i in range(2):
            recorder.aggregate(i, values[i])
    assert sound(load_capture(tmp_path / "b")).found.all()  # alone on the air, the preamble will do


def tone(folder: Path, count: int = 5000, rate: float = 1e6) -> Path:
    """A recording of mean power 4, every sample another."""
    return write_recording(folder / "tone", (2 * np.exp(2j * np.pi * 0.01 * np.arange(count))).astype(np.complex64), rate)


@pytest.mark.parametrize("reference", ["n0", "received"])
@pytest.mark.parametrize("position", ["random", "sequential"])
def test_an_overlay_has_the_stated_power(tmp_path, reference, position):
    setting = config(receive_antennas=2)
    overlay = OverlayConfig(file=tone(tmp_path), level_db=3.0, relative_to=reference, position=position)
    rounds, (values, present) = np.arange(20, 25), payloads(5)
    bare = Link(setting, SEED).observe(rounds, values, present).reshape(5, 2, -1)
    jammed = overlaid_link(setting, SEED, overlay)
    loud = jammed.observe(rounds, values, present).reshape(5, 2, -1)
    added = loud - bare
    assert not added[3].any()
    layout = BurstLayout(setting.burst, 3, 2)
    bursts = modulate(layout, np.ones((3, 2, 1), np.complex64), np.ones(3, np.complex64))
    sending = (bursts != 0).any(axis=0)
    for i in (0, 1, 2, 4):
        wanted = setting.n0
        if reference == "received":
            wanted = np.square(np.abs(bare[i][:, sending])).mean() - setting.n0
        assert np.square(np.abs(added[i])).mean() == pytest.approx(10**0.3 * wanted, rel=0.01)
    if position == "sequential":
        turns = np.angle(added[1, 0, 0] / added[0, 0, 0]) / (2 * np.pi)
        expected = 0.01 * ((21 * layout.slot_samples % 5000) - (20 * layout.slot_samples % 5000))
        assert (turns - expected + 0.5) % 1 - 0.5 == pytest.approx(0, abs=1e-4)
    again = overlaid_link(setting, SEED, overlay).observe(rounds[2:3], values[2:3], present[2:3])
    assert np.array_equal(again, loud[2:3].reshape(1, -1))


def test_an_overlay_comes_before_the_receivers_hardware(tmp_path):
    """A converter that is full must clip the interference with the signal."""
    setting = config(impairments={"converter": {"bits": 4}})
    values, _ = payloads(1)
    overlay = OverlayConfig(file=tone(tmp_path), level_db=30.0)
    heard = overlaid_link(setting, SEED, overlay).observe(np.array([3]), values)
    assert len(np.unique(np.round(heard.real / np.abs(heard.real).max(), 5))) <= 16


def test_an_overlay_in_a_configuration_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "jammed_of_mine.py").write_text(
        "from bridge.captures.overlay import OverlayConfig, overlaid\n"
        f"Air = overlaid(OverlayConfig(file={str(tone(tmp_path))!r}, level_db=10.0))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    values, present = payloads(5)
    link = Link(config(burst={"air": "jammed_of_mine:Air"}), SEED)
    direct = overlaid_link(config(), SEED, OverlayConfig(file=tmp_path / "tone", level_db=10.0))
    for one in (link, direct):
        result = one.aggregate(np.arange(5), values, present)
        assert np.array_equal(result.estimates, direct.aggregate(np.arange(5), values, present).estimates, equal_nan=True)


def test_an_overlay_says_what_was_odd_about_its_recording(tmp_path, caplog):
    meta = tone(tmp_path)
    value = json.loads(meta.read_text())
    value["captures"][0]["core:sample_start"] = 100
    meta.write_text(json.dumps(value))
    overlaid_link(config(), SEED, OverlayConfig(file=meta, level_db=0.0))
    assert "overlay tone.sigmf-meta: 100 samples before its first capture segment are skipped" in caplog.text


def test_overlays_that_cannot_be_used(tmp_path):
    silent = write_recording(tmp_path / "silent", np.zeros(10, np.complex64), 1e6)
    other = tone(tmp_path / "other", rate=2e6)
    for file, sentence in ((silent, "empty or silent"), (other, r"2e\+06 Hz and 1e\+06 Hz"), (tmp_path / "no", "no recording")):
        with pytest.raises(PhyError, match=sentence):
            overlaid_link(config(), SEED, OverlayConfig(file=file, level_db=0.0))
    with pytest.raises(PhyError, match=r"link\.burst\.overlay"):
        Link(config(burst={"air": "bridge.captures.overlay:Air"}), SEED)
    with pytest.raises(TestbenchError, match="over the emulated air"):
        overlaid_link(config(burst={"air": "bridge.captures.overlay:Air"}), SEED, OverlayConfig(file=silent, level_db=0.0))
