"""SigMF metadata that say where the samples are: honoured or refused, field by field, the reference library as judge."""

import json
from pathlib import Path

import numpy as np
import pytest

from bridge.captures import CaptureError, Stated, open_any, open_recording, write_collection, write_recording

RATE = 1e6
RNG = np.random.default_rng(5)
SAMPLES = (RNG.standard_normal(900) + 1j * RNG.standard_normal(900)).astype(np.complex64)


def recording(
    folder: Path, captures: list, notes: list = (), data: bytes | None = None, name: str = "x", **keys: object
) -> Path:
    """A recording of SAMPLES whose global keys ``core:KEY`` and captures are given."""
    section = {"core:datatype": "cf32_le", "core:version": "1.2.5", "core:sample_rate": RATE}
    section |= {f"core:{key}": value for key, value in keys.items()}
    (folder / f"{name}.sigmf-data").write_bytes(SAMPLES.tobytes() if data is None else data)
    meta = folder / f"{name}.sigmf-meta"
    meta.write_text(json.dumps({"global": section, "captures": captures, "annotations": list(notes)}))
    return meta


def at(start: int, **keys: object) -> dict:
    return {"core:sample_start": start} | {f"core:{key}": value for key, value in keys.items()}


def test_samples_before_the_first_capture_segment_are_skipped_and_that_is_said(tmp_path):
    notes = [{"core:sample_start": 310, "core:sample_count": 5}, {"core:sample_start": 3, "core:sample_count": 5}]
    read = open_recording(recording(tmp_path, [at(300)], notes))
    assert np.array_equal(read.samples[0], SAMPLES[300:])
    assert [(note.start, note.count) for note in read.annotations] == [(10, 5)]
    assert read.first_sample == 300
    assert any("300 samples before" in note for note in read.notes)
    assert any("1 annotations before" in note for note in read.notes)


def test_indices_of_a_split_recording_count_from_the_whole(tmp_path):
    notes = [{"core:sample_start": 100_640.0, "core:sample_count": 40}]
    read = open_recording(recording(tmp_path, [at(100_000)], notes, offset=100_000))
    assert np.array_equal(read.samples[0], SAMPLES)
    assert [(note.start, note.count) for note in read.annotations] == [(640, 40)]
    later = open_recording(recording(tmp_path, [at(100_500)], offset=100_000))
    assert np.array_equal(later.samples[0], SAMPLES[500:])
    with pytest.raises(CaptureError, match=r"captures\[0\] at sample 7, before .* core:offset puts at 100"):
        open_recording(recording(tmp_path, [at(7)], offset=100))


def test_header_and_trailing_bytes_lie_where_the_reference_library_finds_them(tmp_path):
    sigmf = pytest.importorskip("sigmf", reason="the package sigmf is not installed")
    raw = SAMPLES.tobytes()
    data = b"h" * 12 + raw[: 8 * 200] + b"k" * 20 + raw[8 * 200 :] + b"t" * 5
    captures = [at(0, header_bytes=12), at(200, header_bytes=20)]
    meta = recording(tmp_path, captures, data=data, trailing_bytes=5)
    assert np.array_equal(open_recording(meta).samples[0], SAMPLES)
    assert np.array_equal(open_recording(meta, segment=1).samples[0], SAMPLES[200:])
    theirs = sigmf.SigMFFile(metadata=json.loads(meta.read_text()))
    theirs.set_data_file(tmp_path / "x.sigmf-data", skip_checksum=True)
    assert np.array_equal(theirs.read_samples_in_capture(0), SAMPLES[:200])
    assert np.array_equal(theirs.read_samples_in_capture(1), SAMPLES[200:])
    for size, captures in ((1599, [at(0), at(200)]), (8 * 900 - 3, [at(0)])):
        with pytest.raises(CaptureError, match="truncated"):
            open_recording(recording(tmp_path, captures, data=raw[:size]))


@pytest.mark.parametrize(("second", "sentence"), [
    (at(400, frequency=2.5e9), "is retuned from 2400000000 to 2500000000"),
    (at(400), "is retuned from 2400000000 to nothing stated"),
    (at(400, frequency=2.4e9, global_index=401), "core:global_index goes 401 further, samples 400"),
    (at(400, frequency=2.4e9, global_index=399), "lacks or repeats samples"),
    (at(400, frequency=2.4e9, datetime="2026-03-01T10:00:00.25Z"),
     "core:datetime goes 0.25 s further, samples 0.0004 s"),
    (at(400, frequency=2.4e9) | {"capture_details:gain": 20}, "changes capture_details:gain"),
])  # fmt: skip
def test_a_retune_a_gap_or_any_other_change_is_refused_until_a_segment_is_chosen(tmp_path, second, sentence):
    first = at(0, frequency=2.4e9, global_index=0, datetime="2026-03-01T10:00:00.000Z")
    meta = recording(tmp_path, [first, second], [{"core:sample_start": 410, "core:sample_count": 3}])
    with pytest.raises(CaptureError, match=f"{sentence}.*--capture 0 .. 1"):
        open_recording(meta)
    one, two = open_recording(meta, segment=0), open_recording(meta, segment=1)
    assert np.array_equal(np.concatenate((one.samples[0], two.samples[0])), SAMPLES)
    assert not one.annotations
    assert two.annotations[0].start == 10
    assert two.frequency_hz == second.get("core:frequency")
    with pytest.raises(CaptureError, match="no segment 2"):
        open_recording(meta, segment=2)


def test_segments_that_follow_each_other_are_one(tmp_path):
    first = at(0, frequency=2.4e9, global_index=70, datetime="2026-03-01T10:00:00Z")
    second = at(400, frequency=2.4e9, global_index=470, datetime="2026-03-01T10:00:00.0004Z")
    assert np.array_equal(open_recording(recording(tmp_path, [first, second])).samples[0], SAMPLES)
    with pytest.raises(CaptureError, match="do not ascend"):
        open_recording(recording(tmp_path, [second, first]))


@pytest.mark.parametrize(("keys", "sentence"), [
    ({"offset": -1}, "core:offset '-1', which is no whole number"),
    ({"offset": 1.5}, "core:offset '1.5'"),
    ({"offset": 10**400}, "core:offset '1000"),
    ({"sample_rate": 10**400}, "core:sample_rate '1000"),
    ({"num_channels": 10**12}, "up to 4096 are read"),
    ({"num_channels": True}, "core:num_channels 'True'"),
    ({"trailing_bytes": "8"}, "core:trailing_bytes '8'"),
    ({"version": "2.0.0"}, "SigMF '2.0.0'; versions 0 and 1 are read"),
    ({"extensions": [{"name": "spatial", "version": "1.0.0", "optional": False}]}, "needs the extension 'spatial'"),
    ({"sha512": 7}, "core:sha512 '7', which is no sha512"),
    ({"datatype": "ri16_le", "num_channels": 2}, "state the datatype ci16_le and half as many channels"),
    ({"sample_rate": "1000000"}, "core:sample_rate '1000000', which is no number"),
])  # fmt: skip
def test_fields_that_cannot_be_honoured_are_named(tmp_path, keys, sentence):
    with pytest.raises(CaptureError, match=sentence):
        open_recording(recording(tmp_path, [at(0)], **keys))


def test_what_is_written_another_way_is_read(tmp_path):
    """A byte order mark, a hash in upper case, no annotations at all, a rate that only the user knows."""
    import hashlib

    digest = hashlib.sha512(SAMPLES.tobytes()).hexdigest()
    meta = recording(tmp_path, [at(0)], sha512=digest.upper())
    value = json.loads(meta.read_text())
    del value["annotations"], value["global"]["core:sample_rate"]
    meta.write_bytes(b"\xef\xbb\xbf" + json.dumps(value).encode())
    with pytest.raises(CaptureError, match="lacks a number core:sample_rate; state it with --sample-rate"):
        open_recording(meta)
    read = open_any(meta, Stated(sample_rate_hz=RATE))
    assert read.verified
    assert read.sample_rate_hz == RATE
    assert any("no section 'annotations'" in note for note in read.notes)
    meta.write_bytes(json.dumps(value).encode("utf-16"))
    with pytest.raises(CaptureError, match="no text in UTF-8"):
        open_recording(meta)
    meta = recording(tmp_path, [at(0)], metadata_only=True)
    (tmp_path / "x.sigmf-data").unlink()
    with pytest.raises(CaptureError, match="core:metadata_only"):
        open_recording(meta)
    meta = recording(tmp_path, [at(0)], [{"core:sample_start": 899, "core:sample_count": 2}], sha512=digest)
    with pytest.raises(CaptureError, match=r"annotation that reaches to sample 901.*sha512 matches"):
        open_recording(meta)


def test_keys_without_effect_are_named(tmp_path):
    meta = recording(tmp_path, [at(0, geolocation={}) | {"capture_details:acq_scale_factor": 3}], hw="dongle")
    assert open_recording(meta).unused() == ["capture_details:acq_scale_factor", "core:geolocation", "core:hw"]


def test_a_scale_is_for_every_recording_and_options_that_do_not_fit_are_refused(tmp_path):
    """Integers of two channels among them."""
    pairs = np.array([[100, -200, 300, 400], [5, 6, 7, 8]], ">i2")
    meta = recording(tmp_path, [at(0)], data=pairs.tobytes(), datatype="ci16_be", num_channels=2)
    read = open_any(meta, Stated(scale=32768.0 / 4))
    assert np.array_equal(read.samples, np.array([[25 - 50j, 1.25 + 1.5j], [75 + 100j, 1.75 + 2j]], np.complex64))
    raw = tmp_path / "r"
    raw.write_bytes(pairs.astype("<i2").tobytes())
    same = open_any(raw, Stated("sc16", RATE, 32768.0 / 4, channels=2))
    assert np.array_equal(same.samples, read.samples)
    for path, stated, sentence in (
        (meta, Stated(format="cf32", sample_rate_hz=RATE), "leave --format out"),
        (meta.with_suffix(".sigmf-data"), Stated(format="cf32", sample_rate_hz=RATE), "leave --format out"),
        (meta, Stated(channels=2), "leave --channels out"),
        (meta, Stated(sample_rate_hz=2e6), "not at the 2000000 Hz"),
        (meta, Stated(scale=0.0), "scale that is finite and not zero"),
        (meta, Stated(scale=np.inf), "scale that is finite and not zero"),
        (raw, Stated("sc16", RATE, segment=0), "leave --capture out"),
        (raw, Stated("sc16", RATE, channels=3), "no whole number of sc16 samples of 4 bytes in 3 channels"),
        (raw, Stated("sc16", RATE, channels=0), "1 channel or more"),
        (tmp_path / "nothing", Stated(), "there is no recording"),
        (tmp_path / "nothing.cf32", Stated("cf32", RATE), "there is no recording"),
    ):
        with pytest.raises(CaptureError, match=sentence):
            open_any(path, stated)
    alone = tmp_path / "alone.sigmf-data"
    alone.write_bytes(raw.read_bytes())
    assert open_any(alone, Stated("sc16", RATE)).samples.shape == (1, 4)


def test_a_collection_of_others_is_a_recording_of_several_channels(tmp_path):
    metas = [write_recording(tmp_path / f"ch{i}", (i + 1) * SAMPLES, RATE, frequency_hz=2.4e9) for i in range(3)]
    path = write_collection(tmp_path / "c", metas[:2])
    read = open_any(path, Stated(scale=2.0))
    assert np.array_equal(read.samples, np.stack((2 * SAMPLES, 4 * SAMPLES)))
    value = json.loads(path.read_text())
    entries = value["collection"]["core:streams"]
    value["collection"]["core:streams"] = [[entry["name"], entry["hash"].upper()] for entry in entries]  # as before 1.2
    path.write_text(json.dumps(value))
    assert np.array_equal(open_any(path, Stated()).samples, np.stack((SAMPLES, 2 * SAMPLES)))
    with pytest.raises(CaptureError, match="--capture chooses nothing"):
        open_any(path, Stated(segment=0))
    other = write_recording(tmp_path / "ch9", SAMPLES[:-1], RATE, frequency_hz=2.4e9)
    with pytest.raises(CaptureError, match=r"number of samples of ch0\.sigmf-meta is 900 and of ch9\.sigmf-meta 899"):
        open_any(write_collection(tmp_path / "d", [metas[0], other]), Stated())
    recording(tmp_path, [at(4, frequency=2.4e9)], data=bytes(8 * 4) + SAMPLES.tobytes(), name="late")
    stamps = ("2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:00.0000000Z", "2026-01-01T00:00:00.000004Z")
    for i, text in enumerate(stamps):
        recording(tmp_path, [at(0, datetime=text)], name=f"t{i}")
    timed = [tmp_path / f"t{i}.sigmf-meta" for i in range(3)]
    assert open_any(write_collection(tmp_path / "f", timed[:2]), Stated()).samples.shape == (2, 900)
    with pytest.raises(CaptureError, match="the time of t0"):
        open_any(write_collection(tmp_path / "g", [timed[0], timed[2]]), Stated())
    with pytest.raises(CaptureError, match="first sample of ch0"):
        open_any(write_collection(tmp_path / "e", [metas[0], tmp_path / "late.sigmf-meta"]), Stated())


def test_an_overlay_takes_what_a_replay_takes(tmp_path):
    from bridge.captures.overlay import OverlayConfig

    (tmp_path / "r").write_bytes(SAMPLES.tobytes())
    pairs = OverlayConfig(file=tmp_path / "r", level_db=0, format="cf32", sample_rate_hz=RATE, channels=2).open()
    assert np.array_equal(pairs.samples, SAMPLES.reshape(-1, 2).T)
    meta = recording(tmp_path, [at(0, frequency=1e9), at(300, frequency=2e9)])
    with pytest.raises(CaptureError, match="is retuned"):
        OverlayConfig(file=meta, level_db=0).open()
    assert np.array_equal(OverlayConfig(file=meta, level_db=0, capture=1).open().samples[0], SAMPLES[300:])
    with pytest.raises(CaptureError, match="not at the 2000000 Hz that were stated"):
        OverlayConfig(file=meta, level_db=0, capture=1, sample_rate_hz=2e6).open()
    path = write_collection(tmp_path / "c", [write_recording(tmp_path / f"ch{i}", SAMPLES, RATE) for i in range(2)])
    assert OverlayConfig(file=path, level_db=0).open().samples.shape == (2, 900)
