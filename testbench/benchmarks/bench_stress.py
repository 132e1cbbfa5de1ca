"""A whole stress test as a user runs it: 6 schemes, 25 timing offsets, 10,000 rounds each, on all cores, with figures."""

import csv
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

CONTESTANTS = ("analog", "sign_soft", "sign_majority", "fsk_mv", "reed", "digital")
OFFSETS, ROUNDS = 25, 10_000


def bench_stress(benchmark: Any, record: Any, tmp_path: Path) -> None:
    """Seconds of the command, from its start to the last file."""
    command = [
        *(sys.executable, "-P", "-m", "testbench.cli", "stress", "--out", str(tmp_path / "out")),
        *("--axis", f"timing=0..64us:{OFFSETS}", "--set", f"rounds={ROUNDS}"),
        *(word for name in CONTESTANTS for word in ("--contestant", name)),
    ]
    took_s: list[float] = []

    def run() -> None:
        began = time.perf_counter()
        subprocess.run(command, env=os.environ, check=True, stdout=subprocess.DEVNULL)
        took_s.append(time.perf_counter() - began)

    benchmark.pedantic(run, rounds=1, iterations=1)
    with (tmp_path / "out" / "results.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert sum(row["added"] == "0" for row in rows) == len(CONTESTANTS) * OFFSETS
    cores = len(os.sched_getaffinity(0))
    record(f"stress test, {len(CONTESTANTS)} schemes x {OFFSETS} offsets x {ROUNDS} rounds, {cores} cores [s]", took_s[0], 60.0)
    record("the same, rounds per second", len(CONTESTANTS) * OFFSETS * ROUNDS / took_s[0], best="high")
