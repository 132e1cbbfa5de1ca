"""``pairzero figure``."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from testbench.commands._options import Sets, console


class Settings(StrEnum):
    """How much is measured."""

    quick = "quick"
    paper = "paper"


def _names(incomplete: str) -> list[str]:
    folder = Path(__file__).parents[1] / "gallery"
    names = sorted(path.stem.upper() for path in folder.glob("[ft][0-9]*.py"))
    return [name for name in names if name.startswith(incomplete.upper())]


def command(
    name: Annotated[
        str | None, typer.Argument(help="F1 .. F11, T1, T2. Without a name: list them.", autocompletion=_names)
    ] = None,
    settings: Annotated[
        Settings,
        typer.Option("--settings", help="quick: minutes, embedded model; paper: the paper's sizes, as far as at hand."),
    ] = Settings.quick,
    sets: Sets = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes; default: one per core.")] = None,
    scheduler: Annotated[str | None, typer.Option("--scheduler", help="Measure on the Dask cluster of this scheduler.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Output folder. Default: a new one under runs/.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Finish the figure in the folder, repeating nothing.")] = False,
    source: Annotated[Path | None, typer.Option("--from", help="Only draw, from what this folder has.")] = None,
) -> None:
    """Draw a figure or table of the field, its numbers beside it.

    Measured anew with quick or paper settings; --from draws again what a folder holds.
    """
    from testbench.gallery._command import draw, titles

    if name is None:
        for known, title in titles().items():
            typer.echo(f"{known:4} {title}")
        return
    draw(
        console(), name, paper=settings is Settings.paper, overrides=sets or [], workers=workers, scheduler=scheduler, out=out,
        resume=resume, source=source,
    )  # fmt: skip
