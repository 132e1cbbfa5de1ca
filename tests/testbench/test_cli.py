"""The command line with bad input: one clear sentence, a non-zero exit code, no traceback."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from testbench import cli
from tests.testbench.test_run import ROOT, environment


def pairzero(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["pairzero", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    shown = capsys.readouterr()
    code = caught.value.code
    return (code if isinstance(code, int) else 0), shown.out, shown.err


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: pairzero(capsys, monkeypatch, *arguments)


def reviews(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


TEXT = ("text,label", *(f"a {'good' if i % 2 else 'bad'} film number {i},{i % 2}" for i in range(40)))


def text_scenario(folder: Path, *lines: str, extra: str = "") -> str:
    reviews(folder / "train.csv", *lines)
    (folder / "s.toml").write_text(
        'name = "mine"\n[task]\nname = "text"\ntrain = "train.csv"\n[federation]\ndevices = 2\nbatch_size = 4\nrounds = 3\n'
        '[uplink]\ntransport = "none"\n' + extra
    )
    return "s.toml"


def test_a_users_own_table_runs(run, tmp_path):
    code, out, err = run("run", text_scenario(tmp_path, *TEXT), "--out", "r")
    assert code == 0, err
    assert "accuracy" in out
    assert (tmp_path / "r" / "report.html").is_file()


@pytest.mark.parametrize(
    ("lines", "extra", "sentence"),
    [
        (("text,label", "fine,1", "poor,"), "", r"train.csv.*line 3|train.csv, row 2|line 3"),
        (("words,label", "fine,1"), "", "words"),
        ((), "", "train.csv"),
        (TEXT, "[model]\nkind = 'causal_lm'\npath = 'empty'\n", "empty lacks config.json"),
        (TEXT, "[model]\nkind = 'causal_lm'\npath = './nowhere'\n", "there is no model folder ./nowhere; set model.path"),
        (TEXT, "[link]\nscheme = 'analgo'\n", r"link.scheme: there is no 'analgo'; did you mean 'analog'\?"),
        (TEXT, "[model]\nkind = 'embeded'\n", "did you mean embedded"),
        (TEXT, "[zeroth_order]\nlearnig_rate = 1\n", r"did you mean zeroth_order.learning_rate\?"),
    ],
)
def test_bad_input_ends_in_one_sentence(run, tmp_path, lines, extra, sentence):
    import re

    (tmp_path / "empty").mkdir()
    code, _, err = run("run", text_scenario(tmp_path, *lines, extra=extra), "--out", "r")
    assert code == 1
    assert err.startswith("pairzero: ")
    assert err.count("\n") == 1
    assert re.search(sentence, err), err
    assert "Traceback" not in err


def test_missing_files_and_folders(run):
    for arguments, sentence in (
        (("run", "nowhere.toml"), "there is no scenario nowhere.toml"),
        (("replay", "nowhere"), "is not a run folder"),
        (("run", "demo", "--resume"), "--resume needs the run folder"),
        (("run", "demo", "--set", "federation.rounds"), "must read key=value"),
    ):
        code, _, err = run(*arguments)
        assert code == 1
        assert sentence in err
        assert err.count("\n") == 1


def test_usage_errors_exit_with_2(run):
    assert run("rn", "demo")[0] == 2
    assert run("run")[0] == 2


def test_debug_shows_the_traceback(run, monkeypatch):
    from testbench.errors import TestbenchError

    monkeypatch.setattr(sys, "argv", ["pairzero", "run", "nowhere.toml", "--debug"])
    with pytest.raises(TestbenchError):
        cli.main()


def test_version_and_list(run):
    assert run("--version")[1].startswith("pairzero ")
    out = run("scenarios")[1]
    assert {"demo", "sst2-minilm", "sst2-opt125m"} <= {line.split()[0] for line in out.splitlines()}


def test_a_server_that_is_not_there(run):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code, _, err = run(
        "run", "demo", "--out", "r", "--set", "uplink.transport=tcp", "--set", f"uplink.endpoint=tcp://127.0.0.1:{port}",
        "--set", "uplink.timeout_s=0.3", "--set", "uplink.attempts=2",
    )  # fmt: skip
    assert code == 1
    assert f"tcp://127.0.0.1:{port}" in err
    assert "pairzero air serve --bind" in err
    assert err.count("\n") == 1


def test_a_port_in_use():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "testbench.cli", "air", "serve", "--bind", f"tcp://127.0.0.1:{port}"],
            cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert str(port) in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_open_address_needs_keys():
    done = subprocess.run(
        [sys.executable, "-m", "testbench.cli", "air", "serve", "--bind", "tcp://0.0.0.0:5599"],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "key" in done.stderr
    assert done.stderr.count("\n") == 1


def test_two_runs_share_one_server(tmp_path, run):
    process = subprocess.Popen(
        [sys.executable, "-m", "testbench.cli", "air", "serve", "--bind", "tcp://127.0.0.1:0", "--backend", "numpy"],
        cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        ready = process.stdout.readline()
        endpoint = "tcp://" + ready.split("tcp://")[1].split('"')[0]
        for out in ("a", "b"):
            code, _, err = run(
                "run", "demo", "--out", out, "--set", "federation.rounds=3", "--set", "evaluation.noise_free=false",
                "--set", "uplink.transport=tcp", "--set", f"uplink.endpoint={endpoint}", "--set", "air.backend=numpy",
            )  # fmt: skip
            assert code == 0, err
    finally:
        process.terminate()
        assert process.wait(20) == 0
