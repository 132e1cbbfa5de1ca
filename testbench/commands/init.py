"""``pairzero init``."""

from pathlib import Path
from typing import Annotated

import typer

from testbench.commands._options import complete_scenario


def command(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("scenario.toml"),
    scenario: Annotated[
        str, typer.Option("--from", help="The scenario to start from.", autocompletion=complete_scenario)
    ] = "demo",
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that exists.")] = False,
) -> None:
    """Write a commented scenario to start from."""
    from testbench.starting import write_scenario

    written = write_scenario(path, scenario, force=force)
    typer.echo(f"{written}: change it, and run it with: pairzero run {written}")
