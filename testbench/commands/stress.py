"""``pairzero stress``."""

from pathlib import Path
from typing import Annotated

import typer

from testbench.commands._options import Sets, console


def command(
    plan: Annotated[
        str | None, typer.Argument(help="A plan file, or a stress test's folder. Default: the shipped plan.")
    ] = None,
    axis: Annotated[
        list[str] | None,
        typer.Option("--axis", help="Sweep only this, e.g. timing=0..2us:25, cfo=0..500Hz:25, phase=0..180deg:13."),
    ] = None,
    preset: Annotated[list[str] | None, typer.Option("--preset", help="Only this hardware; see --list-presets.")] = None,
    contestant: Annotated[list[str] | None, typer.Option("--contestant", help="Only this scheme of the plan.")] = None,
    sets: Sets = None,
    accuracy: Annotated[bool, typer.Option("--accuracy", help="Also fine-tune at a few points, as [accuracy] says.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="The same plan, small: a first look within seconds.")] = False,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes; default: one per core.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Output folder. Default: a new one under runs/.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the test in the folder, repeating nothing.")] = False,
    list_presets: Annotated[bool, typer.Option("--list-presets", help="List hardware with the source of each figure.")] = False,
) -> None:
    """Break synchronisation on purpose, and measure every scheme.

    Errors over timing, frequency, phase and protocol faults, on the same draws for all schemes of the plan.
    """
    from testbench.stress.command import list_presets as show_presets
    from testbench.stress.command import stress

    if list_presets:
        show_presets(console())
        return
    stress(
        console(), plan, out=out, resume=resume, workers=workers, overrides=sets or [], axes=axis or [], presets=preset or [],
        contestants=contestant or [], accuracy=accuracy, quick=quick,
    )  # fmt: skip
