"""A federation that is killed at any instant and resumed ends with the weights of one that never stopped."""

import signal
import time
from pathlib import Path
from typing import Any

import pytest

from learning.parameters import weights_sha256
from tests.forked import Processes
from tests.learning.tiny import QuadraticObjective, tiny_federation

FAULTS = {
    "miss_probability": 0.1,
    "late_probability": 0.2,
    "late_rounds": 3,
    "wrong_seed_probability": 0.1,
    "wrong_seed_applies": True,
    "lost_broadcast_probability": 0.2,
    "resync_every": 10,
}


def run_on(path: str, faults: dict[str, Any]) -> None:
    federation = tiny_federation(path, objective=QuadraticObjective(), rounds=10**6, faults=faults)
    federation.resume()
    for record in federation.run():
        print(record.round, flush=True)


@pytest.mark.parametrize(("pause", "faults"), [(0.004, {}), (0.05, {}), (0.05, FAULTS)])
def test_killed_and_resumed_is_uninterrupted(
    pause: float, faults: dict[str, Any], tmp_path: Path, processes: Processes
) -> None:
    path = tmp_path / "j.sqlite"
    runner = processes.call("runner", run_on, str(path), faults)
    processes.wait("runner", "^0\n", pause_s=0.0)
    time.sleep(pause)
    runner.kill()
    runner.join()
    assert runner.exitcode == -signal.SIGKILL
    applied = processes.log("runner").count("\n")

    resumed = tiny_federation(path, objective=QuadraticObjective(), faults=faults)
    reached = resumed.resume()
    assert applied <= reached <= applied + 1
    list(resumed.run(5))
    resumed.journal.close()
    whole = tiny_federation(objective=QuadraticObjective(), faults=faults)
    list(whole.run(reached + 5))
    assert weights_sha256(resumed.objective.model) == weights_sha256(whole.objective.model)
