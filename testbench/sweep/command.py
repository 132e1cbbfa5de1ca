"""What ``pairzero sweep`` does and shows."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from testbench.sweep.campaign import SweepResult
    from testbench.sweep.file import Loaded

__all__ = ["sweep"]

_SHOWN_ROWS = 40


def sweep(
    console: Console,
    source: str,
    *,
    overrides: list[str],
    workers: int | None,
    scheduler: str | None,
    out: Path | None,
    resume: bool,
    dry_run: bool,
) -> None:
    """Run a sweep and print its statistics; raises :class:`testbench.errors.TestbenchError` where points failed."""
    from testbench.bars import BarObserver, say
    from testbench.errors import TestbenchError
    from testbench.sweep.campaign import run_sweep
    from testbench.sweep.file import SWEEP, load_sweep
    from testbench.sweep.store import SweepFolder

    if resume and out is None:
        if not (Path(source) / SWEEP).is_file():
            raise TestbenchError("--resume needs the sweep's folder: add --out DIR, or give DIR as the sweep")
        out = Path(source)
    loaded = load_sweep(source, overrides)
    if dry_run:
        _list(console, loaded)
        return
    folder = SweepFolder.default(loaded.sweep.name) if out is None else SweepFolder(out)
    say(console, f"{loaded.sweep.name}: folder {folder.path}")
    observer = BarObserver(console, loaded.sweep.name, "points")
    again = f"pairzero sweep {folder.path} --resume"
    try:
        result = run_sweep(loaded, folder, resume=resume, workers=workers, scheduler=scheduler, observer=observer)
    except KeyboardInterrupt:
        say(console, f"interrupted; continue with: {again}")
        raise
    _show(console, loaded, result)
    if result.failures:
        count = len(result.failures)
        raise TestbenchError(f"{count} point{'s' if count > 1 else ''} failed (see above); try them again with: {again}")


def _list(console: Console, loaded: "Loaded") -> None:
    from testbench.bars import say
    from testbench.sweep.points import expand
    from testbench.sweep.statistics import check_paired

    expanded = expand(loaded.sweep, loaded.bases)
    check_paired(loaded.sweep.paired, expanded.points)
    for point in expanded.points:
        say(console, f"{point.scenario_hash}  {point.words}")
    for sentence in expanded.skipped:
        say(console, f"left out: {sentence}")
    say(console, f"{len(expanded.points)} points")


def _show(console: Console, loaded: "Loaded", result: "SweepResult") -> None:
    """The statistics of the first metric, and where everything lies."""
    from rich.markup import escape
    from rich.table import Table

    from testbench.bars import say

    metrics = list(dict.fromkeys(row["metric"] for row in result.statistics))
    for metric in metrics[:1]:
        rows = [row for row in result.statistics if row["metric"] == metric]
        table = Table(
            title=f"{metric}: mean over seeds, {rows[0]['band']} band", box=None, pad_edge=False, title_justify="left"
        )
        for name in (*result.axes, "seeds", "mean", "low", "high"):
            table.add_column(escape(name), justify="right")
        for row in rows[:_SHOWN_ROWS]:
            table.add_row(*(escape(_cell(row.get(name))) for name in (*result.axes, "seeds", "mean", "low", "high")))
        console.print(table)
        if len(rows) > _SHOWN_ROWS:
            say(console, f"... {len(rows) - _SHOWN_ROWS} more in {result.folder.statistics}")
    if result.note:
        say(console, f"note      {result.note}")
    for point, reason in result.failures:
        say(console, f"failed: {point.words}: {reason}")
    if result.spared:
        say(
            console, f"spared    {result.spared} points, whose {loaded.sweep.stop.metric if loaded.sweep.stop else ''} is tight"
        )
    folder = result.folder
    tables = [path for path in (folder.csv, folder.parquet, folder.statistics, folder.differences) if path.is_file()]
    say(console, f"results   {', '.join(str(path) for path in tables)} ({len(result.rows)} rows)")
    if not folder.parquet.is_file():
        say(console, "note: without pyarrow the table is CSV only; pip install pyarrow for Parquet")


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.4g}"
    return str(value)
