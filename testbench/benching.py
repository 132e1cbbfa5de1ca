"""Run the benchmarks with pytest-benchmark and print what counts: ratios of figures taken in one run."""

import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from testbench.errors import TestbenchError

FOLDER = Path(__file__).parent / "benchmarks"


def run_benchmarks(console: Console, select: str | None = None, json_file: Path | None = None) -> int:
    """Run ``testbench/benchmarks`` in a process of its own and print a row per target; returns pytest's exit code.

    Every row is a ratio of two medians (or peaks) from this run, beside the target it is held to, if it has one. A
    missed target is shown, not an error: machines differ.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = json_file or Path(folder) / "benchmarks.json"
        command = [
            *(sys.executable, "-P", "-m", "pytest", str(FOLDER), "-q", "-p", "no:cacheprovider", "-c", os.devnull),
            *("--rootdir", str(FOLDER), "-o", "python_files=bench_*.py", "-o", "python_functions=bench_*"),
            *(
                "--benchmark-json",
                str(path),
                "--benchmark-disable-gc",
                "--benchmark-warmup=on",
                "--benchmark-columns=median,min,rounds",
            ),
            *(("-k", select) if select else ()),
        ]
        # BLAS and torch with several threads on a busy machine measure the scheduler: one thread, on purpose.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        code = subprocess.run(command, env=environment, check=False).returncode
        if code == 5:
            raise TestbenchError(f"no benchmark has {select!r} in its name; run `pairzero bench` for all")
        if path.is_file() and path.stat().st_size:
            _print(console, json.loads(path.read_text()))
    return code


def _print(console: Console, data: dict[str, Any]) -> None:
    table = Table(title="Ratios in this run", box=None, title_justify="left", pad_edge=False)
    for column in ("what", "measured", "target", ""):
        table.add_column(column, justify="left" if column == "what" else "right")
    for benchmark in data["benchmarks"]:
        for name, row in benchmark["extra_info"].get("ratios", {}).items():
            value, target, best = row["value"], row.get("target"), row.get("best", "low")
            known = not math.isnan(value)  # NaN: too little was measured for a figure
            holds = target is None or (value <= target if best == "low" else value >= target)
            met = "" if target is None or not known else "met" if holds else "missed"
            aim = "" if target is None else f"{'<=' if best == 'low' else '>='} {target:,.4g}"
            table.add_row(escape(name), f"{value:,.4g}" if known else "-", aim, met)
    machine = data["machine_info"]
    console.print(table)
    cpu = machine.get("cpu", {}).get("brand_raw", machine.get("machine"))
    console.print(f"{cpu}, Python {machine['python_version']}, one thread", markup=False, highlight=False)
