"""A federation that is killed at any instant and resumed ends with the weights of one that never stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from learning.parameters import weights_sha256
from tests.learning.tiny import QuadraticObjective, tiny_federation

RUNNER = """
import json, sys
from tests.learning.tiny import QuadraticObjective, tiny_federation
federation = tiny_federation(sys.argv[1], objective=QuadraticObjective(), rounds=10**6, faults=json.loads(sys.argv[2]))
federation.resume()
for record in federation.run():
    print(record.round, flush=True)
"""


FAULTS = {
    "miss_probability": 0.1,
    "late_probability": 0.2,
    "late_rounds": 3,
    "wrong_seed_probability": 0.1,
    "wrong_seed_applies": True,
    "lost_broadcast_probability": 0.2,
    "resync_every": 10,
}


@pytest.mark.parametrize(("pause", "faults"), [(0.004, {}), (0.05, {}), (0.05, FAULTS)])
def test_killed_and_resumed_is_uninterrupted(pause: float, faults: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    runner = subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(path), json.dumps(faults)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert runner.stdout is not None
    assert runner.stdout.readline() == "0\n"
    time.sleep(pause)
    os.kill(runner.pid, signal.SIGKILL)
    applied = 1 + len(runner.stdout.read().split("\n")[:-1])
    runner.wait()
    runner.stdout.close()

    resumed = tiny_federation(path, objective=QuadraticObjective(), faults=faults)
    reached = resumed.resume()
    assert applied <= reached <= applied + 1
    list(resumed.run(5))
    resumed.journal.close()
    whole = tiny_federation(objective=QuadraticObjective(), faults=faults)
    list(whole.run(reached + 5))
    assert weights_sha256(resumed.objective.model) == weights_sha256(whole.objective.model)
