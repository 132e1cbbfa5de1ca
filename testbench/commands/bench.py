"""``pairzero bench``."""

from pathlib import Path
from typing import Annotated

import typer

from testbench.commands._options import console


def command(
    select: Annotated[str | None, typer.Option("-k", help="Only benchmarks whose name contains this.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also keep pytest-benchmark's JSON here.")] = None,
) -> None:
    """Measure speed and memory as ratios within one run."""
    from testbench.benching import run_benchmarks

    raise typer.Exit(run_benchmarks(console(), select, json_file))
