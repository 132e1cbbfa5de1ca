"""``pairzero figure``: what it takes and what it shows."""

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

__all__ = ["figure"]


class Settings(StrEnum):
    """How much is measured."""

    quick = "quick"
    paper = "paper"


def figure(
    name: Annotated[str | None, typer.Argument(help="F1 .. F11, T1, T2. Without a name: list them.")] = None,
    settings: Annotated[
        Settings,
        typer.Option("--settings", help="quick: minutes, embedded model; paper: the paper's sizes, as far as at hand."),
    ] = Settings.quick,
    sets: Annotated[list[str] | None, typer.Option("--set", help="Override a setting of its scenario: key=value.")] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes; default: one per core.")] = None,
    scheduler: Annotated[str | None, typer.Option("--scheduler", help="Measure on the Dask cluster of this scheduler.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Output folder. Default: a new one under runs/.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Finish the figure in the folder, repeating nothing.")] = False,
    source: Annotated[Path | None, typer.Option("--from", help="Only draw, from what this folder has.")] = None,
) -> None:
    """Draw a figure or table of the field (PNG, PDF) with its numbers beside it (CSV)."""
    from testbench.bars import BarObserver, say
    from testbench.errors import TestbenchError
    from testbench.gallery._find import find, names
    from testbench.gallery._job import Job
    from testbench.run_folder import RunFolder

    console = Console()
    if name is None:
        for known in names():
            say(console, f"{known:4} {find(known).TITLE}")
        return
    module = find(name)
    if source is not None and (out is not None or resume):
        raise TestbenchError("--from draws in the folder that it reads; leave out --out and --resume")
    if source is not None and not source.is_dir():
        raise TestbenchError(f"there is no folder {source} to draw from")
    if resume and out is None:
        raise TestbenchError("--resume needs the folder of the figure: add --out DIR")
    folder = source or out or RunFolder.default(name.upper()).path
    observer = BarObserver(console, name.upper(), "points")
    job = Job(
        name.upper(), folder, settings is Settings.paper, sets or [], workers, scheduler, resume, source is not None, observer
    )
    say(console, f"{job.name}: {module.TITLE}; folder {folder}")
    began = time.monotonic()
    try:
        path = module.draw(job)
    except KeyboardInterrupt:
        observer.finished()
        say(console, f"interrupted; continue with: pairzero figure {job.name} --out {folder} --resume")
        raise
    say(console, f"figure    {path}, with PDF and CSV beside it; {time.monotonic() - began:.0f} s")
