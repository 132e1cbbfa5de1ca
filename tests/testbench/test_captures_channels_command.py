"""Channel files through the command line: what was recorded over one passes its own check, and what was imported is played."""

import json
import re

import numpy as np
import pytest
from typer.testing import CliRunner

from bridge.captures import Sounding
from testbench.captures.command import app

SCENARIO = """
name = "mine"
seed = 4
[task]
name = "text"
train = "{train}"
[federation]
devices = 2
batch_size = 4
rounds = 4
[zeroth_order]
clip = 8.0
[link]
fidelity = "waveform"
snr_max_db = 60.0
[link.channel]
file = "{room}"
[link.burst]
pilot_symbols = 32
sample_rate_hz = 2e6
[link.csi]
estimator = "perfect"
[uplink]
transport = "inproc"
[evaluation]
every = 4
"""


def run(*arguments: object) -> str:
    """Standard output; the error's sentence where there is one."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exit_code == 0:
        return result.output
    assert result.exception is not None
    sentence = str(result.exception)
    assert "\n" not in sentence
    return f"refused: {sentence}"


def imported(folder, gains: np.ndarray):
    """A matrix [instants, devices] by the command; the sounding, and what was printed."""
    np.save(folder / "h.npy", gains)
    shown = run(
        "import", "matrix", folder / "h.npy", "--axes", "time,device", "--step-s", 0.1, "--sample-rate", 2e6,
        "--out", folder / "room.h5",
    )  # fmt: skip
    return folder / "room.h5", shown


@pytest.fixture
def scenario(tmp_path):
    lines = ["text,label", *(f"a {'good' if i % 2 else 'bad'} film number {i},{i % 2}" for i in range(40))]
    (tmp_path / "train.csv").write_text("\n".join(lines) + "\n")
    room, _ = imported(tmp_path, np.exp(1j * np.arange(16)).reshape(8, 2) * [1, 0.8])
    (tmp_path / "s.toml").write_text(SCENARIO.format(train=tmp_path / "train.csv", room=room))
    return tmp_path / "s.toml"


def test_a_recording_over_a_measured_channel_passes_its_own_check(scenario, tmp_path):
    shown = run("record", scenario, "--rounds", 3, "--out", tmp_path / "c")
    check = re.search(r"check with: pairzero capture (replay \S+)", shown.replace("\n", ""))[1]
    assert "all estimates have the bits of those recorded" in run(*check.split())
    heard = run("sound", tmp_path / "c", "--out", tmp_path / "again.h5", "--taps", 1)
    assert "3 instants, 1 antennas, 2 devices, 1 taps" in heard
    room = tmp_path / "room.h5"
    h, again = Sounding.load(room).coefficients[:3, 0, :, 0], Sounding.load(tmp_path / "again.h5").coefficients[:, 0, :, 0]
    assert np.abs(again - h).max() < 0.02

    kept = room.read_bytes()
    imported(tmp_path, np.ones((8, 2)))
    assert re.search(r"refused: .*measured channel .*room.h5, which has been changed since; put back", run(*check.split()))
    room.unlink()
    assert re.search(r"refused: .*measured channel .*room.h5, which is not there; put it back", run(*check.split()))
    room.write_bytes(kept)
    assert "bits of those recorded" in run(*check.split())
    # What names another class is refused as before.
    meta = tmp_path / "c" / "antenna-0.sigmf-meta"
    text = json.loads(meta.read_text())
    text["global"]["pairzero:link"]["channel"]["model"] = "os:system"
    meta.write_text(json.dumps(text))
    assert "asks for the class 'os:system'" in run("replay", meta)


def test_a_run_over_a_channel_says_what_is_far_from_what_it_assumes(scenario, tmp_path):
    """A gain of -20 dB, kept, and eight instants 0.1 s apart for four rounds of 1 s."""
    from testbench.elsewhere import channel_remarks
    from testbench.run_folder import RunFolder
    from testbench.runner import run_scenario
    from testbench.scenario import load

    assert channel_remarks(load(scenario)) == []
    h = np.full((8, 1, 2, 1), 0.1, np.complex64)
    Sounding(h, np.zeros((2, 1)), 0.1 * np.arange(8), 2e6).save(tmp_path / "room.h5")
    summary = run_scenario(
        load(scenario, ["link.channel.round_duration_s=1"]), RunFolder(tmp_path / "run"), figures=False
    ).summary
    notes = " ".join(summary["notes"])
    assert "a mean gain of -20.0 dB over these devices: signals are that much below link.snr_max_db" in notes
    assert "it starts over, with a jump" in notes


@pytest.mark.filterwarnings("error")
def test_rounds_in_which_no_channel_is_open_are_lost_and_the_summary_is_written(scenario, tmp_path):
    from testbench.run_folder import RunFolder
    from testbench.runner import run_scenario
    from testbench.scenario import load

    h = np.ones((8, 1, 2, 1), np.complex64)
    h[:6] = 0
    Sounding(h, np.zeros((2, 1)), 0.1 * np.arange(8), 2e6).save(tmp_path / "room.h5")
    folder = RunFolder(tmp_path / "run")
    summary = run_scenario(load(scenario), folder, figures=False).summary
    assert summary["lost_rounds"] == 4
    assert summary["power_peak"] == 0.0  # nobody sent


def test_import_says_what_it_scaled_and_plays(tmp_path):
    _, shown = imported(tmp_path, np.full((4, 2), 3e-4))
    assert "mean gain 0.0 dB, -70.5 dB were scaled away" in shown
    assert "matrix h.npy, axes time x device" in shown


def test_an_option_of_another_format_is_refused(tmp_path):
    np.savez(tmp_path / "d.npz", power=[[-80.0]], phase=[[0.0]], delay=[[1e-6]])
    common = (tmp_path / "d.npz", "--out", tmp_path / "x.h5", "--sample-rate", 1e6)
    for kind, options, sentence in (
        (
            "deepmimo",
            ("--receiver", 0),
            "--receiver is an option of colosseum, and changes nothing for deepmimo, which has --node",
        ),
        ("deepmimo", ("--taps", 3), "--taps is an option of dichasus, intel5300"),
        ("colosseum", ("--node", 1, "--records", 3), "--records is an option of dichasus, intel5300"),
        ("intel5300", ("--offsets", "o.json"), "--offsets is an option of dichasus"),
        ("intel5300", ("--transposed",), "--transposed is an option of dichasus"),
        ("dichasus", ("--axes", "time"), "--axes is an option of matrix"),
        ("matrix", ("--node", 0), "--node is an option of deepmimo, colosseum, dichasus, intel5300"),
        ("matrix", (), "has the arrays power, phase, delay; name the one that is meant"),
        ("matrix", ("--variable", "power"), "is 1 x 1 and does not say what that counts"),
        ("quadriga", (), "imported from deepmimo, colosseum, dichasus, intel5300, matrix, not 'quadriga'"),
    ):
        shown = run("import", kind, *common, *options)
        assert shown.startswith("refused: "), shown
        assert sentence in shown
    assert not (tmp_path / "x.h5").exists()
