"""Run a sweep: every point on all cores or on a cluster, each kept once it is finished, with tables that grow meanwhile."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbench.bars import Observer, processes
from testbench.errors import TestbenchError
from testbench.pool import cores, run_all
from testbench.privacy.ledger import NAME as LEDGER
from testbench.privacy.secrecy import of_several
from testbench.scenario import build
from testbench.stress.plan import nearest
from testbench.sweep.cluster import connected
from testbench.sweep.config import SweepConfig
from testbench.sweep.file import Loaded
from testbench.sweep.points import Expanded, SweepPoint, expand
from testbench.sweep.statistics import check_paired, difference_rows, enough, statistics_rows
from testbench.sweep.store import SweepFolder
from testbench.sweep.table import Row, columns_of, row_of, to_csv, to_parquet
from testbench.sweep.worker import evaluate, own_version

__all__ = ["SweepResult", "collect", "run_sweep"]

# Tables are written again after each point, or this often where points are quicker.
_WRITE_EVERY_S = 1.0


@dataclass(frozen=True)
class SweepResult:
    """A sweep as far as it is: its folder, a row per finished point, statistics, and the points that failed, a sentence each.

    ``missing``: points that are neither finished nor failed nor spared by early stopping; ``spared``: those that were.
    ``note``: what holds of all its runs; empty where there is nothing.
    """

    folder: SweepFolder
    axes: list[str]
    rows: list[Row]
    statistics: list[Row]
    differences: list[Row]
    failures: list[tuple[SweepPoint, str]]
    missing: int
    spared: int
    note: str


def run_sweep(
    loaded: Loaded,
    folder: SweepFolder,
    *,
    resume: bool = False,
    workers: int | None = None,
    scheduler: str | None = None,
    observer: Observer | None = None,
    patience_s: float = 60.0,
) -> SweepResult:
    """Run the sweep in ``folder``; with ``resume``, only what is missing, and what an edited sweep file adds.

    ``workers``: processes; None for one per core, 1 for none but this. ``scheduler``: address of a Dask scheduler, which is
    then used instead. Raises :class:`testbench.errors.TestbenchError`; points that fail do not stop the others and are tried
    again on the next resume.
    """
    observer = observer or Observer()
    expanded = expand(loaded.sweep, loaded.bases)
    check_paired(loaded.sweep.paired, expanded.points)
    for sentence in expanded.skipped:
        observer.said(f"left out: {sentence}")
    with folder:
        folder.prepare(loaded.sweep, loaded.bases[""], resume)
        state = _State(loaded.sweep, expanded, folder)
        if resume and (others := state.versions() - {own_version()}):
            observer.said(f"note: {', '.join(sorted(others))} of pairzero measured some points, this is {own_version()}")
        try:
            _measure(state, workers, scheduler, patience_s, observer)
        finally:
            observer.finished()
            result = state.result()
            _write(loaded.sweep, result)
    return result


def collect(loaded: Loaded, folder: SweepFolder) -> SweepResult:
    """The sweep as far as ``folder`` has it, without measuring anything."""
    expanded = expand(loaded.sweep, loaded.bases)
    with folder:
        folder.open_finished()
        return _State(loaded.sweep, expanded, folder).result()


class _State:
    """What is finished, what failed, and which groups of seeds need no more."""

    def __init__(self, sweep: SweepConfig, expanded: Expanded, folder: SweepFolder) -> None:
        self.sweep, self.expanded, self.folder = sweep, expanded, folder
        self.finished = folder.finished()
        self.failed: dict[str, str] = {}
        self._groups: dict[str, list[SweepPoint]] = {}
        for point in expanded.points:
            self._groups.setdefault(point.group, []).append(point)
        self._checked = False
        private = [point for point in expanded.points if "epsilon" in point.scenario["privacy"]]
        self._note = of_several(build(point.scenario, point.words) for point in private) if len(private) > 1 else ""
        self._wrote_s = -math.inf

    def versions(self) -> set[str]:
        """Versions of pairzero that measured what is finished."""
        return {str(result["version"]) for result in self.finished.values()}

    def unique(self) -> dict[str, SweepPoint]:
        """Points by id: two that are the same scenario are measured once."""
        return {point.id: point for point in reversed(self.expanded.points)}

    def cut(self, group: str) -> int | None:
        """The last seed (its number in the group) that a group needs; None: all, as far as is known."""
        if self.sweep.stop is None:
            return None
        values: list[float] = []
        orders: list[int] = []
        for point in self._groups[group]:
            if point.id not in self.finished:
                if point.id in self.failed:
                    continue
                break
            value = self.finished[point.id]["values"].get(self.sweep.stop.metric)
            if isinstance(value, (int, float)):
                values.append(float(value))
                orders.append(point.order)
        count = enough(values, self.sweep, group)
        return None if count is None else orders[count - 1]

    def left(self) -> Iterator[SweepPoint]:
        """The points to measure, first seeds first, so that early tables show everything; decided when asked."""
        for point in sorted(self.unique().values(), key=lambda point: (point.order, -point.weight)):
            if point.id in self.finished or point.id in self.failed:
                continue
            cut = self.cut(point.group)
            if cut is None or point.order <= cut:
                yield point

    def settle(self, point: SweepPoint, answer: dict[str, Any]) -> None:
        """Keep a result, or a failure, and bring the tables up to date."""
        if "error" in answer:
            self.failed[point.id] = str(answer["error"])
        else:
            self.folder.add(answer)
            self.finished[point.id] = answer
            if not self._checked:
                self._checked = True
                _check_columns(self.sweep, answer["values"])
        if time.monotonic() - self._wrote_s >= _WRITE_EVERY_S:
            _write(self.sweep, self.result())
            self._wrote_s = time.monotonic()

    def result(self) -> SweepResult:
        """Rows of all finished points up to each group's cut, with statistics."""
        rows: list[tuple[SweepPoint, Row]] = []
        missing = spared = 0
        failures = []
        cuts = {group: self.cut(group) for group in self._groups}
        for point in self.expanded.points:
            cut = cuts[point.group]
            if cut is not None and point.order > cut:
                spared += 1
            elif point.id in self.finished:
                rows.append((point, row_of(point, self.finished[point.id])))
            elif point.id in self.failed:
                failures.append((point, self.failed[point.id]))
            else:
                missing += 1
        return SweepResult(
            self.folder,
            self.expanded.axes,
            [row for _, row in rows],
            statistics_rows(self.sweep, rows),
            difference_rows(self.sweep, rows),
            failures,
            missing,
            spared,
            self._note,
        )


def _measure(state: _State, workers: int | None, scheduler: str | None, patience_s: float, observer: Observer) -> None:
    unique = state.unique()
    total = sum(point.weight for point in unique.values())
    done = [point for point in unique.values() if point.id in state.finished]

    def started(where: str) -> None:
        observer.started(len(unique), len(done), total, sum(point.weight for point in done), where)

    def finished(point: SweepPoint, answer: dict[str, Any]) -> None:
        state.settle(point, answer)
        observer.advanced(point.weight)

    def failed(point: SweepPoint, sentence: str) -> None:
        finished(point, {"id": point.id, "error": sentence})

    def task(point: SweepPoint) -> dict[str, Any]:
        return _task(state, point)

    if scheduler is not None:
        with connected(scheduler, patience_s) as cluster:
            if cluster.threaded():
                observer.said(
                    "note: a Dask worker with several threads measures one point at a time; start it with --nthreads 1"
                )
            started(cluster.in_words())
            cluster.run(evaluate, state.left(), task, finished, failed, observer.said)
        return
    count = min(workers or cores(), max(1, len(unique) - len(done)))
    started(processes(count))
    run_all(
        _evaluate, ((point, task(point)) for point in state.left()), count, lambda pair, answer: finished(pair[0], answer),
        preload=_preload(state), ahead=2 if state.sweep.measure == "link" else 1, died=lambda pair: _died(pair[0]),
    )  # fmt: skip


def _task(state: _State, point: SweepPoint) -> dict[str, Any]:
    """A point as the plain data that a worker gets."""
    sweep = state.sweep
    keep = sweep.measure == "run" and sweep.runs == "keep"
    return {
        "id": point.id,
        "measure": sweep.measure,
        "scenario": point.scenario,
        "measurement": sweep.measurement.model_dump(mode="json"),
        "folder": str((state.folder.runs / point.id).absolute()) if keep else None,
        "ledger": str((state.folder.path / LEDGER).absolute()),
        "figures": sweep.figures,
        "version": own_version(),
    }


def _preload(state: _State) -> list[str]:
    """What every worker will import."""
    links = [(point.scenario["link"], point.scenario["air"]) for point in state.expanded.points]
    airs = sorted({str(link.get("air") or air["backend"]) for link, air in links})
    found = ["phy.link", *(f"phy.airs.{air}" for air in airs if ":" not in air), "testbench.sweep.worker"]
    return [*found, "testbench.runner" if state.sweep.measure == "run" else "testbench.stress.evaluate"]


def _evaluate(pair: tuple[SweepPoint, dict[str, Any]]) -> dict[str, Any]:
    return evaluate(pair[1])


def _died(point: SweepPoint) -> dict[str, Any]:
    return {"id": point.id, "error": "its worker process died twice (out of memory, or killed)"}


def _check_columns(sweep: SweepConfig, values: dict[str, Any]) -> None:
    """Refuse statistics of a column that no point has."""
    chosen = [("statistics.metrics", name) for name in sweep.statistics.metrics]
    if sweep.stop is not None:
        chosen.append(("stop.metric", sweep.stop.metric))
    for where, name in chosen:
        if name not in values:
            raise TestbenchError(f"{where}: there is no column {name!r}{nearest(name, values)}")


def _write(sweep: SweepConfig, result: SweepResult) -> None:
    """Every table of the folder, each in one step."""
    folder = result.folder
    columns = columns_of(result.rows, result.axes)
    folder.write(folder.csv, to_csv(result.rows, columns))
    if result.note:
        folder.write(folder.readme, f"{result.note}\n")
    if (parquet := to_parquet(result.rows, columns)) is not None:
        folder.write(folder.parquet, parquet)
    _write_or_remove(folder, folder.statistics, result.statistics)
    _write_or_remove(folder, folder.differences, result.differences)
    failures = [{**point.labels, "seed": point.seed, "reason": reason} for point, reason in result.failures]
    _write_or_remove(folder, folder.failures, failures)


def _write_or_remove(folder: SweepFolder, path: Path, rows: list[Row]) -> None:
    if rows:
        folder.write(path, to_csv(rows, list(dict.fromkeys(name for row in rows for name in row))))
    else:
        path.unlink(missing_ok=True)
