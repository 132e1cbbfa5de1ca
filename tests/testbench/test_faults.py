"""Faults of the protocol in whole runs: over every uplink, in the summary, resumed, and said where they are idle."""

import json

import pytest

from testbench.errors import RunFolderError
from testbench.run_folder import RunFolder
from testbench.runner import Watcher, ineffective, run_scenario
from testbench.scenario import Scenario, build, load

FAULTS = {
    "miss_probability": 0.2,
    "late_probability": 0.2,
    "late_rounds": 2,
    "wrong_seed_probability": 0.1,
    "lost_broadcast_probability": 0.3,
    "resync_every": 6,
}


def small(transport: str = "inproc", **faults: object) -> Scenario:
    return build(
        {
            "name": "small",
            "seed": 3,
            "task": {"name": "embedded", "train_examples": 100, "validation_examples": 60},
            "federation": {"devices": 4, "batch_size": 4, "rounds": 12, "faults": faults},
            "zeroth_order": {"learning_rate": 2e-4, "clip": 8.0},
            "link": {"snr_max_db": 10.0},
            "uplink": {"transport": transport},
            "evaluation": {"every": 5},
        },
        "test",
    )


class Stop(Watcher):
    def __init__(self, after: int) -> None:
        self.left = after

    def round(self, loss: float, received_snr_db: float | None) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def test_a_run_with_every_fault_counts_them_and_resumes(tmp_path):
    whole = run_scenario(small(**FAULTS), RunFolder(tmp_path / "whole"), figures=False).summary
    counts = ("missed_answers", "late_answers", "stale_answers", "wrong_seed_answers", "lost_broadcasts", "drifted_answers")
    assert all(isinstance(whole[name], int) and 0 < whole[name] < 48 for name in counts)
    assert whole["drift_distance_max"] > 0
    silent = whole["missed_answers"] + whole["late_answers"]
    assert whole["present_devices_mean"] == pytest.approx(4 - silent / 12)
    assert load(tmp_path / "whole" / "scenario.toml") == small(**FAULTS)
    with pytest.raises(KeyboardInterrupt):
        run_scenario(small(**FAULTS), RunFolder(tmp_path / "cut"), watcher=Stop(7), figures=False)
    with pytest.raises(RunFolderError, match=r"was started with federation\.faults\."):
        run_scenario(small(), RunFolder(tmp_path / "cut"), resume=True, figures=False)
    resumed = run_scenario(small(**FAULTS), RunFolder(tmp_path / "cut"), resume=True, figures=False).summary
    own = {"resumed_from_round", "wall_s", "peak_rss_mib", "peak_rss_server_mib"}
    assert {k: v for k, v in resumed.items() if k not in own} == {k: v for k, v in whole.items() if k not in own}


def test_without_faults_everybody_is_heard(tmp_path):
    summary = run_scenario(small("none"), RunFolder(tmp_path), figures=False).summary
    assert summary["present_devices_mean"] == 4
    assert summary["missed_answers"] == summary["lost_broadcasts"] == summary["drift_distance_max"] == 0
    assert "faults" not in json.dumps(summary)


def test_idle_settings_are_named():
    assert ineffective(small(**FAULTS)) == []
    for idle in ({"late_rounds": 3}, {"wrong_seed_applies": True}, {"resync_every": 5, "miss_probability": 0.1}):
        (sentence,) = ineffective(small(**idle))
        assert f"federation.faults.{next(iter(idle))} has no effect" in sentence
