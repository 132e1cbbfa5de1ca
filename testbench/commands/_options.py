"""Options that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

Out = Annotated[Path | None, typer.Option("--out", help="Run folder. Default: a new one under runs/.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="Override a setting: key=value, e.g. link.snr_max_db=10.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the run in the folder, where its journal ends.")]


def console() -> "Console":
    """The terminal; rich is imported only when something is to be shown."""
    from rich.console import Console

    return Console()
