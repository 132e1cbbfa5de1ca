"""``pairzero sweep``."""

from pathlib import Path
from typing import Annotated

import typer

from testbench.commands._options import Sets, console


def command(
    source: Annotated[str, typer.Argument(metavar="SWEEP", help="A sweep file, or a sweep's folder.")],
    sets: Sets = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes; default: one per core.")] = None,
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", help="Run on the Dask cluster of this scheduler: tcp://host:8786, or its file.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Output folder. Default: a new one under runs/.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Finish the sweep in the folder, repeating nothing.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the points.")] = False,
) -> None:
    """Run a scenario over axes, on all cores or a cluster.

    With statistics over seeds: means with bands, and paired differences on common random numbers.
    """
    from testbench.sweep.command import sweep

    sweep(
        console(), source, overrides=sets or [], workers=workers, scheduler=scheduler, out=out, resume=resume, dry_run=dry_run
    )  # fmt: skip
