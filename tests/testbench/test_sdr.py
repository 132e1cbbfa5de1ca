"""The commands around GNU Radio: a short fine-tuning through the real flowgraph, and its text tools without it."""

import json
import os
import sqlite3
import subprocess
import sys

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from bridge.stream_air import SETTINGS_VARIABLE
from testbench.errors import TestbenchError
from testbench.flowgraphs.monitor import constellation_text, report, spectrum_text
from testbench.flowgraphs.radio import Timetable
from testbench.flowgraphs.uplink import HALF, kernel, numbers
from testbench.sdr import gnuradio
from testbench.sdr.command import sdr
from testbench.sdr.demo import sdr_demo, sdr_scenario, stream_settings, uplink_command
from testbench.sdr.gnuradio import NoGnuRadio, gnuradio_python, stream_toml
from tests.bridge.gnuradio_needed import needs_gnuradio


@needs_gnuradio
def test_a_language_model_is_fine_tuned_through_gnu_radio_and_nothing_is_left_running(tmp_path, capsys):
    out = tmp_path / "run"
    sdr_demo(Console(), out=out, rounds=6, delay="0.0625,0.03125,0.125,0,0")
    summary = json.loads((out / "summary.json").read_text())
    assert summary["rounds"] == 6
    assert summary["lost_rounds"] == 0
    with sqlite3.connect(out / "journal.sqlite") as journal:
        assert journal.execute("select count(*) from rounds").fetchone() == (6,)
    said = capsys.readouterr().out
    assert "GNU Radio" in said
    assert "round 6/6" in said
    assert "uplink.py" in (out / "stream.toml").read_text()
    assert SETTINGS_VARIABLE not in os.environ
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    mine = [line for line in listed.splitlines() if "--delay=0.0625,0.03125,0.125,0,0" in line]
    assert not mine


def test_the_command_tells_what_is_wrong():
    result = CliRunner().invoke(sdr, ["demo", "--resume"])
    assert isinstance(result.exception, TestbenchError)
    assert CliRunner().invoke(sdr, ["demo", "--help"]).exit_code == 0


def test_the_demo_keeps_to_its_air():
    assert sdr_scenario(7, ["federation.devices=3"]).federation.rounds == 7
    with pytest.raises(TestbenchError, match="leave link"):
        sdr_scenario(overrides=["link.burst.air=emulated"])
    with pytest.raises(TestbenchError, match="--out DIR"):
        sdr_demo(Console(), resume=True)


@needs_gnuradio
def test_the_flowgraph_plays_the_noise_that_the_link_states():
    scenario = sdr_scenario(overrides=["federation.devices=3", "link.snr_max_db=7.0"])
    words = uplink_command(scenario)
    assert f"--noise-power={10**-0.7!r}" in words
    assert "--delay=0,0.5,1" in words


def test_without_gnu_radio_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setenv("GNURADIO_PYTHON", sys.executable)
    gnuradio._version.cache_clear()
    with pytest.raises(NoGnuRadio, match="apt install gnuradio"):
        gnuradio_python()


def test_settings_are_named_in_the_environment_and_forgotten(monkeypatch):
    monkeypatch.setenv(SETTINGS_VARIABLE, "before")
    with stream_settings(stream_toml(("true",), kind="pub_sub")) as path:
        assert os.environ[SETTINGS_VARIABLE] == str(path)
        assert path.read_text() == 'command = ["true"]\nkind = "pub_sub"\n'
    assert os.environ[SETTINGS_VARIABLE] == "before"
    assert not path.exists()


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
