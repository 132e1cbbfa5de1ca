"""A whole stress test: resumed, killed, refused, with points that fail, from the command line."""

import csv
import multiprocessing
import sqlite3
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from testbench.bars import Observer
from testbench.errors import RunFolderError
from testbench.stress.accuracy import spread, training_units
from testbench.stress.campaign import run_stress
from testbench.stress.evaluate import Failed
from testbench.stress.plan_file import build_plan, load_plan, plan_toml
from testbench.stress.points import points_of, units_of
from testbench.stress.pool import run_units
from testbench.stress.store import StressFolder, difference
from tests import forked
from tests.testbench.test_cli import pairzero

TINY = """
name = "tiny"
devices = 3
rounds = 200
sessions = 4
unit_rounds = 100
presets = ["gpsdo"]

[link]
air = "numpy"
csi = { age_s = 1e-3 }
power = { control = "truncated" }
offsets = { symbol_duration_s = 64e-6 }

[contestants.analog]
label = "analog"

[contestants.votes]
label = "votes"
link = { scheme = "sign", decision = "hard" }

[axes.timing]
range = "0..60us:4"

[axes.lost_broadcast]
range = "0,20%"

[scalar_vs_gradient]
run = true
entries = [1, 4]
timing = "0..4us:3"
cfo = "10..100000Hz:4log"
ages_s = [0.0]
rounds = 20
entry_budget = 40
"""


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


def plan(**settings):
    import tomllib

    return build_plan({**tomllib.loads(TINY), **settings}, "plan")


class StopAfter(Observer):
    """Interrupts after so many units, as Ctrl-C would."""

    def __init__(self, units: int) -> None:
        self.left, self.kept = units, 0

    def started(self, units, done, weight, done_weight, workers):
        self.kept = done

    def advanced(self, unit):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def test_an_interrupted_test_ends_in_the_same_table(tmp_path, monkeypatch, sharp):
    with monkeypatch.context() as undrawn:
        undrawn.setattr("testbench.stress.figures.draw_figures", lambda *arguments: None)
        whole = run_stress(plan(), StressFolder(tmp_path / "whole"), workers=1)
        again = StopAfter(10**9)
        run_stress(plan(), whole.folder, resume=True, workers=1, observer=again)
        assert again.left == 10**9  # nothing was repeated
    assert not whole.failures
    cut = StressFolder(tmp_path / "cut")
    for resume in (False, True):
        with pytest.raises(KeyboardInterrupt):
            run_stress(plan(), cut, resume=resume, workers=1, observer=StopAfter(9))
    observer = StopAfter(10**9)
    run_stress(plan(), cut, resume=True, workers=1, observer=observer)
    assert observer.kept == 18
    for name in ("results.csv", "largest.csv", "scalar-vs-gradient.csv", "tables.md"):
        assert (cut.path / name).read_bytes() == (whole.folder.path / name).read_bytes()

    rows = list(csv.DictReader(cut.csv.read_text().splitlines()))
    assert sum(row["added"] == "0" for row in rows) == 2 * (4 + 2 + 1) + 3 * (3 + 4)
    assert {row["group"] for row in rows} == {"sweep", "preset", "gradient"}
    assert all(float(row["nmse_db_low"]) <= float(row["nmse_db"]) for row in rows if row["nmse_db_low"])
    assert {row["peak_energy_per_scalar"] for row in rows} == {"1.0"}
    figures = {path.stem for path in cut.figures.glob("*.png")}
    assert figures == {
        "curves-timing", "heat-timing", "curves-lost_broadcast", "heat-lost_broadcast", "presets", "scalar-vs-gradient",
    }  # fmt: skip
    page = cut.report.read_text()
    assert page.count("data:image/png") == 6
    assert "scalar, 16 T" in page
    assert "ASSUMED" in page


def test_another_plan_is_refused_with_the_key_that_differs(tmp_path):
    folder = StressFolder(tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        run_stress(plan(), folder, workers=1, observer=StopAfter(1))
    with pytest.raises(RunFolderError, match="already holds a stress test; add --resume"):
        run_stress(plan(), folder, workers=1)
    for settings, key in (
        ({"rounds": 300}, r"rounds = 200, not 300"),
        ({"axes": {"timing": {"range": "0..50us:4"}}}, r"axes\.lost_broadcast = a section, not nothing"),
        ({"seed": 1}, r"seed = 0, not 1"),
    ):
        with pytest.raises(RunFolderError, match=key):
            run_stress(plan(**settings), folder, resume=True, workers=1)
    with pytest.raises(RunFolderError, match="holds no stress test to resume"):
        run_stress(plan(), StressFolder(tmp_path / "new"), resume=True, workers=1)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("precious")
    with pytest.raises(RunFolderError, match="something else"):
        run_stress(plan(), StressFolder(tmp_path / "full"), workers=1)
    assert difference({"a": {"b": 1}}, {"a": {"b": 1}}) == ""


def test_points_that_fail_are_told_and_the_rest_is_finished(tmp_path):
    data = plan().model_dump(mode="json", exclude_none=True)
    data["contestants"]["broken"] = {"label": "broken", "link": {"scheme": "nowhere:Part"}}
    data["scalar_vs_gradient"]["run"] = False
    result = run_stress(build_plan(data, "plan"), StressFolder(tmp_path / "out"), workers=1)
    (sentence,) = result.failures
    assert sentence.startswith("broken: 7 points not measured (timing, lost_broadcast, preset): ")
    assert "nowhere" in sentence
    assert {row["contestant"] for row in result.rows} == {"analog", "votes"}
    assert "broken" in result.folder.report.read_text()


def test_workers_give_what_one_process_gives_and_a_kill_loses_little(tiny, processes, tmp_path):
    out = tmp_path / "killed"
    small = load_plan(tiny, axes=["timing=0..60us:40"], contestants=["votes"], overrides=["unit_rounds=50"])
    (tmp_path / "small.toml").write_text(plan_toml(small))
    process = processes.start("killed", "stress", str(tmp_path / "small.toml"), "--out", str(out), "--workers", "2")
    try:
        kept = wait_for_units(out / "units.sqlite", 5)
        workers = psutil.Process(process.pid).children(recursive=True)
    finally:
        process.kill()
        process.join(20)
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive  # workers follow their parent
    done = forked.run(tmp_path, "stress", str(out), "--resume", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert "kept from before" in done.stdout
    assert kept >= 5
    whole = run_stress(small, StressFolder(tmp_path / "whole"), workers=1)
    assert (out / "results.csv").read_bytes() == whole.folder.csv.read_bytes()


def wait_for_units(database: Path, count: int) -> int:
    until = time.monotonic() + 180
    while time.monotonic() < until:
        if database.exists():
            with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
                try:
                    (found,) = connection.execute("SELECT count(*) FROM units").fetchone()
                except sqlite3.OperationalError:
                    found = 0
            if found >= count:
                return int(found)
        time.sleep(0.02)
    raise AssertionError("no unit was committed")


def test_the_command_line(capsys, monkeypatch, tiny, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        return pairzero(capsys, monkeypatch, "stress", *arguments)

    code, out, err = run("tiny.toml", "--workers", "1", "--axis", "cfo=0..800Hz:3", "--contestant", "analog", "--out", "o")
    assert (code, err) == (0, "")
    assert "NMSE < -10 dB" in " ".join(out.split())
    assert "3 units" not in out
    assert len(list(csv.DictReader((tmp_path / "o" / "results.csv").open()))) == 3
    code, _, err = run("tiny.toml", "--axis", "cfo=0..800", "--out", "p")
    assert code == 1
    assert err == "pairzero: --axis cfo=0..800: axes.cfo: '0..800': the unit is missing; valid units are Hz, kHz or MHz\n"
    code, _, err = run("--resume")
    assert (code, err.count("\n")) == (1, 1)
    assert "--resume needs the folder" in err
    code, _, err = run("nowhere.toml")
    assert "there is no plan nowhere.toml" in err
    code, out, _ = run("--list-presets")
    assert code == 0
    assert "rfclock" in out
    assert "arxiv" in out
    code, _, err = run(
        "tiny.toml", "--workers", "1", "--preset", "gpsdo", "--out", "q", "--set", "contestants.analog.link.scheme=nowhere:Part"
    )
    assert code == 1
    assert "could not be measured" in err


def test_fine_tuning_at_a_few_points(tmp_path, sharp):
    settings = {
        "axes": {"lost_broadcast": {"range": "0,50%", "resync_every": 2}},
        "presets": [],
        "scalar_vs_gradient": {"run": False},
        "accuracy": {
            "run": True, "rounds": 3, "points": 1, "contestants": ["analog"], "axes": ["lost_broadcast"],
            "set": ["federation.batch_size=2", "federation.devices=2"],
        },
    }  # fmt: skip
    result = run_stress(plan(**settings), StressFolder(tmp_path / "out"), workers=1)
    assert not result.failures
    trained = [row for row in result.rows if row["group"] == "accuracy"]
    assert [(row["axis"], row["value"]) for row in trained] == [("lost_broadcast", 0.5)]
    for row in trained:
        assert 0 <= row["accuracy"] <= 1
        assert 0 <= row["accuracy_noise_free"] <= 1
        assert row["rounds"] == 3
    assert (result.folder.figures / "accuracy.png").is_file()
    assert (result.folder.trainings / "accuracy-lost_broadcast-analog-0@1" / "summary.json").is_file()


def test_values_of_fine_tuning_are_spread_over_the_axis():
    assert spread((0.0, 1.0, 2.0, 3.0, 4.0), 3) == (0.0, 2.0, 4.0)
    assert spread((0.0, 1.0), 1) == (1.0,)
    assert spread((0.0, 1.0), 5) == (0.0, 1.0)
    assert training_units(plan(), Path("x")) == []


def test_units_whose_workers_are_killed_are_finished_all_the_same():
    point = points_of(plan())[0]
    killed, found = [], []

    def kill_once(unit, outcome):
        found.append((unit, outcome))
        if not killed:
            killed.extend(multiprocessing.active_children())
            for child in killed:
                child.kill()

    units = [unit for _ in range(20) for unit in units_of(point, 50)]
    run_units(units, 2, kill_once)
    assert len(killed) == 2
    assert Counter(unit.id for unit, _ in found) == Counter(unit.id for unit in units)
    assert not [outcome for _, outcome in found if isinstance(outcome, Failed)]
