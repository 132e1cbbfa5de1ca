"""Whole runs on every backend, and the blocks that ship as examples."""

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from bridge import environments
from bridge.process import AirServerProcess
from testbench import cli
from testbench.errors import ScenarioError
from testbench.run_folder import RunFolder
from testbench.runner import run_scenario
from testbench.scenario import build, load
from tests.tensorflow_needed import needs_tensorflow
from tests.testbench.test_run import small

CLIP = 8.0


def estimates(folder: Path) -> np.ndarray:
    with sqlite3.connect(f"file:{folder / 'journal.sqlite'}?mode=rw", uri=True) as db:
        return np.array([row[0] for row in db.execute("SELECT estimate FROM rounds ORDER BY round")], float)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("numpy") / "run"
    run_scenario(small(air={"backend": "numpy"}), RunFolder(path), figures=False)
    return path


@pytest.mark.parametrize("backend", ["sionna", pytest.param("tensorflow", marks=needs_tensorflow)])
def test_a_whole_run_agrees_with_the_plain_reference(plain, tmp_path, backend):
    """The learner feeds estimates back into what it sends, so that every round carries on the differences before it."""
    result = run_scenario(small(air={"backend": backend}), RunFolder(tmp_path / "run"), figures=False)
    expected, found = estimates(plain), estimates(tmp_path / "run")
    assert found.shape == (12,)
    assert np.isfinite(found).sum() >= 10
    assert np.allclose(found / CLIP, expected / CLIP, atol=1e-4, equal_nan=True)
    assert result.summary["backend"] == backend
    generation = {"sionna": "sionna 2.", "tensorflow": "sionna 1."}[backend]
    assert generation in result.summary["backend_versions"]


def test_the_backend_is_kept_with_the_run_and_stands_in_one_place(plain):
    scenario = load(plain / "scenario.toml")
    assert (scenario.air.backend, scenario.link.backend) == ("numpy", "numpy")
    assert "backend" not in scenario.plain()["link"]
    assert load("demo", ["air.backend=tensorflow"]).link.backend == "tensorflow"
    with pytest.raises(ScenarioError, match=r"link.backend is not set here but once for the whole scenario, as air.backend"):
        build({"link": {"backend": "numpy"}}, "test")
    with pytest.raises(ScenarioError, match="needs a process of its own"):
        build({"air": {"backend": "tensorflow"}, "uplink": {"transport": "inproc"}}, "test")
    with pytest.raises(ScenarioError, match=r"air\.backend"):
        build({"air": {"backend": "jax"}}, "test")


def test_a_run_without_the_environment_names_the_command_that_makes_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(environments, "_ROOT", tmp_path)
    monkeypatch.setattr("sys.prefix", str(tmp_path / "env"))
    monkeypatch.delenv(environments.PYTHON_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    for arguments in (
        ["run", "demo", "--out", "r", "--set", "air.backend=tensorflow"],
        ["air", "serve", "--bind", "tcp://127.0.0.1:0", "--backend", "tensorflow"],
    ):
        monkeypatch.setattr("sys.argv", ["pairzero", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        shown = capsys.readouterr().err
        assert caught.value.code == 1
        assert "make it with: make air-tensorflow" in shown
        assert shown.count("\n") == 1


def example(framework: str, name: str) -> str:
    classes = {"receiver": "Receiver", "channel": "SaturatingFrontEnd"}
    return f"testbench.examples.{framework}_{name}:{classes[name]}"


@needs_tensorflow
def test_a_private_run_is_planned_here_and_played_there(tensorflow_server, tmp_path):
    """The plan samples channels in the learner's process, which has no TensorFlow; the run itself is the backend's."""
    sections = {
        "privacy": {"epsilon": 20.0, "delta": 0.01},
        "zeroth_order": {"clip_scope": "sample"},
        "federation": {"rounds": 4},
        "link": {"csi": {"estimator": "perfect"}},
    }
    run = {}
    for backend, uplink in (("numpy", {"transport": "inproc"}), ("tensorflow", {"endpoint": tensorflow_server.endpoint})):
        folder = RunFolder(tmp_path / backend)
        scenario = small(**sections, air={"backend": backend}, uplink=uplink)
        assert run_scenario(scenario, folder, figures=False).summary["backend"] == backend
        run[backend] = estimates(folder.path)
    assert np.allclose(run["numpy"] / CLIP, run["tensorflow"] / CLIP, atol=1e-4, equal_nan=True)


# SNR 0 dB, N0 = 1: noise dominates, and a prior on the sum matters.
LINK = {"clip": 1.0, "snr_max_db": 0.0, "power": {"control": "truncated"}}


def asked(framework: str, server: AirServerProcess) -> dict[str, np.ndarray]:
    """Estimates [B] of a server of the framework's backend: matched filter and neural receiver, linear and saturating air."""
    payloads = np.random.default_rng(0).uniform(-1, 1, (2000, 5, 1))
    receiver, channel = example(framework, "receiver"), example(framework, "channel")
    links = {
        "matched": ({}, 2000),
        "neural": ({"receiver": receiver}, 2000),
        "saturating": ({"air": channel}, 2000),
        "linear burst": ({"fidelity": "waveform", "snr_max_db": 30.0}, 4),
        "saturating burst": ({"fidelity": "waveform", "snr_max_db": 30.0, "burst": {"air": channel}}, 4),
        "both": ({"air": channel, "receiver": receiver}, 2000),
    }
    out = {}
    for name, (settings, rounds) in links.items():
        with server.client({**LINK, **settings}, 1, timeout_s=60.0) as client:
            found = client.aggregate_rounds(np.arange(rounds), payloads[:rounds])
            out[name] = found.estimates[:, 0]
            out.setdefault("heard", found.diagnostics["active"])
            out.setdefault("amplitude", found.diagnostics["aligned_gain"])
            out.setdefault("target", found.diagnostics["true_mean"])
    return out


@pytest.fixture(scope="module")
def torchs() -> dict[str, np.ndarray]:
    with AirServerProcess(parts=[example("torch", name) for name in ("receiver", "channel")]) as server:
        return asked("torch", server)


def test_the_neural_receiver_errs_as_little_as_the_best_linear_one(torchs):
    """For K' symbols uniform on [-1, 1] and noise sigma the best linear estimate of their mean errs by v s / (v + s), with
    v = 1 / (3 K') and s = sigma^2; the best of all errs less. The matched filter errs by s.
    """
    heard = torchs["heard"]
    kept = (heard > 0) & np.isfinite(torchs["matched"])
    s = 0.5 / np.square(torchs["amplitude"][kept] * heard[kept])
    v = 1.0 / (3.0 * heard[kept])
    # What is estimated is the mean of those who were heard; who was not heard is a difference that no receiver can know.
    linear = torchs["matched"][kept] * v / (v + s)
    assert np.abs(torchs["neural"][kept] - linear).mean() < 0.1 * np.sqrt(v.mean())
    target = torchs["target"][kept]
    errors = {name: np.square(values[kept] - target).mean() for name, values in torchs.items() if name in ("matched", "neural")}
    best = np.square(linear - target).mean()
    assert errors["neural"] == pytest.approx(best, rel=0.03)
    assert errors["neural"] < 0.4 * errors["matched"]


def test_the_saturating_channel_saturates(torchs):
    """Of a burst of five aligned devices little is lost at A = 4; and what is lost is a compression, never a gain."""
    linear, compressed = torchs["linear burst"], torchs["saturating burst"]
    assert np.isfinite(linear).all()
    change = np.abs(compressed - linear)
    assert 0 < change.max() < 0.1
    assert (np.abs(compressed) <= np.abs(linear) + 1e-3).all()
    assert not np.array_equal(torchs["both"], torchs["neural"])


@needs_tensorflow
def test_the_keras_examples_are_the_torch_examples(torchs, tensorflow_server):
    for name, values in asked("keras", tensorflow_server).items():
        assert np.allclose(values, torchs[name], atol=1e-5, equal_nan=True), name
