"""A zeroth-order step against forward passes, in time and in peak memory; replay of a journal against training."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from learning.journal import Journal
from learning.parameters import count, weights_sha256
from learning.replay import replay
from testbench.benchmarks.step_subject import DEVICES, Subject, subject

REPLAYED = 150


@pytest.fixture(scope="module", params=["embedded", "opt125m"])
def named(request: Any) -> tuple[str, Subject]:
    """The embedded model, and random weights of OPT-125M's shape."""
    return request.param, subject(request.param)


def bench_step(benchmark: Any, record: Any, interleaved: Any, named: tuple[str, Subject]) -> None:
    """One device, batch 16 x 32 tokens: perturb, forward, perturb, forward, update; float32, one thread."""
    model, on = named

    def two_forwards() -> None:
        on.forward()
        on.forward()

    def two_plain() -> None:
        on.plain()
        on.plain()

    repeats = 40 if model == "embedded" else 5
    step_s, all_s, forward_s, plain_s = interleaved(
        on.step, on.step_all_logits, two_forwards, two_plain, repeats=repeats, warmup=1
    )
    record(f"step, {model}: over two forwards, both answer logits", step_s / forward_s)
    record(f"step, {model}: over two forwards, both all logits", all_s / plain_s, 1.20 if model == "opt125m" else None)
    record(
        f"step, {model}: answer logits, over two forwards with all logits",
        step_s / plain_s,
        0.90 if model == "opt125m" else None,
    )
    peaks = {what: _peak_mib(model, what) for what in ("inference", "step")}
    record(f"step, {model}: peak memory over inference", peaks["step"] / peaks["inference"], 1.10)
    record(f"inference, {model}: peak beyond imports [MiB]", peaks["inference"])
    benchmark.pedantic(on.step, rounds=3, warmup_rounds=1)


def bench_devices(benchmark: Any, record: Any, interleaved: Any, named: tuple[str, Subject]) -> None:
    """A round of four devices in one process against their eight forward passes and one step's perturbation passes."""
    model, on = named

    def parts() -> None:
        for _ in range(2 * DEVICES):
            on.forward()
        on.passes()

    whole_s, parts_s = interleaved(on.step_devices, parts, repeats=20 if model == "embedded" else 3, warmup=1)
    record(f"round of {DEVICES} devices, {model}: over {2 * DEVICES} forwards and a perturbation", whole_s / parts_s, 1.05)
    benchmark.pedantic(on.step_devices, rounds=2, warmup_rounds=0)


def bench_replay(benchmark: Any, record: Any, interleaved: Any, named: tuple[str, Subject], tmp_path: Path) -> None:
    """Replay of many rounds, per round, against the perturbation passes of training."""
    model, on = named
    rounds = REPLAYED * (7 if model == "embedded" else 1)
    with Journal(tmp_path / "journal.sqlite") as journal:
        description = {"mu": 1e-3, "learning_rate": 1e-9, "perturbation": "rademacher", "parameter_count": count(on.model)}
        journal.begin({**description, "base_weights_sha256": weights_sha256(on.model)})
        for index in range(rounds):
            journal.append(index, 0, (1.0,), {})

        def again() -> None:
            replay(on.model, journal, start=1)  # from any weights: the hash of the base is not what is timed

        replay_s, passes_s = interleaved(again, on.passes, repeats=3, warmup=1)
        record(
            f"replay, {model}: a training round's passes over a replayed round",
            passes_s / (replay_s / (rounds - 1)),
            3.0,
            "high",
        )
        benchmark.pedantic(again, rounds=1, warmup_rounds=0)


def bench_bfloat16(benchmark: Any, record: Any, interleaved: Any) -> None:
    """The same step with a bfloat16 forward, where the processor has it."""
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this processor has no bfloat16 arithmetic (AVX-512 BF16 or AMX)")
    low, full = subject("opt125m", "bfloat16"), subject("opt125m")

    def two_plain() -> None:
        full.plain()
        full.plain()

    step_s, plain_s = interleaved(low.step, two_plain, repeats=5, warmup=1)
    record("step, opt125m, bfloat16 forward: answer logits, over two float32 forwards with all logits", step_s / plain_s, 0.55)
    benchmark.pedantic(low.step, rounds=3, warmup_rounds=1)


def _peak_mib(model: str, what: str) -> float:
    """Peak resident memory beyond that after the imports, in a process of its own [MiB]."""
    command = [sys.executable, "-P", "-m", "testbench.benchmarks.step_subject", model, what]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return float(json.loads(output.splitlines()[-1])["peak_mib"])
