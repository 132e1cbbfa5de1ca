"""A sweep of 64 points at symbol fidelity as a user runs it, on one worker process and on two."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

POINTS, ROUNDS = 64, 500_000

SWEEP = f"""
name = "bench"
measure = "link"
seeds = 4

[set]
"federation.devices" = 20

[axes]
"link.snr_max_db" = "-10..20:{POINTS // 4}"

[measurement]
rounds = {ROUNDS}
"""


def bench_sweep(benchmark: Any, record: Any, tmp_path: Path) -> None:
    """Seconds of the command, from its start to the last table; the start of the workers counts."""
    (tmp_path / "sweep.toml").write_text(SWEEP)
    (tmp_path / "short.toml").write_text(SWEEP.replace(str(ROUNDS), "100"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def seconds(workers: int, turn: int, name: str = "sweep.toml") -> float:
        out = tmp_path / f"{workers}-{turn}"
        command = [sys.executable, "-P", "-m", "testbench.cli", "sweep", str(tmp_path / name), "--out", str(out)]
        began = time.perf_counter()
        subprocess.run([*command, "--workers", str(workers)], env=environment, check=True, stdout=subprocess.DEVNULL)
        took_s = time.perf_counter() - began
        assert len((out / "results.csv").read_text().splitlines()) == 1 + POINTS
        return took_s

    seconds(1, 0, "short.toml")  # files into the page cache
    turns = [(seconds(1, turn), seconds(2, turn)) for turn in (1, 2)]
    one, two = (min(column) for column in zip(*turns, strict=True))
    benchmark.pedantic(lambda: None, rounds=1, iterations=1)
    record(f"sweep, {POINTS} symbol points x {ROUNDS} rounds: one worker process over two", one / two, 1.8, best="high")
    record("the same on two, points per second", POINTS / two, best="high")
