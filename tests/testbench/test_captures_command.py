"""``pairzero capture``: what it prints, and one sentence for each thing that is wrong."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from bridge.captures import Sounding, open_recording
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
[link.burst]
pilot_symbols = 32
[link.csi]
estimator = "perfect"
[uplink]
transport = "inproc"
[evaluation]
every = 4
"""


@pytest.fixture(scope="module")
def scenario(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scenario")
    lines = ["text,label", *(f"a {'good' if i % 2 else 'bad'} film number {i},{i % 2}" for i in range(40))]
    (folder / "train.csv").write_text("\n".join(lines) + "\n")
    (folder / "s.toml").write_text(SCENARIO.format(train=folder / "train.csv"))
    return folder / "s.toml"


def run(*arguments: object) -> str:
    """Standard output; the error's sentence where there is one."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exit_code == 0:
        return result.output
    assert result.exception is not None
    sentence = str(result.exception)
    assert "\n" not in sentence
    return f"refused: {sentence}"


@pytest.fixture(scope="module")
def capture(scenario, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("capture") / "c"
    assert "check with: pairzero capture replay" in run("record", scenario, "--rounds", 3, "--out", out)
    return out


def test_record_info_and_replay(capture):
    shown = run("info", capture)
    assert "scheme analog, 2 devices, 1 antennas" in shown
    assert "rounds    3, from 0 to 2" in shown
    assert shown.count("sha512 matches") == 3
    shown = run("replay", capture)
    assert "all estimates have the bits of those recorded" in shown
    assert "open loop" in shown


def test_a_runs_folder_is_recorded_as_it_ran(scenario, tmp_path):
    from testbench.run_folder import RunFolder
    from testbench.runner import run_scenario
    from testbench.scenario import load

    folder = RunFolder(tmp_path / "run")
    run_scenario(load(scenario), folder, figures=False)
    run("record", folder.path, "--rounds", 4, "--out", tmp_path / "c")
    from learning.journal import Journal

    with Journal(folder.journal, read_only=True) as journal:
        journalled = [row.estimate for row in journal.rows()]
    recorded = [note.own("estimate")[0] for note in open_recording(tmp_path / "c" / "antenna-0").annotations]
    assert recorded == journalled
    import sqlite3

    with sqlite3.connect(folder.journal) as db:
        db.execute("UPDATE rounds SET estimate = estimate + 1 WHERE round = 2")
    assert re.match(
        r"refused: round 2 gave .* in the run's journal", run("record", folder.path, "--rounds", 4, "--out", tmp_path / "d")
    )
    assert not list((tmp_path / "d").glob("*"))


def test_a_raw_recording_is_replayed_where_it_is_described(capture, scenario, tmp_path):
    raw = tmp_path / "x.sc16"
    samples = np.fromfile(capture / "antenna-0.sigmf-data", "<c8")
    peak = np.abs(samples.view(np.float32)).max()
    np.rint(samples.view(np.float32) / peak * 32767).astype("<i2").tofile(raw)
    described = ("--format", "sc16", "--sample-rate", 1e6, "--scale", peak * 32768 / 32767)
    shown = run("replay", raw, *described, "--scenario", scenario)
    assert "nothing to compare with" in shown
    estimates = [float(line.split()[1]) for line in shown.splitlines()[1:4]]
    recorded = [note.own("estimate")[0] for note in open_recording(capture / "antenna-0").annotations]
    assert np.allclose(estimates, recorded, atol=0.02)
    assert "0.0.1" not in shown
    for arguments, sentence in (
        ((raw,), "does not say what it holds; state --format"),
        ((raw, *described), "add --scenario"),
        ((raw, "--format", "sc16", "--sample-rate", 2e6, "--scenario", scenario), "--resample"),
        ((capture, "--resample"), "add --scenario"),
        ((raw, "--format", "sc16", "--scenario", scenario), "state --format"),
        ((raw, *described, "--scenario", scenario, "--start", 10**6), "less than one slot"),
        ((capture, "--devices", 3), "add --scenario"),
    ):
        shown = run("replay", *arguments)
        assert shown.startswith("refused: "), shown
        assert sentence in shown


def test_a_recording_of_another_rate_is_resampled_where_that_is_asked_for(capture, scenario, tmp_path):
    """At twice the rate, by zeros in its spectrum: exact for one period, so that only its ends are not."""
    samples = np.fromfile(capture / "antenna-0.sigmf-data", "<c8").astype(np.complex128)
    half = len(samples) // 2
    spectrum = np.fft.fft(samples)
    twice = np.fft.ifft(np.concatenate((spectrum[:half], np.zeros(len(samples)), spectrum[half:]))) * 2
    twice.astype("<c8").tofile(tmp_path / "x.cf32")
    described = ("--format", "cf32", "--sample-rate", 2e6, "--scenario", scenario, "--resample")
    shown = run("replay", tmp_path / "x.cf32", *described)
    estimates = [float(line.split()[1]) for line in shown.splitlines()[1:4]]
    recorded = [note.own("estimate")[0] for note in open_recording(capture / "antenna-0").annotations]
    assert np.allclose(estimates, recorded, atol=0.02)
    # A start is counted in samples of the file.
    slot = 2 * (len(samples) // 3)
    shown = run("replay", tmp_path / "x.cf32", *described, "--start", slot, "--first-round", 1)
    assert float(shown.splitlines()[1].split()[1]) == pytest.approx(recorded[1], abs=0.02)


def test_a_scenario_names_the_overlay_and_the_measured_room(capture, scenario, tmp_path):
    """Both through the run's own air server, which opens the files that its scenario names and no others."""
    from testbench.run_folder import RunFolder
    from testbench.runner import run_scenario
    from testbench.scenario import load

    run("sound", capture, "--out", tmp_path / "room.h5", "--taps", 1)
    overlay = f'link.burst.overlay={{file="{capture / "device-0.sigmf-meta"}", level_db=20}}'
    errors = {}
    for name, sets in (
        ("plain", []),
        ("overlay", [overlay]),
        ("room", [f"link.channel.file={tmp_path / 'room.h5'}", "uplink.transport=ipc"]),
    ):
        chosen = load(scenario, sets)
        folder = RunFolder(tmp_path / name)
        errors[name] = run_scenario(chosen, folder, figures=False).summary["nmse_db"]
        assert load(folder.scenario) == chosen
    assert errors["overlay"] > errors["plain"] + 3
    assert load(scenario, [overlay]).link.burst.air == "bridge.captures.overlay:Air"
    assert load(scenario, ["link.channel.file=x.h5"]).link.channel.file == str(Path("x.h5").resolve())
    assert len(set(errors.values())) == 3


def test_damage_is_refused_in_one_sentence(capture, tmp_path):
    import shutil

    for change, sentence in (
        (lambda f: (f / "antenna-0.sigmf-data").write_bytes((f / "antenna-0.sigmf-data").read_bytes()[:-8]), "truncated"),
        (lambda f: (f / "antenna-0.sigmf-data").write_bytes(b"\1" + (f / "antenna-0.sigmf-data").read_bytes()[1:]), "sha512"),
        (lambda f: (f / "antenna-0.sigmf-meta").write_text("{"), "altered or cut off"),
        (lambda f: (f / "capture.sigmf-collection").unlink(), "holds 0 collections"),
        (lambda f: (f / "device-1.sigmf-meta").unlink(), "no recording"),
    ):
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(capture, copy)
        change(copy)
        for command in ("info", "replay"):
            shown = run(command, copy)
            assert shown.startswith("refused: "), shown
            assert sentence in shown


def test_an_altered_truth_is_noticed(capture, tmp_path):
    meta = json.loads((capture / "antenna-0.sigmf-meta").read_text())
    meta["annotations"][1]["pairzero:estimate"][0] += 1e-9
    (tmp_path / "antenna-0.sigmf-meta").write_text(json.dumps(meta))
    (tmp_path / "antenna-0.sigmf-data").write_bytes((capture / "antenna-0.sigmf-data").read_bytes())
    assert "1 of 3 rounds differ from what was recorded, the first is round 1" in run(
        "replay", tmp_path / "antenna-0.sigmf-meta"
    )


def test_sound_and_export(capture, tmp_path):
    shown = run("sound", capture, "--out", tmp_path / "s.h5", "--taps", 4, "--unit-gain")
    assert "3 instants, 1 antennas, 2 devices, 4 taps" in shown
    one = Sounding.load(tmp_path / "s.h5")
    assert np.square(np.abs(one.coefficients)).sum(axis=3).mean() == pytest.approx(1, abs=1e-5)
    assert "cirs.bin" in run("export", tmp_path / "s.h5", "--out", tmp_path / "rk", "--device", 1)
    assert (tmp_path / "rk" / "cirs.bin").stat().st_size == 3 * 14 * (4 + 4 * 10)
    assert "devices 0 .. 1" in run("export", tmp_path / "s.h5", "--out", tmp_path / "rk", "--device", 2)


def test_import(tmp_path):
    np.savez(tmp_path / "d.npz", power=[[-80.0]], phase=[[0.0]], delay=[[1e-6]])
    shown = run("import", "deepmimo", tmp_path / "d.npz", "--out", tmp_path / "d.h5", "--sample-rate", 1e6)
    assert "1 instants, 1 antennas, 1 devices, 1 taps" in shown
    nobody = ("--out", tmp_path / "x.h5", "--sample-rate", 5e7)
    assert "different antennas" in run("import", "dichasus", tmp_path / "d.npz", *nobody)
    assert "no TFRecord file" in run("import", "dichasus", tmp_path / "d.npz", *nobody, "--node", 0)
    assert "not 'quadriga'" in run("import", "quadriga", tmp_path / "d.npz", "--out", tmp_path / "q.h5", "--sample-rate", 1e6)


def test_overlay(capture, scenario):
    shown = run("overlay", scenario, capture / "device-0", "--level-db", 20, "--rounds", 3)
    error = [
        float(re.search(r"(-?[\d.]+) dB", line)[1]) for line in shown.splitlines() if line.startswith(("without", "with the"))
    ]
    assert error[1] > error[0]
    assert "beyond the clip" in shown
    assert "held-out accuracy" in shown
    assert "'n0' or 'received'" in run("overlay", scenario, capture / "device-0", "--level-db", 0, "--relative-to", "signal")
    symbol = run("overlay", scenario, capture / "device-0", "--level-db", 0, "--set", "link.fidelity=symbol")
    assert "captures hold waveforms" in symbol


def test_record_refuses(scenario, capture, tmp_path):
    for arguments, sentence in (
        (("--set", "link.fidelity=symbol"), "captures hold waveforms"),
        (("--rounds", 5), "raise federation.rounds"),
        (("--set", "privacy.epsilon=8", "--set", "privacy.sensitivity=client_value"), "leave privacy.epsilon out"),
    ):
        assert sentence in run("record", scenario, "--out", tmp_path / "r", *arguments)
    assert "is not empty" in run("record", scenario, "--out", capture)
