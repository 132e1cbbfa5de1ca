"""Write reports: of one run when it is through, and of any runs and sweeps on demand."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from testbench.errors import TestbenchError
from testbench.run_folder import RunFolder

if TYPE_CHECKING:
    from testbench.reports.drawing import Panel
    from testbench.reports.runs import Run
    from testbench.runner import Watcher

__all__ = ["report", "write_report"]


def write_report(folder: RunFolder) -> Path:
    """Write ``report.html`` of a run into its folder, and return its path."""
    from testbench.reports.page import render
    from testbench.reports.runs import read_run

    _write(folder.report, render([read_run(folder.path)]))
    return folder.report


def report(
    paths: Sequence[str | Path], out: str | Path | None = None, *, slot: int | None = None, watcher: "Watcher | None" = None
) -> Path:
    """One self-contained HTML file about run folders, sweep folders and tables, several side by side; returns its path.

    :param out: the file; by default ``report.html`` in the folder of the only run, or a new one under ``runs/``
    :param slot: also draw constellation and spectrum of this round, which is computed anew (models are loaded for it)
    :raises testbench.errors.TestbenchError: a path holds neither a run nor tables, or the slot cannot be had
    """
    from testbench.reports.page import read, render

    if not paths:
        raise TestbenchError("a report needs at least one run folder, sweep folder or table")
    given = [Path(path) for path in paths]
    runs, tables = read(given)
    if slot is not None and not runs:
        raise TestbenchError("a slot is that of a run; give a run folder, or leave out --slot")
    drawn = {id(run): _slot(run, slot, watcher) for run in runs} if slot is not None else {}
    page = render(runs, tables, (lambda run: drawn[id(run)]) if drawn else None)
    target = Path(out) if out is not None else _target(runs)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _write(target, page)
    except OSError as error:
        raise TestbenchError(f"the report {target} cannot be written: {error.strerror}; choose another --out") from error
    return target


def _slot(run: "Run", index: int, watcher: "Watcher | None") -> "tuple[list[Panel], str]":
    from testbench.reports.slot import compute_slot, explain, slot_panels

    slot = compute_slot(run, index, watcher)
    return slot_panels(slot), explain(slot, run.rounds)


def _target(runs: "list[Run]") -> Path:
    if len(runs) == 1:
        return runs[0].folder.report
    return RunFolder.default("report").path.with_suffix(".html")


def _write(path: Path, page: str) -> None:
    """Replace the file in one step: a browser that reloads sees the old page or the new one."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(page, encoding="utf-8")
    os.replace(temporary, path)
