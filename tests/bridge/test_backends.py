"""One server, three engines: what every backend passes over its socket, and the sentences where something is wrong."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bridge import environments
from bridge.client import AirClient
from bridge.environments import PYTHON_VARIABLE, backend_python, python_environment
from bridge.errors import BridgeError, ServerGone, ServerRefused
from bridge.links import phy_link_factory
from bridge.process import AirServerProcess
from phy import backends
from phy.errors import BackendMissing
from tests.bridge.blocks import PARTS
from tests.tensorflow_needed import BACKENDS, needs_tensorflow

SEED = 21
ROUNDS, DEVICES = np.array([0, 1, 2, 127, 128, 5000, 2**40]), 4
# Estimates of a run, relative to the clip, which is 1 here.
TOLERANCE = 1e-4

OFFSETS = {
    "timing_s": {"law": "uniform", "value": 2e-6},
    "phase_rad": {"law": "normal", "value": 0.2},
    "frequency_hz": {"law": "normal", "value": 20.0},
}
WAVEFORM = {"fidelity": "waveform", "offsets": OFFSETS}
LINKS: dict[str, dict[str, Any]] = {
    "analog, LS estimates": {"csi": {"estimator": "ls"}, "power": {"control": "truncated"}},
    "sign, hard, three antennas": {"scheme": "sign", "decision": "hard", "receive_antennas": 3},
    "two antennas that correlate": {"receive_antennas": 2, "channel": {"antenna_correlation": 0.7}, "offsets": OFFSETS},
    "stale estimates, Jakes, placed": {
        "csi": {"estimator": "ls", "age_s": 1e-3},
        "channel": {"doppler_hz": 50.0, "placement": {"law": "disc"}},
    },
    "energy, two looks": {"scheme": "reed", "noncoherent": {"looks": 2}},
    "majority vote by frequency": {"scheme": "fsk_mv"},
    "digital in turns": {"scheme": "digital"},
    "maximum likelihood, out of step": {"receiver": "ml", "offsets": {"timing_s": {"law": "uniform", "value": 3e-4}}},
    "waveform": WAVEFORM,
    "waveform, energy": {**WAVEFORM, "scheme": "fsk_mv"},
    "waveform, TDL-C": {**WAVEFORM, "channel": {"model": "tdl", "tdl": "C", "delay_spread_s": 3e-7}, "receive_antennas": 2},
    "waveform, TDL-D moving": {
        **WAVEFORM,
        "channel": {"model": "tdl", "tdl": "D", "delay_spread_s": 3e-7, "doppler_hz": 100.0, "variation": "sample"},
    },
    "waveform, Sionna's time channel": {
        **WAVEFORM,
        "channel": {"model": "tdl", "delay_spread_s": 3e-7},
        "burst": {"air": "time_channel"},
    },
}


def batch(scalars: int = 2) -> tuple[Any, Any]:
    rng = np.random.default_rng(2)
    present = rng.random((len(ROUNDS), DEVICES)) < 0.8
    present[2] = False
    return rng.uniform(-1, 1, (len(ROUNDS), DEVICES, scalars)), present


def link(**settings: Any) -> dict[str, Any]:
    return {"clip": 1.0, "snr_max_db": 15.0, **settings}


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, AirServerProcess]]:
    running: dict[str, AirServerProcess] = {}
    yield running
    for server in running.values():
        server.close()


@pytest.fixture
def serve(servers: dict[str, AirServerProcess], request: pytest.FixtureRequest) -> Any:
    def started(backend: str) -> AirServerProcess:
        if backend == "tensorflow":
            shared: AirServerProcess = request.getfixturevalue("tensorflow_server")
            return shared
        if backend not in servers:
            servers[backend] = AirServerProcess(backend=backend, parts=PARTS).start()
        return servers[backend]

    return started


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_run_agrees_with_the_plain_reference(serve: Any, backend: str) -> None:
    """Estimates, diagnostics and lost rounds of every kind of link; draws are ours, so nothing here is left to chance."""
    payloads, present = batch()
    for name, settings in LINKS.items():
        config = link(**settings)
        expected = phy_link_factory(backend="numpy")(config, SEED).aggregate(ROUNDS, payloads, present)
        with serve(backend).client(config, SEED, timeout_s=60.0) as client:
            assert client.description["backend"] == backend
            found = client.aggregate_rounds(ROUNDS, payloads, present)
            alone = client.aggregate(int(ROUNDS[4]), payloads[4], present[4])
        assert np.array_equal(found.lost, expected.lost), name
        kept = ~found.lost
        assert kept.sum() >= 4, name
        assert np.abs(found.estimates[kept] - expected.estimates[kept]).max() < TOLERANCE, name
        assert alone.estimate.tobytes() == found.estimates[4].tobytes(), name
        for quantity, values in expected.diagnostics.items():
            scale = max(1.0, float(np.abs(values[np.isfinite(values)]).max(initial=0.0)))
            assert np.allclose(found.diagnostics[quantity] / scale, values / scale, atol=TOLERANCE, equal_nan=True), quantity


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_server_serves_its_own_backend_and_no_other(serve: Any, backend: str) -> None:
    other = "numpy" if backend != "numpy" else "sionna"
    with pytest.raises(ServerRefused, match=f"computes with backend {backend}, and the link asks for {other}; set air.backend"):
        serve(backend).client(link(backend=other), SEED)
    with (
        serve(backend).client(link(backend=backend), SEED, timeout_s=60.0) as named,
        serve(backend).client(link(), SEED) as left,
    ):
        assert named.description == left.description


RECEIVERS = {
    "WrongShape": r"must return shape \[1, 2\], got \[1, 0\]",
    "WrongType": "must return real numbers such as float32, got complex64",
    "NotANumber": "returned a value that is not finite",
    "Raises": "failed: RuntimeError: .*the weights are gone",
    "RaisesInAGraph": "failed: RuntimeError: .*the weights are gone",
    "Exits": "failed: SystemExit: 3",
    "Nothing": r"must return an array of shape \[1, 2\], got NoneType",
    "CannotBeMade": "failed: FileNotFoundError: weights.pt is not here",
    "NotThere": "cannot load .*NotThere",
}
AIRS = {
    "ChannelOfRealNumbers": "must return complex numbers such as complex64, got float32",
    "ChannelOfInfinities": "returned a value that is not finite",
    "ChannelOfAnotherShape": r"must return shape \[",
}


def refused(server: AirServerProcess, config: dict[str, Any]) -> str:
    payloads, _ = batch()
    with pytest.raises(ServerRefused) as caught, server.client(config, SEED, timeout_s=60.0) as client:
        client.aggregate(3, payloads[0])
    assert caught.value.code in ("bad_config", "bad_request")
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert "Traceback" not in sentence
    return sentence


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_bad_block_gets_one_sentence_and_the_server_lives_on(serve: Any, backend: str) -> None:
    import re

    place = {"sionna": "torch", "tensorflow": "keras", "numpy": "numpy"}[backend]
    server = serve(backend)
    pid, module = server.pid, f"tests.bridge.blocks.in_{place}"
    for name, sentence in {} if backend == "numpy" else RECEIVERS.items():
        said = refused(server, link(receiver=f"{module}:{name}"))
        assert re.search(sentence, said), said
        assert f"{module}:{name}" in said
    for name, sentence in AIRS.items():
        said = refused(server, link(air=f"{module}:{name}"))
        assert re.search(sentence, said), said
        if backend != "numpy":
            said = refused(server, link(fidelity="waveform", burst={"air": f"{module}:{name}"}))
            assert re.search(sentence, said), said
    if backend == "numpy":
        assert "failed: ZeroDivisionError" in refused(server, link(air=f"{module}:Raises"))
        assert "neither a PyTorch or Keras block nor a part" in refused(server, link(receiver=f"{module}:NotAReceiver"))
    payloads, _ = batch()
    with server.client(link(), SEED) as client:
        assert np.isfinite(client.aggregate(0, payloads[0]).estimate).all()
    assert (server.pid, server.alive()) == (pid, True)


@pytest.mark.parametrize("backend", BACKENDS[:2])
def test_a_block_that_is_the_matched_filter_gives_its_numbers(serve: Any, backend: str) -> None:
    place = {"sionna": "torch", "tensorflow": "keras"}[backend]
    payloads, present = batch()
    for settings in ({"receive_antennas": 2}, {"scheme": "sign", "decision": "hard"}, WAVEFORM):
        with serve(backend).client(link(**settings), SEED, timeout_s=60.0) as client:
            ours = client.aggregate_rounds(ROUNDS, payloads, present)
        block = link(**settings, receiver=f"tests.bridge.blocks.in_{place}:Matched")
        with serve(backend).client(block, SEED, timeout_s=60.0) as client:
            theirs = client.aggregate_rounds(ROUNDS, payloads, present)
        assert np.allclose(theirs.estimates, ours.estimates, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize(
    ("backend", "block"),
    [
        (BACKENDS[0].values[0], "in_torch:Interferer"),
        pytest.param("tensorflow", "in_keras:Interferer", marks=needs_tensorflow),
        pytest.param("tensorflow", "in_keras:InterfererInAGraph", marks=needs_tensorflow),
    ],
)
def test_a_block_that_draws_is_a_function_of_seed_and_round(serve: Any, backend: str, block: str) -> None:
    payloads, _ = batch()
    config = link(snr_max_db=200.0, air=f"tests.bridge.blocks.{block}", power={"control": "truncated"})

    def estimates(seed: int, order: Any) -> Any:
        with serve(backend).client(config, seed, timeout_s=60.0) as client:
            return client.aggregate_rounds(ROUNDS[order], payloads[order]).estimates

    forward = np.arange(len(ROUNDS))
    once = estimates(1, forward)
    assert estimates(1, forward).tobytes() == once.tobytes()
    assert np.array_equal(estimates(1, forward[::-1])[::-1], once, equal_nan=True)
    error = once - payloads.mean(axis=1)
    # Both scalars of a round, and all rounds, have draws of their own.
    assert len(np.unique(np.round(error[np.isfinite(error)], 6))) == np.isfinite(error).sum()
    assert not np.allclose(estimates(2, forward), once, equal_nan=True)


def test_what_is_missing_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "sionna_version", lambda: None)
    for backend, way_out in (("sionna", "pip install"), ("tensorflow", "make air-tensorflow")):
        with pytest.raises(BackendMissing, match=f"Sionna is not installed here; .*{way_out}"):
            backends.require.__wrapped__(backend)
    with pytest.raises(BridgeError, match="there is no backend 'jax'; choose one of sionna, tensorflow, numpy"):
        phy_link_factory(backend="jax")


def test_where_there_is_no_environment_the_command_that_makes_it_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(environments, "_ROOT", tmp_path)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "env"))
    monkeypatch.delenv(PYTHON_VARIABLE, raising=False)
    with pytest.raises(BridgeError, match=r"make it with: make air-tensorflow"):
        AirServerProcess(backend="tensorflow")
    monkeypatch.setenv(PYTHON_VARIABLE, str(tmp_path / "python"))
    with pytest.raises(BridgeError, match="cannot be run; name a Python interpreter"):
        backend_python("tensorflow")
    monkeypatch.setenv(PYTHON_VARIABLE, sys.executable)
    assert backend_python("tensorflow") == sys.executable
    with pytest.raises(ServerGone, match=r"needs Sionna 1.x on TensorFlow, and Sionna 2\.\S+ is installed here"):
        AirServerProcess(backend="tensorflow").start()


@needs_tensorflow
def test_the_environment_of_tensorflow_has_no_torch_and_refuses_the_other_backend() -> None:
    python = backend_python("tensorflow")
    script = "import importlib.util as u; print([n for n in ('torch', 'transformers') if u.find_spec(n)])"
    done = subprocess.run([python, "-c", script], env=python_environment(python), capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr
    done = subprocess.run(
        [python, "-P", "-m", "bridge.serve", "--bind", "tcp://127.0.0.1:0", "--backend", "sionna"],
        env=python_environment(python), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "needs Sionna 2.x on PyTorch, and Sionna 1." in done.stderr


def test_libraries_of_one_interpreter_are_not_given_to_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mine = str(tmp_path)
    library = next(path for path in sys.path if path.endswith("site-packages"))
    monkeypatch.setattr(sys, "path", [mine, *sys.path])
    theirs = python_environment("/some/other/python")["PYTHONPATH"].split(":")
    assert mine in theirs
    assert library not in theirs
    assert not any("site-packages" in path or path.startswith(sys.base_prefix) for path in theirs)
    assert library in python_environment(sys.executable)["PYTHONPATH"].split(":")


def test_a_client_can_tell_what_it_talks_to(serve: Any) -> None:
    server = serve("numpy")
    with AirClient(server.endpoint, link(), SEED) as client:
        assert client.description["backend_versions"] == f"numpy {np.__version__}"
