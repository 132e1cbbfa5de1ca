"""The command starts fast because nothing heavy is read before it is needed, and a new command is one new file."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from testbench import commands
from testbench.cli import app
from tests.testbench.test_run import ROOT, environment

HEAVY = {
    "numpy",
    "torch",
    "zmq",
    "pydantic",
    "sionna",
    "scipy",
    "matplotlib",
    "transformers",
    "rich",
    "msgspec",
    "tomlkit",
    "phy",
}

SCRIPT = """
import sys
from testbench import entry
sys.argv = ["pairzero", *sys.argv[1:]]
try:
    entry.main()
finally:
    print("LOADED", *sorted({name.partition(".")[0] for name in sys.modules}))
"""


def loaded(*arguments: str) -> tuple[str, set[str]]:
    """What a command printed, and the packages that were imported when it was through."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], cwd=ROOT, env={**environment(), "COLUMNS": "80"}, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    text, _, names = done.stdout.rpartition("LOADED")
    return text, set(names.split())


@pytest.mark.parametrize("arguments", [("--help",), ("--version",)])
def test_the_first_screen_reads_nothing_heavy(arguments):
    text, names = loaded(*arguments)
    assert "typer" in names
    spared = HEAVY if arguments == ("--help",) else HEAVY - {"pydantic"}  # typer reads values with it
    assert not names & spared
    assert "pairzero" in text


def test_help_names_every_command_on_a_line_of_its_own_and_fits_a_screen():
    text, _ = loaded("--help")
    names = [path.stem.rstrip("_").replace("_", "-") for path in Path(commands.__file__).parent.glob("[!_]*.py")]
    lines = {line.split()[0]: line for line in text.splitlines() if line.startswith("  ") and line.strip()}
    assert len(names) >= 10
    for name in names:
        assert len(lines[name].split(maxsplit=1)[1]) > 10, f"{name} lacks a help line"
    assert max(map(len, text.splitlines())) <= 80
    assert len(text.splitlines()) <= len(names) + 16


def test_a_new_command_is_one_file(tmp_path, monkeypatch):
    (tmp_path / "wave_hello.py").write_text(
        'def command(times: int = 1) -> None:\n    """Say hello."""\n    print("hello " * times)\n'
    )
    (tmp_path / "import_.py").write_text(
        'import typer\napp = typer.Typer(help="Bring in.")\n@app.command("a")\ndef a() -> None:\n    print("in")\n'
        "@app.command('b')\ndef b() -> None:\n    pass\n"
    )
    (tmp_path / "_shared.py").write_text("raise AssertionError('not a command')\n")
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path)])
    runner = CliRunner()
    assert "wave-hello" in runner.invoke(app, ["--help"]).output
    assert runner.invoke(app, ["wave-hello", "--times", "2"]).output == "hello hello \n"
    assert runner.invoke(app, ["import", "a"]).output == "in\n"
    assert "Say hello." in runner.invoke(app, ["wave-hello", "--help"]).output


def test_a_mistyped_command_names_the_nearest():
    done = CliRunner().invoke(app, ["scenarois"])
    assert done.exit_code == 2
    assert "'scenarios'" in done.output


def test_the_bridge_gives_its_names_when_they_are_asked_for():
    import bridge

    for name in bridge.__all__:
        assert getattr(bridge, name).__module__.startswith("bridge.")
    with pytest.raises(AttributeError, match="nothing"):
        _ = bridge.nothing  # type: ignore[attr-defined]
    done = subprocess.run(
        [
            sys.executable, "-c",
            "import bridge, sys; print(sorted({'numpy', 'zmq', 'msgspec'} & set(sys.modules)), bridge.AirClient.__name__)",
        ],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout == "[] AirClient\n"
