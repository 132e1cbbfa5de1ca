"""What ``pairzero stress`` does and shows: a live bar on a terminal, plain lines elsewhere, then the tables."""

import time
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table as RichTable

from testbench.errors import TestbenchError
from testbench.stress.campaign import Observer, StressResult, run_stress, tables_of
from testbench.stress.hardware import shipped
from testbench.stress.plan import StressConfig
from testbench.stress.plan_file import PLAN, load_plan
from testbench.stress.points import Unit
from testbench.stress.store import StressFolder
from testbench.stress.tables import Table

_LINE_EVERY_S = 5.0


def list_presets(console: Console) -> None:
    """Print the shipped hardware with the source of each figure."""
    for name, hardware in shipped().items():
        _say(console, f"{name}: {hardware.label}")
        for quantity in ("timing", "frequency", "phase"):
            stated = hardware.provenance.get(quantity, "")
            _say(console, f"    {quantity:<10} {hardware.in_words(quantity)}{f'  [{stated}]' if stated else ''}")
        _say(console, f"    {'source':<10} {hardware.source}{f' <{hardware.link}>' if hardware.link else ''}")


def stress(
    console: Console,
    source: str | None,
    *,
    out: Path | None,
    resume: bool,
    workers: int | None,
    overrides: list[str],
    axes: list[str],
    presets: list[str],
    contestants: list[str],
    accuracy: bool,
    quick: bool,
) -> None:
    """Run a stress test and print its tables; raises :class:`testbench.errors.TestbenchError` where points failed."""
    if resume and out is None:
        if source is None or not (Path(source) / PLAN).is_file():
            raise TestbenchError("--resume needs the folder of the test: add --out DIR, or give DIR as the plan")
        out = Path(source)
    if resume and source is None and out is not None and (out / PLAN).is_file():
        source = str(out)
    plan = load_plan(
        source or "default",
        overrides=overrides, axes=axes, presets=presets, contestants=contestants, accuracy=accuracy, quick=quick,
    )  # fmt: skip
    folder = StressFolder.default(plan.name) if out is None else StressFolder(out)
    _say(console, f"{plan.name}: folder {folder.path}")
    observer = BarObserver(console)
    began = time.monotonic()
    try:
        result = run_stress(plan, folder, resume=resume, workers=workers, observer=observer)
    except KeyboardInterrupt:
        observer.finished()
        _say(console, f"interrupted; continue with: pairzero stress {folder.path} --resume")
        raise
    _show(console, plan, result, time.monotonic() - began)
    if result.failures:
        count = len(result.failures)
        raise TestbenchError(f"{count} part{'s' if count > 1 else ''} of the test could not be measured (see above)")


def _show(console: Console, plan: StressConfig, result: StressResult, took_s: float) -> None:
    for title, note, table in tables_of(plan, result):
        if title != "Hardware":
            _print(console, title, table)
            if note:
                _say(console, note + "\n")
    for sentence in result.failures:
        _say(console, f"failed: {sentence}")
    folder = result.folder
    figures = sorted(path.name for path in folder.figures.glob("*.png"))
    _say(console, f"results   {folder.csv} ({len(result.rows)} rows), {folder.table}, {folder.path / 'tables.md'}")
    _say(console, f"figures   {folder.figures}: {', '.join(figures)}")
    _say(console, f"report    {folder.report}")
    _say(console, f"took      {took_s:.0f} s")


def _print(console: Console, title: str, table: Table) -> None:
    shown = RichTable(title=title, box=None, pad_edge=False, title_justify="left")
    for index, head in enumerate(table[0]):
        shown.add_column(escape(head), justify="left" if index == 0 else "right", overflow="fold")
    for row in table[1:]:
        shown.add_row(*(escape(cell) for cell in row))
    console.print(shown)


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


class BarObserver(Observer):
    """Units of work done, and the time that the rest will take."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress: Progress | None = None
        self._units = self._done = 0
        self._weight = self._total = 0.0
        self._last_line_s = time.monotonic()

    def started(self, units: int, done: int, weight: float, done_weight: float, workers: int) -> None:
        """A new bar."""
        self._units, self._done, self._total, self._weight = units, done, weight, done_weight
        kept = f", {done} kept from before" if done else ""
        _say(self._console, f"{units} units of work{kept}, {workers} process{'es' if workers > 1 else ''}")
        if self._console.is_terminal:
            self._progress = Progress(
                TextColumn("stress"),
                BarColumn(bar_width=None),
                TextColumn("{task.percentage:>3.0f} %"),
                TextColumn("{task.fields[units]}"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._progress.start()
            self._task = self._progress.add_task("stress", total=weight, units=self._count())
            self._progress.update(self._task, completed=done_weight)

    def advanced(self, unit: Unit) -> None:
        """Advance by a unit."""
        self._done += 1
        self._weight += unit.weight
        if self._progress is not None:
            self._progress.update(self._task, completed=self._weight, units=self._count())
        elif time.monotonic() - self._last_line_s > _LINE_EVERY_S:
            self._last_line_s = time.monotonic()
            _say(self._console, f"{100 * self._weight / self._total:.0f} %, {self._count()} units")

    def said(self, text: str) -> None:
        """Print a line."""
        _say(self._console, text)

    def finished(self) -> None:
        """Leave the last state on the screen."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _count(self) -> str:
        return f"{self._done}/{self._units}"
