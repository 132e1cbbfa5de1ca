"""Bursts in long recordings: every one is found where it lies, noise gives none, and replay starts where it is told to."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from bridge.captures import CaptureError, open_recording
from bridge.captures.recording import Recording
from phy.config import LinkConfig
from testbench.captures.command import app
from testbench.captures.finding import find_bursts
from testbench.captures.recorder import Recorder
from testbench.errors import TestbenchError

SEED, DEVICES = 3, 2
LINK = {"fidelity": "waveform", "snr_max_db": 20.0, "clip": 1.0, "channel": {"model": "awgn"}}
SCENARIO = """
name = "s"
seed = 3
[federation]
devices = 2
[zeroth_order]
clip = 1.0
[link]
fidelity = "waveform"
snr_max_db = 20.0
[link.channel]
model = "awgn"
"""


def config(**link: object) -> LinkConfig:
    return LinkConfig.model_validate({**LINK, **link})


def heard(folder: Path, setting: LinkConfig, count: int) -> tuple[np.ndarray, list[float]]:
    """What the antennas heard in rounds 0 .. count - 1, slot after slot [M, N], and the estimates."""
    payloads = np.random.default_rng(1).uniform(-1, 1, (count, DEVICES, 1))
    with Recorder(setting, SEED, folder) as recorder:
        for i in range(count):
            recorder.aggregate(i, payloads[i])
    antennas = [open_recording(folder / f"antenna-{m}") for m in range(setting.receive_antennas)]
    return np.concatenate([one.samples for one in antennas]), [
        note.own("estimate")[0] if note.own("estimate") else np.nan for note in antennas[0].annotations
    ]


def buried(pieces: dict[int, np.ndarray], length: int, power: float, antennas: int = 1, seed: int = 0) -> np.ndarray:
    """Noise of a mean ``power`` with pieces [M, N] from the samples given. [M, length]."""
    parts = np.random.default_rng(seed).standard_normal((2, antennas, length)) * np.sqrt(power / 2)
    out = (parts[0] + 1j * parts[1]).astype(np.complex64)
    for start, piece in pieces.items():
        out[:, start : start + piece.shape[1]] += piece
    return out


def as_recording(samples: np.ndarray, rate: float = 1e6) -> Recording:
    return Recording(Path("x"), samples, rate, None, (), {}, False, "cf32_le")


@pytest.mark.parametrize("antennas", [1, 2])
def test_every_burst_is_found_where_it_lies(tmp_path, antennas):
    setting = config(receive_antennas=antennas)
    samples, _ = heard(tmp_path / "c", setting, 4)
    slot = samples.shape[1] // 4
    # Odd places, one burst next to the other, one at the very end.
    places = {1234: samples[:, :slot], 20_001: samples[:, slot : 3 * slot], 100_000 - slot: samples[:, 3 * slot :]}
    recording = as_recording(buried(places, 100_000, 1e-3, antennas))
    bursts = find_bursts(recording, setting, SEED, DEVICES)
    assert bursts.slot_samples == slot
    assert np.allclose(bursts.starts, [1234, 20_001, 20_001 + slot, 100_000 - slot], atol=0.5)
    assert (bursts.metric > 0.8).all()


def test_a_carrier_offset_is_found_and_measured(tmp_path):
    samples, _ = heard(tmp_path / "c", config(), 1)
    turned = samples * np.exp(2j * np.pi * 700e-6 * np.arange(samples.shape[1]))
    bursts = find_bursts(as_recording(buried({5000: turned.astype(np.complex64)}, 20_000, 1e-3)), config(), SEED, DEVICES)
    assert bursts.starts == pytest.approx([5000], abs=0.5)
    assert bursts.frequency_hz == pytest.approx([700], abs=30)


def test_noise_and_silence_hold_no_bursts():
    """40 recordings of 30000 samples: the whole search has the false-alarm probability of one slot."""
    found = [
        len(find_bursts(as_recording(buried({}, 30_000, 1.0, seed=seed)), config(), SEED, DEVICES).starts) for seed in range(40)
    ]
    assert sum(found) <= 1
    assert not len(find_bursts(as_recording(np.zeros((1, 30_000), np.complex64)), config(), SEED, DEVICES).starts)


def test_what_cannot_be_searched():
    samples = np.zeros((1, 5000), np.complex64)
    with pytest.raises(CaptureError, match=r"sampled at 2e\+06 Hz"):
        find_bursts(as_recording(samples, 2e6), config(), SEED, DEVICES)
    with pytest.raises(TestbenchError, match="1 channels and the link 2 receive antennas"):
        find_bursts(as_recording(samples), config(receive_antennas=2), SEED, DEVICES)
    bare = config(burst={"preamble_symbols": 0, "synchronisation": "slot"})
    with pytest.raises(TestbenchError, match=r"link\.burst\.preamble_symbols"):
        find_bursts(as_recording(samples), bare, SEED, DEVICES)


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.output if result.exit_code == 0 else f"refused: {result.exception}"


def test_replay_from_what_was_found_gives_the_estimates(tmp_path):
    """As 16-bit integers at another level, behind junk that belongs to no capture segment, three slots, a pause, two slots."""
    (tmp_path / "s.toml").write_text(SCENARIO)
    samples, estimates = heard(tmp_path / "c", config(), 5)
    slot = samples.shape[1] // 5
    long = buried({7001: samples[:, : 3 * slot], 40_123: samples[:, 3 * slot :]}, 60_000, 1e-4)
    junk = np.full((1, 333), 0.1 + 0.1j, np.complex64)
    factor = float(np.abs(long.view(np.float32)).max())
    whole = np.rint(np.concatenate((junk, long / factor), axis=1).view(np.float32) * 32767)
    whole.astype(">i2").tofile(tmp_path / "x.sigmf-data")
    meta = {"core:datatype": "ci16_be", "core:version": "1.2.0", "core:sample_rate": 1e6, "core:offset": 10_000}
    captures = [{"core:sample_start": 10_333}]
    (tmp_path / "x.sigmf-meta").write_text(json.dumps({"global": meta, "captures": captures, "annotations": []}))
    shown = run("find", tmp_path / "x.sigmf-meta", "--scenario", tmp_path / "s.toml")
    assert "5 bursts" in shown
    assert "1 of 4 bursts do not come one slot after the one before, the first at sample 40123" in shown
    start = re.search(r"--start (\d+)", shown)
    assert start is not None
    assert int(start[1]) == 7001
    for place, first, count in ((start[1], 0, 3), (40_123, 3, 2)):
        shown = run(
            "replay", tmp_path / "x", "--scenario", tmp_path / "s.toml", "--scale", factor * 32768 / 32767, "--start", place,
            "--first-round", first, "--show", count,
        )  # fmt: skip
        assert "333 samples before its first capture segment are skipped" in shown
        found = [float(line.split()[1]) for line in shown.splitlines() if re.match(r"\s*\d+\s+-?\d+\.", line)]
        assert np.allclose(found, estimates[first : first + count], atol=0.02)
    twice = ("--set", "link.burst.sample_rate_hz=2e6")
    assert "2e+06 Hz" in run("find", tmp_path / "x", "--scenario", tmp_path / "s.toml", *twice)
    buried({}, 9000, 1.0).tofile(tmp_path / "n.cf32")
    stated = ("--format", "cf32", "--sample-rate", 1e6, "--scenario", tmp_path / "s.toml")
    assert "no burst of this link in 9000 samples" in run("find", tmp_path / "n.cf32", *stated)
