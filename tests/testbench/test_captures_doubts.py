"""``pairzero capture replay`` of recordings that are not what the options say: lost or doubted aloud, never silently wrong."""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import resample
from typer.testing import CliRunner

from phy.config import LinkConfig
from testbench.captures.capture import load_capture
from testbench.captures.command import app
from testbench.captures.recorder import Recorder

SCENARIO = """
name = "mine"
seed = 11
[federation]
devices = 2
[zeroth_order]
clip = 1.0
[link]
fidelity = "waveform"
snr_max_db = 30.0
[link.channel]
model = "{model}"
[link.burst]
pilot_symbols = {pilots}
"""
ROUNDS = 8


class Recorded:
    """A scenario, and what its antenna heard in eight rounds, as plain samples."""

    def __init__(self, folder: Path, model: str = "rayleigh", pilots: int = 0) -> None:
        self.folder, self.scenario = folder, folder / "s.toml"
        self.scenario.write_text(SCENARIO.format(model=model, pilots=pilots))
        link = {"fidelity": "waveform", "snr_max_db": 30.0, "clip": 1.0, "channel": {"model": model}}
        config = LinkConfig.model_validate({**link, "burst": {"pilot_symbols": pilots}})
        values = np.random.default_rng(1).uniform(-0.8, 0.8, (ROUNDS, 2, 1))
        with Recorder(config, 11, folder / "c") as recorder:
            self.estimates = np.array([recorder.aggregate(i, values[i]).estimate[0] for i in range(ROUNDS)])
        slots = load_capture(folder / "c").slots
        self.slot, self.samples = slots.shape[2], slots[:, 0].reshape(-1).astype(complex)

    def replay(self, samples: np.ndarray, *options: object, fmt: str = "cf32", rate: float = 1e6) -> str:
        path = self.folder / f"x.{fmt}"
        (samples.astype("<c8") if np.iscomplexobj(samples) else samples).tofile(path)
        arguments = ("replay", path, "--format", fmt, "--sample-rate", rate, "--scenario", self.scenario, *options)
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.exception
        return result.output


@pytest.fixture(scope="module")
def fading(tmp_path_factory) -> Recorded:
    return Recorded(tmp_path_factory.mktemp("fading"))


@pytest.fixture(scope="module")
def still(tmp_path_factory) -> Recorded:
    return Recorded(tmp_path_factory.mktemp("still"), "awgn")


def estimates(shown: str) -> list[float]:
    lines = shown.splitlines()[1:]
    cells = [line.split()[1] for line in lines[: next(i for i, line in enumerate(lines) if line.startswith("open loop"))]]
    return [float("nan") if cell == "-" else float(cell) for cell in cells]


def doubted(shown: str) -> list[str]:
    return re.findall(r"^doubt: (.*)$", shown, re.MULTILINE)


def test_what_is_as_described_is_not_doubted(fading, still):
    for recorded in (fading, still):
        shown = recorded.replay(recorded.samples)
        assert doubted(shown) == []
        assert np.allclose(estimates(shown), recorded.estimates, atol=1e-4)
        assert re.search(r"SNR_max (29|30)\.\d dB \(configured: 30\.0 dB\)", shown)
        assert "metric" in shown.splitlines()[0]


def test_a_common_carrier_and_phase_are_shown_and_removed(fading):
    at = np.arange(len(fading.samples)) / 1e6
    shown = fading.replay(fading.samples * np.exp(2j * np.pi * 120 * at + 2j))
    assert np.allclose(estimates(shown), fading.estimates, atol=0.1)
    assert doubted(shown) == []
    assert np.median([float(line.split()[4]) for line in shown.splitlines()[1 : ROUNDS + 1]]) == pytest.approx(120, abs=20)


@pytest.mark.parametrize("start", [61, 65, 90, 128, 190, 250, 320, 450, 560])
def test_a_wrong_start_is_right_or_lost_and_said(still, start):
    shown = still.replay(still.samples, "--start", start)
    for i, one in enumerate(estimates(shown)):
        assert np.isnan(one) or np.abs(one - still.estimates[i : i + 2]).min() < 0.02
    if 64 < start < still.slot - 64:
        offset = -start if start < still.slot / 2 else still.slot - start
        assert np.isnan(estimates(shown)).all()
        assert f"move --start by {offset:+d} samples" in "\n".join(doubted(shown))


def test_a_wrong_first_round_or_number_of_devices_is_doubted(fading, still):
    assert "they fit --first-round 0" in "\n".join(doubted(fading.replay(fading.samples, "--first-round", 3)))
    assert "they fit --devices 2" in "\n".join(doubted(fading.replay(fading.samples, "--devices", 3)))
    (said,) = doubted(still.replay(still.samples, "--devices", 3, "--set", "link.snr_max_db=27"))
    assert "-3.5 dB from where 3 devices" in said
    assert "check --devices and --scale (times 1.5 it would fit)" in said


def test_slots_of_another_length_are_noticed(tmp_path):
    recorded = Recorded(tmp_path, "awgn", pilots=32)
    shown = recorded.replay(recorded.samples, "--devices", 3)
    assert np.isnan(estimates(shown))[1:4].all()  # four slots too many by a quarter are five bursts
    assert re.search(rf"bursts come every {recorded.slot}\.0 samples and slots are of \d+: sent by another number", shown)


def test_a_slot_clock_that_is_off_is_noticed_by_the_preamble(still):
    options = ("--set", "link.burst.synchronisation=slot")
    assert doubted(still.replay(still.samples, *options)) == []
    (said,) = doubted(still.replay(still.samples, *options, "--start", 5))
    assert 'synchronisation is "slot": move --start by -5 samples' in said


def test_a_wrong_noise_is_said(still):
    (said,) = doubted(still.replay(still.samples, "--set", "link.snr_max_db=20"))
    assert re.fullmatch(r"the SNR is (29|30)\.\d dB as measured and 20 dB as link\.snr_max_db says", said)


def test_noise_is_said_where_no_preamble_gives_a_level(still):
    options = ("--set", "link.scheme=fsk_mv", "--set", "link.snr_max_db=20")
    (said,) = doubted(still.replay(still.samples, *options))
    assert re.match(r"the guards hold a power of 0\.00\d+ a sample, and N0 is 0\.01 as link", said)


@pytest.mark.parametrize("factor", [2, 0.5, 2.4])
def test_a_wrong_rate_is_found_out(still, factor):
    shown = still.replay(resample(still.samples, int(factor * len(still.samples))))
    assert np.isnan(estimates(shown)).all()
    assert f"the recording is of {1e6 * factor:g} Hz" in "\n".join(doubted(shown))


def test_a_rate_that_is_a_little_off_is_measured(still):
    count = round(len(still.samples) * 1.0005)
    (said,) = doubted(still.replay(resample(still.samples, count)))
    ppm = float(re.search(r"off by ([+-]\d+) ppm", said)[1])
    assert ppm == pytest.approx(1e6 * (count / len(still.samples) - 1), abs=10)


def test_swapped_parts_noise_and_silence(still):
    shown = still.replay(still.samples.conj())
    assert np.isnan(estimates(shown)).all()
    assert doubted(shown) == ["bursts are found in the mirrored spectrum alone: I and Q are swapped"]
    rng = np.random.default_rng(3)
    noise = rng.normal(size=len(still.samples)) + 1j * rng.normal(size=len(still.samples))
    assert "no burst of this link" in "\n".join(doubted(still.replay(noise)))
    assert "silent" in "\n".join(doubted(still.replay(0 * noise)))


@pytest.mark.parametrize(("written", "read"), [("u1", "cs8"), ("i1", "cu8"), ("<u2", "cu16_le"), ("<i2", "cu16_le")])
def test_signed_and_unsigned_integers_are_told_apart(still, written, read):
    parts = still.samples.view(np.float64)
    full = float(np.iinfo(written).max) / (2 if "u" in written else 1)
    whole = np.rint(parts / np.abs(parts).max() * full + (full if "u" in written else 0)).astype(written)
    said = "\n".join(doubted(still.replay(whole, "--scale", np.abs(parts).max(), fmt=read)))
    if written[-2] == read[1]:
        assert said == ""
    else:
        assert "read wrongly; try --format c" + {"u": "u", "i": "i"}[written[-2]] in said


def test_estimates_beyond_the_clip_are_flagged(still):
    shown = still.replay(3 * still.samples)
    beyond = int((np.abs(3 * still.estimates) > 1).sum())
    assert shown.count("beyond the clip\n") == beyond > 0
    assert f"{beyond} of {ROUNDS} rounds have estimates beyond the clip 1" in "\n".join(doubted(shown))


def test_pilots_of_the_preambles_length_are_not_taken_for_it_without_a_word(tmp_path):
    """They are the same waveform: a slot that begins at the first device's pilots has something like a preamble."""
    recorded = Recorded(tmp_path, "awgn", pilots=64)
    assert doubted(recorded.replay(recorded.samples)) == []
    offset = 317 + 2 * 64  # from the preamble to the pilots of device 0
    shown = recorded.replay(recorded.samples, "--start", offset)
    assert not np.isnan(estimates(shown)).any()
    assert f"move --start by {-offset:+d} samples" in "\n".join(doubted(shown))
