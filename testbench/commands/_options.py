"""Options that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console


def complete_scenario(incomplete: str) -> list[str]:
    """Names of shipped scenarios, and scenario files and run folders that lie here."""
    here = Path(incomplete)
    folder = here if incomplete.endswith("/") else here.parent
    shipped = sorted(path.stem for path in (Path(__file__).parents[1] / "scenarios").glob("*.toml"))
    files = [str(path) for path in sorted(folder.glob("*.toml"))]
    files += [str(path.parent) for path in sorted(folder.glob("*/scenario.toml"))]
    return [name for name in [*shipped, *files] if name.startswith(incomplete)]


def complete_setting(incomplete: str) -> list[str]:
    """Keys for ``--set``, and what may follow the equals sign where that is a choice."""
    from testbench.completing import settings

    return settings(incomplete)


Out = Annotated[Path | None, typer.Option("--out", help="Run folder. Default: a new one under runs/.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a setting: key=value, e.g. link.snr_max_db=10.", autocompletion=complete_setting),
]
ScenarioName = Annotated[
    str, typer.Argument(help="A scenario file, or the name of a shipped one.", autocompletion=complete_scenario)
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the run in the folder, where its journal ends.")]


Strict = Annotated[
    bool, typer.Option("--strict", help="Refuse a privacy guarantee that rests on the public seed; privacy.strict = true.")
]


def strictly(strict: bool) -> list[str]:
    """The override that ``--strict`` stands for."""
    return ["privacy.strict=true"] if strict else []


def console() -> "Console":
    """The terminal; rich is imported only when something is to be shown."""
    from rich.console import Console

    return Console()
