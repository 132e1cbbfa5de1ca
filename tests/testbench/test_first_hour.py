"""What a newcomer types first: doctor, init, completion."""

import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner

from testbench import doctor
from testbench.cli import app
from testbench.completing import settings
from testbench.errors import ScenarioError, TestbenchError
from testbench.scenario import Scenario, all_keys, load
from testbench.starting import scenario_text, write_scenario
from tests.testbench.test_run import ROOT, environment


def test_a_written_scenario_is_the_one_that_it_started_from(tmp_path):
    for base in ("demo", "paper", "sst2-minilm"):
        path = write_scenario(tmp_path / f"{base}.toml", base)
        assert load(path) == load(base)


def test_every_setting_stands_in_it_and_each_default_is_one(tmp_path):
    text = scenario_text("mine.toml", "demo")
    assert max(map(len, text.splitlines())) <= 140
    # Uncommented, the defaults are still the same scenario: none of them is a value that the program would refuse or read
    # differently.
    full = re.sub(r"^# (\w+ = (?:[\"\d\[{-]|true|false|inf|nan).*)$", r"\1", text, flags=re.MULTILINE)
    (tmp_path / "full.toml").write_text(full)
    assert load(tmp_path / "full.toml") == load("demo")
    place, found = "", set()
    for line in text.splitlines():
        if line.startswith("["):
            place = line.strip("[]") + "."
        elif match := re.match(r"(?:# )?(\w+) =", line):
            found.add(place + match.group(1))
    # Sections of names that a part chooses.
    assert set(all_keys()) - found == {"link.burst.overlay", "link.impairments", "privacy.schedule_settings"}


def test_init_keeps_what_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    assert runner.invoke(app, ["init", "s.toml"]).exit_code == 0
    before = (tmp_path / "s.toml").read_text()
    with pytest.raises(TestbenchError, match=r"s\.toml exists.*--force"):
        write_scenario(tmp_path / "s.toml", "tight")
    assert (tmp_path / "s.toml").read_text() == before
    assert runner.invoke(app, ["init", "s.toml", "--from", "tight", "--force"]).exit_code == 0
    assert tomllib.loads((tmp_path / "s.toml").read_text())["name"] == "tight"
    with pytest.raises(TestbenchError, match="there is no scenario tigth; did you mean tight"):
        write_scenario(tmp_path / "t.toml", "tigth")
    with pytest.raises(TestbenchError, match="cannot be written"):
        write_scenario(tmp_path / "nowhere" / "t.toml")


def test_completion_knows_keys_choices_and_scenarios(tmp_path, monkeypatch):
    assert settings("link.sn") == ["link.snr_max_db=", "link.snr_max_db=..."]  # two, so that no space follows
    assert settings("link.s") == ["link.scheme=", "link.snr_max_db="]
    assert "link.scheme=reed" in settings("link.scheme=")
    assert settings("link.fidelity=w") == ["link.fidelity=waveform"]
    assert settings("evaluation.noise_free=") == ["evaluation.noise_free=true", "evaluation.noise_free=false"]
    assert settings("link.snr_max_db=") == []
    assert settings("nothing.here=") == []
    from testbench.commands._options import complete_scenario

    monkeypatch.chdir(tmp_path)
    write_scenario(tmp_path / "dense.toml")
    assert complete_scenario("de") == ["demo", "dense.toml"]


def test_the_shell_gets_its_completions(monkeypatch):
    """As bash asks: the words so far in the environment."""
    for words, current, expected in (
        (["run", "sst2"], 2, "sst2-minilm"),
        (["run", "demo", "--set", "link.sch"], 4, "link.scheme="),
    ):
        asked = {
            "_PAIRZERO_COMPLETE": "complete_bash",
            "COMP_WORDS": " ".join(["pairzero", *words]),
            "COMP_CWORD": str(current),
        }
        done = CliRunner().invoke(app, [], env=asked, prog_name="pairzero")
        assert expected in done.output.split(), done.output


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes_values_though_it_breaks_words_at_equals_signs(tmp_path):
    """As a line is typed: bash's own word breaking, by way of its arrays."""
    script = tmp_path / "ask.sh"
    script.write_text(
        "COMP_WORDS=(pairzero run demo --set link.scheme \"=\" $1); COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 )); IFS=$'\\n'\n"
        'COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD _PAIRZERO_COMPLETE=complete_bash "$PYTHON" -m testbench.entry\n'
    )
    for begun, expected in (("", ["analog", "sign", "reed"]), ("an", ["analog"])):
        done = subprocess.run(
            ["bash", str(script), begun], cwd=ROOT, env={**environment(), "PYTHON": sys.executable}, capture_output=True,
            text=True, check=True, timeout=60,
        )  # fmt: skip
        assert set(done.stdout.split()) >= set(expected), done.stderr
        assert "link.scheme" not in done.stdout


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("link.snr_mx_db=3", "did you mean link.snr_max_db?"),
        ("lnik.snr_max_db=3", "did you mean link?"),
        ("channel.snr_max_db=3", "did you mean link.snr_max_db?"),
        ("snr_max_db=3", "did you mean link.snr_max_db?"),
        ("federation.device=3", "did you mean federation.devices?"),
        ("link.csi.estimatr=ls", "did you mean link.csi.estimator?"),
        ("lernin_rate=3", "did you mean zeroth_order.learning_rate?"),
    ],
)
def test_a_mistyped_key_names_the_nearest(key, sentence):
    with pytest.raises(ScenarioError) as caught:
        load("demo", [key])
    assert sentence in str(caught.value)


def test_the_doctor_names_what_every_extra_lacks(monkeypatch):
    present = {f.name: f for f in doctor.examine()}
    assert present["base"].state == "ok"
    assert present["extra phy"].state == "ok"
    real = metadata.version

    def absent(name: str) -> str:
        if name in ("h5py", "torch"):
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(doctor, "version", absent)
    lacking = {f.name: f for f in doctor.examine()}
    assert lacking["extra sdr"].state == "lacks"
    assert lacking["extra sdr"].mend == f"{sys.executable} -m pip install 'h5py>=3.10'"
    assert not lacking["extra sdr"].vital
    assert lacking["extra phy"].vital
    assert "torch" in lacking["extra phy"].text
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 1
    assert "a run needs extra phy, extra learning" in done.output


def test_the_doctor_finds_an_absent_gnu_radio(monkeypatch):
    monkeypatch.setenv("GNURADIO_PYTHON", sys.executable)
    found = {f.name: f for f in doctor.examine()}["GNU Radio"]
    assert found.state == "lacks"
    assert found.mend == "sudo apt install gnuradio"


def test_scenarios_all_have_a_first_line_that_says_what_they_are():
    out = CliRunner().invoke(app, ["scenarios"]).output
    assert all(len(line.split(maxsplit=1)[1]) > 20 for line in out.splitlines())
    assert Scenario().name == "run"


def test_tensorflow_is_never_to_be_installed_beside_pytorch(monkeypatch):
    from bridge import environments

    monkeypatch.setattr(environments, "_ROOT", Path("/nowhere"))
    monkeypatch.setattr(environments.sys, "prefix", "/nowhere/venv")
    monkeypatch.delenv(environments.PYTHON_VARIABLE, raising=False)
    (found,) = [finding for finding in doctor.examine() if finding.name == "extra tensorflow"]
    assert (found.state, found.mend) == ("lacks", "make air-tensorflow")
