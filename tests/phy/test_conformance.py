"""Every backend in its own environment against the golden vectors, and the golden vectors against an oracle."""

import json
import subprocess
import sys

import numpy as np
import pytest

from bridge.environments import backend_python, python_environment
from phy import conformance
from tests import forked
from tests.phy import golden_parts
from tests.tensorflow_needed import BACKENDS

# A backend without a framework must not want one: whatever it imports of these is refused.
BLOCKED = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "sionna", "tensorflow", "keras", "transformers"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Refuse())
from phy.conformance import main
sys.exit(main(["--backend", "numpy"]))
"""
RUN = "import sys; from phy.conformance import main; sys.exit(main(['--backend', sys.argv[1], '--statistics']))"


def conform(*arguments: str) -> None:
    sys.exit(conformance.main(list(arguments)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_backend_conforms(backend, tmp_path):
    if backend == "sionna":
        done = forked.call(tmp_path, conform, "--backend", backend, "--statistics")
    else:
        python = backend_python(backend)
        script = BLOCKED if backend == "numpy" else RUN
        done = subprocess.run(
            [python, "-P", "-c", script, backend],
            env=python_environment(python), capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
    assert done.stdout.count("\n") == 1, done.stderr
    report = json.loads(done.stdout)
    assert (report["failed"], done.returncode) == ([], 0)
    assert report["deviations"].keys() == conformance.read_golden().keys()
    assert max(report["deviations"].values()) < 1e-5
    # Seven moments each of Rayleigh fading and of noise, thirteen paths and a line of sight.
    assert len(report["standard_errors"]) == (0 if backend == "numpy" else 28)


def test_the_golden_vectors_are_those_of_the_explicit_sums():
    golden = conformance.read_golden()
    assert conformance.GOLDEN.stat().st_size < 100 * 1024
    for name, values in golden_parts.golden().items():
        # Sine and logarithm of single precision, which the draws are made of, differ in their last bits between processors.
        assert golden.pop(name) == pytest.approx(values, rel=5e-6, abs=5e-6 * np.abs(values).max()), name
    assert golden == {}


@pytest.mark.parametrize("part", ["superposition", "noise", "tdl D", "emulated, rayleigh", "time_channel, tdl by sample"])
def test_a_deviation_of_one_in_ten_thousand_is_found(part, monkeypatch):
    golden = conformance.read_golden()
    largest = np.unravel_index(np.abs(golden[part]).argmax(), golden[part].shape)
    golden[part][largest] *= 1 + 1e-4
    monkeypatch.setattr(conformance, "read_golden", lambda: golden)
    written: list[str] = []
    assert conformance.main(["--backend", "numpy"], written.append) == 1
    assert json.loads(written[0])["failed"] == [part]


def test_a_wrong_law_is_found():
    """Of 40,000 samples: a power that is 5 % off, and a real and an imaginary part that are not independent."""
    x = np.random.default_rng(1).standard_normal((40_000, 2)) @ [1, 1j] / np.sqrt(2)

    def worst(samples: np.ndarray) -> float:
        moments: dict[str, tuple[float, float, float]] = {}
        conformance._describe(moments, "x", samples, 1.0)
        return max(abs(measured - expected) / spread for measured, expected, spread in moments.values())

    assert worst(x) < conformance.STANDARD_ERRORS
    assert worst(x * np.sqrt(1.05)) > conformance.STANDARD_ERRORS
    assert worst(x.real + 1j * (0.1 * x.real + 0.995 * x.imag)) > conformance.STANDARD_ERRORS


def test_the_wrong_environment_is_refused_in_one_sentence():
    done = subprocess.run(
        [sys.executable, "-m", "phy.conformance", "--backend", "tensorflow"],
        env=python_environment(sys.executable), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "needs Sionna 1.x on TensorFlow, and Sionna 2" in done.stderr
    assert "make air-tensorflow" in done.stderr
    assert done.stderr.count("\n") == 1
