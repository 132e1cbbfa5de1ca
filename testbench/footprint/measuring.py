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


def measure_all(specs: Sequence[Spec], tell: Tell, say: Callable[[str], None]) -> list[Measurement]:
    """The measurements that succeeded, in order; ``tell`` hears (what, done, in all), ``say`` a line on each."""
    found: list[Measurement] = []
    for number, spec in enumerate(specs):
        what = f"{spec.model} {spec.batch}x{spec.tokens} {spec.method}"
        tell(what, number, len(specs))
        try:
            found.append(measure_apart(spec))
            say(f"{number + 1}/{len(specs)} {what}: {found[-1].peak_mib:.0f} MiB")
        except TestbenchError as error:
            say(f"warning: {error}")
    tell("done", len(specs), len(specs))
    return found


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
