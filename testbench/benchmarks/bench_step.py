"""A zeroth-order step against two forward passes, in time and in peak memory."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from testbench.benchmarks.step_subject import subject


@pytest.mark.parametrize("model", ["embedded", "opt125m"])
def bench_step(benchmark: Any, record: Any, interleaved: Any, model: str) -> None:
    """One device, batch 16 x 32 tokens: perturb, forward, perturb, forward, update; float32, one thread."""
    step, forward, plain = subject(model)

    def two_forwards() -> None:
        forward()
        forward()

    def two_plain() -> None:
        plain()
        plain()

    repeats = 40 if model == "embedded" else 5
    step_s, forward_s, plain_s = interleaved(step, two_forwards, two_plain, repeats=repeats, warmup=1)
    record(f"step, {model}: over two forwards, answer logits", step_s / forward_s)
    record(f"step, {model}: over two forwards, all logits", step_s / plain_s)
    peaks = {what: _peak_mib(model, what) for what in ("inference", "step")}
    record(f"step, {model}: peak memory over inference", peaks["step"] / peaks["inference"])
    record(f"inference, {model}: peak beyond imports [MiB]", peaks["inference"])
    benchmark.pedantic(step, rounds=3, warmup_rounds=1)


def _peak_mib(model: str, what: str) -> float:
    """Peak resident memory beyond that after the imports, in a process of its own [MiB]."""
    command = [sys.executable, "-P", "-m", "testbench.benchmarks.step_subject", model, what]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return float(json.loads(output.splitlines()[-1])["peak_mib"])
