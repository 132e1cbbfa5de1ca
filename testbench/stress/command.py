"""What ``pairzero stress`` does and shows: a live bar on a terminal, plain lines elsewhere, then the tables."""

import time
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from testbench.bars import BarObserver, say
from testbench.errors import TestbenchError
from testbench.stress.campaign import StressResult, run_stress, tables_of
from testbench.stress.hardware import shipped
from testbench.stress.plan import StressConfig
from testbench.stress.plan_file import PLAN, load_plan
from testbench.stress.store import StressFolder
from testbench.stress.tables import Table


def list_presets(console: Console) -> None:
    """Print the shipped hardware with the source of each figure."""
    for name, hardware in shipped().items():
        say(console, f"{name}: {hardware.label}")
        for quantity in ("timing", "frequency", "phase"):
            stated = hardware.provenance.get(quantity, "")
            say(console, f"    {quantity:<10} {hardware.in_words(quantity)}{f'  [{stated}]' if stated else ''}")
        say(console, f"    {'source':<10} {hardware.source}{f' <{hardware.link}>' if hardware.link else ''}")


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
    say(console, f"{plan.name}: folder {folder.path}")
    observer = BarObserver(console, "stress")
    began = time.monotonic()
    try:
        result = run_stress(plan, folder, resume=resume, workers=workers, observer=observer)
    except KeyboardInterrupt:
        observer.finished()
        say(console, f"interrupted; continue with: pairzero stress {folder.path} --resume")
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
                say(console, note + "\n")
    for sentence in result.failures:
        say(console, f"failed: {sentence}")
    folder = result.folder
    figures = sorted(path.name for path in folder.figures.glob("*.png"))
    say(console, f"results   {folder.csv} ({len(result.rows)} rows), {folder.table}, {folder.path / 'tables.md'}")
    say(console, f"figures   {folder.figures}: {', '.join(figures)}")
    say(console, f"report    {folder.report}")
    say(console, f"took      {took_s:.0f} s")


def _print(console: Console, title: str, table: Table) -> None:
    shown = RichTable(title=title, box=None, pad_edge=False, title_justify="left")
    for index, head in enumerate(table[0]):
        shown.add_column(escape(head), justify="left" if index == 0 else "right", overflow="fold")
    for row in table[1:]:
        shown.add_row(*(escape(cell) for cell in row))
    console.print(shown)
