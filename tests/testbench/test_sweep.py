"""Sweeps: what axes mean, what is refused, tables, resuming, failures, early stopping."""

import csv
import json
import math
import multiprocessing
import sqlite3

import numpy as np
import pytest

from testbench.bars import Observer
from testbench.errors import RunFolderError, TestbenchError
from testbench.scenario import load
from testbench.sweep import campaign
from testbench.sweep.axes import SweepError
from testbench.sweep.campaign import collect, run_sweep
from testbench.sweep.file import build_sweep, load_sweep
from testbench.sweep.points import expand, scenario_hash
from testbench.sweep.statistics import band
from testbench.sweep.store import SweepFolder
from testbench.sweep.table import read_table

LINK = {
    "measure": "link",
    "set": {"link.air": "numpy", "federation.devices": 3},
    "measurement": {"rounds": 60, "sessions": 3},
}


def sweep(**data):
    return build_sweep({**LINK, **data}, "sweep")


def labels(**data):
    loaded = sweep(**data)
    return [(point.labels, point.seed) for point in expand(loaded.sweep, loaded.bases).points]


def run(tmp_path, loaded, **options):
    return run_sweep(loaded, SweepFolder(tmp_path / "out"), workers=1, **options)


def test_axes_are_multiplied_with_seeds_innermost():
    found = labels(axes={"link.snr_max_db": [0, 10], "federation": {"devices": [2, 5]}}, seeds=2, set={"link.air": "numpy"})
    assert found == [
        ({"link.snr_max_db": snr, "federation.devices": devices}, seed)
        for snr in (0, 10)
        for devices in (2, 5)
        for seed in (1, 2)
    ]


def test_zipped_axes_advance_together():
    found = labels(
        axes={"link.snr_max_db": [0, 10], "link.csi.pilot_snr_db": [5, 15]}, zip=[["link.snr_max_db", "link.csi.pilot_snr_db"]]
    )
    assert [tuple(point.values()) for point, _ in found] == [(0, 5), (10, 15)]


def test_a_list_of_points_and_bundles_set_several_keys_at_once():
    loaded = sweep(
        axes={"scheme": {"plain": {"link.scheme": "analog"}, "ml": {"link": {"scheme": "sign", "receiver": "ml"}}}},
        points=[{"label": "weak", "link.snr_max_db": -5}, {"link.snr_max_db": 5, "zeroth_order.clip": 3.0}],
    )
    points = expand(loaded.sweep, loaded.bases).points
    assert [(p.labels["scheme"], p.labels["point"]) for p in points] == [
        ("plain", "weak"),
        ("plain", 2),
        ("ml", "weak"),
        ("ml", 2),
    ]
    last = points[-1].scenario
    assert (last["link"]["scheme"], last["link"]["receiver"], last["link"]["snr_max_db"]) == ("sign", "ml", 5.0)
    assert last["zeroth_order"]["clip"] == 3.0


def test_ranges_scenarios_and_hardware_are_axes():
    assert [p["link.snr_max_db"] for p, _ in labels(axes={"link.snr_max_db": "-10..20:4"})] == [-10, 0, 10, 20]
    assert [
        p["federation.mu"] if "federation.mu" in p else p["zeroth_order.mu"]
        for p, _ in labels(axes={"zeroth_order.mu": "1e-4..1e-2:3log"})
    ] == [1e-4, 1e-3, 1e-2]
    assert len(labels(axes={"scenario": ["demo", "sst2-opt125m"]})) == 2
    loaded = sweep(axes={"hardware": ["ideal", "gpsdo"]})
    ideal, gpsdo = expand(loaded.sweep, loaded.bases).points
    assert "frequency_hz" in json.dumps(gpsdo.scenario["link"]["offsets"])
    assert ideal.scenario_hash != gpsdo.scenario_hash


def test_a_hash_is_of_what_is_computed():
    base = load("demo")
    same = load("demo", ["name=other", "compute.threads=2", "uplink.transport=tcp"])
    assert scenario_hash(base) == scenario_hash(same)
    for change in ("seed=2", "link.snr_max_db=6", "uplink.transport=none", "federation.rounds=801"):
        assert scenario_hash(load("demo", [change])) != scenario_hash(base)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"axes": {"link.snr_maxdb": [1]}}, "there is no setting link.snr_maxdb; did you mean link.snr_max_db"),
        ({"axes": {"snr_max_db": [1]}}, "did you mean link.snr_max_db"),
        (
            {"axes": {"s": {"a": {"link.snr_max_db": 1}}, "link.snr_max_db": [1]}},
            "contradict each other: both set link.snr_max_db",
        ),
        ({"axes": {"s": {"a": {"link.csi": {}}}, "link.csi.estimator": ["ls"]}}, "both set link.csi.estimator"),
        ({"set": {"link.snr_max_db": 1}, "axes": {"link.snr_max_db": [1]}}, "[set] and the axis link.snr_max_db contradict"),
        ({"axes": {"seed": [1, 2]}, "seeds": 2}, "seeds are given twice"),
        ({"seeds": [1, 1]}, "name one seed twice"),
        ({"axes": {"link.snr_max_db": []}}, "has no values"),
        ({"axes": {"link.snr_max_db": [1, 1]}}, "has the value 1 twice"),
        ({"axes": {"link.snr_max_db": "0..10"}}, "is no range"),
        ({"axes": {"link.snr_max_db": "-1..10:3log"}}, "above zero"),
        ({"axes": {"link.scheme": ["analog", "sing"]}}, "did you mean 'sign'"),
        ({"axes": {"hardware": ["gpsd"]}}, "did you mean 'gpsdo'"),
        (
            {
                "axes": {"link.snr_max_db": [1, 2], "federation.devices": [1]},
                "set": {},
                "zip": [["link.snr_max_db", "federation.devices"]],
            },
            "as many values",
        ),
        ({"zip": [["link.snr"]], "axes": {"link.snr_max_db": [1]}}, "did you mean 'link.snr_max_db'"),
        ({"set": {"uplink.transport": "none"}}, 'measure "link" needs a link'),
        ({"set": {"privacy.epsilon": 1.0}}, "knows no privacy plan"),
        ({"seds": 2}, "did you mean seeds"),
        ({"scenario": "dmo"}, "did you mean demo"),
        ({"format": 2}, "has format 2, and this version of pairzero reads format 1"),
        ({"stop": {"metric": "nmse_db", "half_width": 0.1}}, "stop.min_seeds is 3, but there are 1 seeds"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(data, sentence):
    with pytest.raises(SweepError) as told:
        labels(**data)
    assert sentence in str(told.value)
    assert "\n" not in str(told.value)


def test_points_that_are_no_scenario_may_be_left_out():
    data = {"axes": {"link.csi.estimator": ["ls", "mmse"], "link.channel.model": ["rayleigh", "awgn"]}}
    with pytest.raises(SweepError, match="mmse knows Rayleigh"):
        labels(**data)
    loaded = sweep(**data, invalid="skip")
    expanded = expand(loaded.sweep, loaded.bases)
    assert len(expanded.points) == 3
    assert len(expanded.skipped) == 1


def test_the_table_is_tidy_and_reads_back_bit_for_bit(tmp_path):
    pytest.importorskip("pyarrow")
    result = run(tmp_path, sweep(axes={"link.snr_max_db": [0, 10]}, seeds=2))
    rows = read_table(result.folder.csv)
    assert rows == read_table(result.folder.parquet) == read_table(result.folder.path)
    assert [(row["link.snr_max_db"], row["seed"]) for row in rows] == [(0, 1), (0, 2), (10, 1), (10, 2)]
    assert len({row["scenario_hash"] for row in rows}) == 4
    scenario = load("demo", ["link.air=numpy", "federation.devices=3", "link.snr_max_db=10", "seed=2"])
    assert rows[-1]["scenario_hash"] == scenario_hash(scenario)
    # Means and bands over the seeds, from the table by hand.
    values = np.array([row["nmse_db"] for row in rows[2:]])
    (line,) = [row for row in result.statistics if row["link.snr_max_db"] == 10 and row["metric"] == "nmse_db"]
    assert line["mean"] == pytest.approx(values.mean())
    assert line["high"] - line["mean"] == pytest.approx(12.706204736 * values.std(ddof=1) / math.sqrt(2))


def test_a_point_does_not_depend_on_its_neighbours(tmp_path):
    alone = run(tmp_path / "a", sweep(set={**LINK["set"], "link.snr_max_db": 10}, seeds=[2])).rows[0]
    among = run(tmp_path / "b", sweep(axes={"link.snr_max_db": [0, 10]}, seeds=3)).rows[4]
    assert {**alone, "took_s": 0} == {key: value for key, value in {**among, "took_s": 0}.items() if key != "link.snr_max_db"}


class Recorder(Observer):
    def __init__(self, stop_after=None):
        self.lines, self.done, self.stop_after = [], 0, stop_after

    def said(self, text):
        self.lines.append(text)

    def advanced(self, weight):
        self.done += 1
        if self.done == self.stop_after:
            raise KeyboardInterrupt


def test_an_interrupted_sweep_repeats_nothing_and_has_its_table_at_once(tmp_path, monkeypatch):
    loaded = sweep(axes={"link.snr_max_db": [0, 5, 10]}, seeds=2)
    whole = run(tmp_path / "whole", loaded)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, loaded, observer=Recorder(stop_after=4))
    assert len(read_table(tmp_path / "out")) == 4
    with pytest.raises(RunFolderError, match="add --resume"):
        run(tmp_path, loaded)
    calls = []
    monkeypatch.setattr(campaign, "evaluate", lambda task, real=campaign.evaluate: calls.append(task["id"]) or real(task))
    again = load_sweep(tmp_path / "out")
    result = run(tmp_path, again, resume=True)
    assert len(calls) == 2
    strip = [{**row, "took_s": 0} for row in result.rows]
    assert strip == [{**row, "took_s": 0} for row in whole.rows]
    # A longer list of seeds keeps what there is.
    longer = sweep(axes={"link.snr_max_db": [0, 5, 10]}, seeds=3)
    calls.clear()
    assert len(run(tmp_path, longer, resume=True).rows) == 9
    assert len(calls) == 3


def test_a_point_that_fails_is_told_and_the_rest_finished(tmp_path, monkeypatch):
    loaded = sweep(axes={"link.snr_max_db": [0, 10]}, seeds=2)

    def broken(task, real=campaign.evaluate):
        if task["scenario"]["link"]["snr_max_db"] == 0 and task["scenario"]["seed"] == 1:
            return {"id": task["id"], "error": "no luck", "version": "x", "pid": 0}
        return real(task)

    with monkeypatch.context() as patched:
        patched.setattr(campaign, "evaluate", broken)
        result = run(tmp_path, loaded)
    assert [(point.words, reason) for point, reason in result.failures] == [("link.snr_max_db = 0, seed 1", "no luck")]
    assert len(result.rows) == 3
    with result.folder.failures.open() as file:
        assert next(csv.DictReader(file))["reason"] == "no luck"
    healed = run(tmp_path, loaded, resume=True)
    assert len(healed.rows) == 4
    assert not healed.failures
    assert not healed.folder.failures.exists()


def test_workers_give_the_same_rows_and_survive_a_kill(tmp_path):
    loaded = sweep(axes={"link.snr_max_db": [0, 5, 10]}, seeds=4)
    alone = run(tmp_path / "alone", loaded)

    class Killer(Recorder):
        def advanced(self, weight):
            super().advanced(weight)
            if self.done == 3:
                multiprocessing.active_children()[0].kill()

    observer = Killer()
    result = run_sweep(loaded, SweepFolder(tmp_path / "out"), workers=2, observer=observer)
    assert not result.failures
    assert [{**row, "took_s": 0} for row in result.rows] == [{**row, "took_s": 0} for row in alone.rows]
    assert observer.done == 12


def test_a_store_of_another_version_is_refused_and_left_alone(tmp_path):
    loaded = sweep(seeds=2)
    result = run(tmp_path, loaded)
    with sqlite3.connect(result.folder.database) as database:
        database.execute("UPDATE meta SET value = '7'")
    database.close()
    with pytest.raises(RunFolderError, match="has format 7, which another version of pairzero wrote"):
        run(tmp_path, loaded, resume=True)
    assert len(read_table(tmp_path / "out")) == 2
    text = result.folder.csv.read_text().splitlines()
    (tmp_path / "old.csv").write_text("\n".join([text[0], *(line[:-1] + "9" for line in text[1:])]))
    with pytest.raises(TestbenchError, match="has format 9"):
        read_table(tmp_path / "old.csv")
    (tmp_path / "foreign.csv").write_text("a,b\n1,2\n")
    with pytest.raises(TestbenchError, match="has no column format"):
        read_table(tmp_path / "foreign.csv")


def test_seeds_stop_where_the_band_is_tight_whoever_is_first(tmp_path):
    data = {"axes": {"link.snr_max_db": [30]}, "seeds": 12, "statistics": {"metrics": ["nmse_db"]}}
    everything = run(tmp_path / "all", sweep(**data))
    values = [row["nmse_db"] for row in everything.rows]
    loose = sweep(**data).sweep.statistics
    widths = [band(values[:n], loose).half_width for n in range(3, 13)]
    target = sorted(widths)[len(widths) // 2]
    first = next(n for n, width in zip(range(3, 13), widths, strict=True) if width <= target)
    stopping = sweep(**data, stop={"metric": "nmse_db", "half_width": target})
    for name, workers in (("one", 1), ("two", 2)):
        result = run_sweep(stopping, SweepFolder(tmp_path / name), workers=workers)
        assert len(result.rows) == first
        assert result.spared == 12 - first
    with pytest.raises(TestbenchError, match=r"stop.metric: there is no column 'nmse'; did you mean 'nmse_db'"):
        run(tmp_path / "typo", sweep(**data, stop={"metric": "nmse", "half_width": 1.0}))


def test_collecting_measures_nothing(tmp_path):
    loaded = sweep(axes={"link.snr_max_db": [0, 10]})
    with pytest.raises(RunFolderError, match="holds no sweep"):
        collect(loaded, SweepFolder(tmp_path / "none"))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, loaded, observer=Recorder(stop_after=1))
    found = collect(loaded, SweepFolder(tmp_path / "out"))
    assert (len(found.rows), found.missing) == (1, 1)
