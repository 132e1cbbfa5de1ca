"""``pairzero report``."""

from pathlib import Path
from typing import Annotated

import typer

from testbench.commands._options import console


def command(
    paths: Annotated[list[Path], typer.Argument(metavar="RUN_OR_SWEEP...", help="Run folders, sweep folders, or tables.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="The HTML file. Default: report.html of the one run, or a new one in runs/.")
    ] = None,
    slot: Annotated[
        int | None, typer.Option("--slot", min=0, help="Also look into the slot of this round, computed anew.")
    ] = None,
) -> None:
    """One HTML page about a run or a sweep, or several side by side."""
    from testbench.progress import ProgressWatcher
    from testbench.report import report

    screen = console()
    path = report(paths, out, slot=slot, watcher=ProgressWatcher(screen))
    screen.print(f"report    {path} ({path.stat().st_size / 1000:.0f} kB)", markup=False, highlight=False, soft_wrap=True)
