"""Run every measurement in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict

from testbench.errors import TestbenchError
from testbench.footprint.subject import Measurement, Spec

Tell = Callable[[str, int, int], None]


def measure_all(specs: Sequence[Spec], tell: Tell) -> tuple[list[Measurement], list[str]]:
    """(measurements in order, sentences on those that failed); ``tell`` hears (what, done, in all)."""
    found: list[Measurement] = []
    failed: list[str] = []
    for number, spec in enumerate(specs):
        tell(f"{spec.model} {spec.batch}x{spec.tokens} {spec.method}", number, len(specs))
        try:
            found.append(measure_apart(spec))
        except TestbenchError as error:
            failed.append(str(error))
    tell("done", len(specs), len(specs))
    return found, failed


def measure_apart(spec: Spec) -> Measurement:
    """One measurement in a process of its own, so that no earlier one's memory is in it.

    :raises TestbenchError: the process failed; a kill is most often that of the kernel for lack of memory
    """
    command = [sys.executable, "-P", "-m", "testbench.footprint.subject", json.dumps(asdict(spec))]
    environment = {**os.environ, "OMP_NUM_THREADS": str(spec.threads), "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    what = f"{spec.method} of {spec.model} at {spec.batch} x {spec.tokens} tokens"
    if done.returncode < 0:
        raise TestbenchError(
            f"{what} was killed (signal {-done.returncode}), most likely for lack of memory; take a smaller --batch"
        )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise TestbenchError(f"{what} could not be measured: {last}")
    answer = json.loads(lines[-1])
    if "error" in answer:
        raise TestbenchError(f"{what} could not be measured: {answer['error']}")
    return Measurement(**{**answer, "spec": Spec(**answer["spec"])})
