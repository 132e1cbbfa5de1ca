"""The commands around GNU Radio: a short fine-tuning through the real flowgraph, and its text tools without it."""

import json
import sqlite3
import subprocess
import sys
import tomllib

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from bridge.stream_air import STREAM_AIR
from testbench.errors import ScenarioError, TestbenchError
from testbench.flowgraphs.monitor import constellation_text, report, spectrum_text
from testbench.flowgraphs.timetable import Timetable
from testbench.flowgraphs.uplink import HALF, kernel, numbers
from testbench.run_folder import RunFolder
from testbench.scenario import load
from testbench.sdr import gnuradio
from testbench.sdr.command import sdr
from testbench.sdr.demo import sdr_demo, sdr_scenario
from testbench.sdr.gnuradio import NoGnuRadio, gnuradio_python
from testbench.sdr.probe import probe, section
from tests.bridge.gnuradio_needed import needs_gnuradio


@needs_gnuradio
def test_a_language_model_is_fine_tuned_through_gnu_radio_and_nothing_is_left_running(tmp_path, capsys):
    out = tmp_path / "run"
    sdr_demo(Console(), out=out, rounds=6, delay="0.0625,0.03125,0.125,0,0")
    summary = json.loads((out / "summary.json").read_text())
    assert summary["rounds"] == 6
    assert summary["lost_rounds"] == 0
    assert summary["measured_n0"] == pytest.approx(summary["n0"], rel=0.2)
    assert summary["measured_snr_max_db"] == pytest.approx(summary["snr_max_db"], abs=2.0)
    assert summary["stream_latency_samples"] == HALF
    assert summary["stream_withheld_samples"] == 0
    with sqlite3.connect(out / "journal.sqlite") as journal:
        assert journal.execute("select count(*) from rounds").fetchone() == (6,)
    said = capsys.readouterr().out
    assert "GNU Radio" in said
    assert "round 6/6" in said
    assert load(out / "scenario.toml").stream.flowgraph == "uplink"
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    mine = [line for line in listed.splitlines() if "--delay=0.0625,0.03125,0.125,0,0" in line]
    assert not mine


def test_the_command_tells_what_is_wrong():
    result = CliRunner().invoke(sdr, ["demo", "--resume"])
    assert isinstance(result.exception, TestbenchError)
    assert CliRunner().invoke(sdr, ["demo", "--help"]).exit_code == 0


def test_the_demo_keeps_to_its_air():
    assert sdr_scenario(7, ["federation.devices=3"]).federation.rounds == 7
    with pytest.raises(TestbenchError, match="uplink flowgraph"):
        sdr_scenario(overrides=["stream.flowgraph=passthrough"])
    with pytest.raises(TestbenchError, match="--out DIR"):
        sdr_demo(Console(), resume=True)


@needs_gnuradio
def test_the_flowgraph_plays_the_noise_that_the_link_states():
    scenario = sdr_scenario(overrides=["federation.devices=3", "link.snr_max_db=7.0"])
    words = scenario.stream.resolved(scenario.link, scenario.seed).command
    assert f"--noise-power={10**-0.7!r}" in words
    assert "--delay=0,0.5,1" in words
    chosen = sdr_scenario(overrides=['stream.arguments=["--noise-power=0.5"]'])
    assert "--noise-power=0.5" in (words := chosen.stream.resolved(chosen.link, 1).command)
    assert len([word for word in words if word.startswith("--noise-power")]) == 1


@pytest.mark.parametrize(("overrides", "message"), [
    (["stream.flowgraph=uplnk"], "stream.flowgraph"),
    (["stream.flowgraph=uplink", 'stream.command=["true"]'], "both name a program"),
    (['stream.arguments=["--cfo=1"]'], "arguments are of a flowgraph"),
    (["link.burst.air=stream"], r"needs a section \[stream\]"),
    (["stream.flowgraph=uplink", "link.fidelity=symbol"], "carries waveforms"),
    (["stream.flowgraph=uplink", "link.burst.air=emulated"], "carries waveforms"),
    (["stream.flowgraph=uplink", "uplink.transport=none"], "noise-free"),
    (["stream.flowgraph=uplink", "uplink.endpoint=tcp://127.0.0.1:5000"], "stream of its own"),
    (['stream.send=["tcp://10.0.0.1:1"]', 'stream.receive=["tcp://127.0.0.1:2"]'], "insecure"),
    (["stream.deadline=2"], "stream.deadline_s"),
])  # fmt: skip
def test_stream_settings_that_make_no_sense_are_refused_when_the_scenario_is_read(overrides, message):
    with pytest.raises(ScenarioError, match=message):
        load("demo", overrides)


def test_a_stream_implies_its_air_and_survives_the_resolved_scenario(tmp_path):
    scenario = load("demo", ["stream.flowgraph=uplink"])
    assert (scenario.link.burst.air, scenario.link.fidelity) == (STREAM_AIR, "waveform")
    (tmp_path / "again.toml").write_text(scenario.to_toml())
    assert load(tmp_path / "again.toml") == scenario


@needs_gnuradio
def test_the_probe_tells_what_the_path_does_and_a_section_that_fits(tmp_path):
    words = ["stream.flowgraph=uplink", 'stream.arguments=["--delay=0,11","--cfo=0,400","--noise-power=1e-4"]']
    scenario = load("demo", [*words, "federation.devices=2", "stream.withheld_samples=77"])
    report = probe(scenario, slots=20)
    assert [branch.lag_samples for branch in report.proof.branches] == [0, 11]
    assert [branch.cycles_per_sample * 1e6 for branch in report.proof.branches] == pytest.approx([0, 400], abs=3)
    assert np.abs([branch.gain for branch in report.proof.branches]) == pytest.approx([1, 1], abs=0.02)
    assert report.n0 == pytest.approx(1e-4, rel=0.1)
    assert (report.lost, report.slots) == (0, 20)
    found = tomllib.loads(section(scenario, report))["stream"]
    assert (found["latency_samples"], found["withheld_samples"]) == (0, 0)
    assert found["arguments"] == list(scenario.stream.arguments)
    result = CliRunner().invoke(sdr, ["probe", "demo", "--slots=5", "--set=stream.flowgraph=uplink"])
    assert result.exit_code == 0, result.exception
    assert "withheld_samples = 0" in result.output


def test_a_scenario_without_a_path_has_nothing_to_probe():
    with pytest.raises(TestbenchError, match="no signal path to probe"):
        probe(load("demo"))


def test_a_run_is_resumed_with_another_patience_but_not_with_another_path(tmp_path, monkeypatch):
    paths = ['stream.send=["tcp://127.0.0.1:5501"]', 'stream.receive=["tcp://127.0.0.1:5600"]', "federation.devices=1"]
    folder = RunFolder(tmp_path)
    folder.scenario.write_text(load("demo", paths).to_toml())
    monkeypatch.setattr(RunFolder, "_has_sent", lambda self: True)
    folder.prepare(load("demo", [*paths, "stream.deadline_s=4", "stream.withheld_samples=16"]), True)
    with pytest.raises(TestbenchError, match=r"was started with stream\.level"):
        folder.prepare(load("demo", [*paths, "stream.level=0.5"]), True)


def test_without_gnu_radio_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setenv("GNURADIO_PYTHON", sys.executable)
    gnuradio._version.cache_clear()
    with pytest.raises(NoGnuRadio, match="apt install gnuradio"):
        gnuradio_python()


@pytest.mark.parametrize("delay", [0.0, 0.25, -3.7, 11.5])
def test_the_interpolation_filter_delays_tones_up_to_0_45_of_the_rate(delay):
    """Its frequency response against e^{-j 2 pi f (HALF + delay)}."""
    frequency = np.linspace(-0.45, 0.45, 181)
    taps = kernel([delay], [0.5 - 1j])
    response = np.exp(-2j * np.pi * np.outer(frequency, np.arange(len(taps)))) @ taps
    expected = (0.5 - 1j) * np.exp(-2j * np.pi * frequency * (HALF + delay))
    assert np.abs(response - expected).max() < 1e-4


def test_one_number_serves_every_device_and_a_wrong_count_is_refused(capsys):
    assert numbers("2", 3, "cfo") == [2.0, 2.0, 2.0]
    for text in ("1,2", "x", "nan"):
        with pytest.raises(SystemExit):
            numbers(text, 3, "cfo")
    assert "--cfo must be one finite number or 3" in capsys.readouterr().err


def test_the_monitor_draws_a_tone_where_it_is():
    """Its bar is three quarters along the line; the constellation of a tone at a quarter of the rate is four points."""
    tone = np.exp(2j * np.pi * 132 / 512 * np.arange(4096))  # in the middle of a column of 8 lines of 512
    bars = spectrum_text(tone, 1e6)[0].split("|")[1]
    assert bars.strip() == "#"
    assert bars.index("#") == 48
    picture = constellation_text(np.exp(0.5j * np.pi * np.arange(4096)))
    assert sum(row.count("#") for row in picture) == 4
    assert report(tone, 1e6).startswith("power 0.0 dB, peak 0.0 dB")


def test_slots_of_a_radio_never_overlap_and_keep_their_distance():
    clock = iter([0.0, 0.0, 10.0])
    table = Timetable(lambda: next(clock), 1000.0, 0.5)
    assert [table.start(0, 300), table.start(0, 300), table.start(1, 100), table.start(2, 50)] == [500, 500, 800, 10500]
    assert table.cut(0, 600, 0) == (500, 100, 0)
    assert table.cut(600, 900, 0) == (0, 200, 1)
    assert table.cut(800, 900, 1) == (0, 100, 2)
    assert table.cut(0, 77, 3) == (77, 0, 3)


@needs_gnuradio
def test_flowgraphs_are_listed_and_started_by_name():
    listed = CliRunner().invoke(sdr, ["graphs"]).output
    for name in ("uplink", "passthrough", "monitor"):
        assert f"{name}.py" in listed
        assert f"{name}.grc" in listed
    assert "soapy.py" in listed
    assert CliRunner().invoke(sdr, ["start", "passthrough"]).exit_code == 2  # its own refusal: no addresses
    refused = CliRunner().invoke(sdr, ["start", "monitr"])
    assert isinstance(refused.exception, TestbenchError)
    assert "those that ship are" in str(refused.exception)
