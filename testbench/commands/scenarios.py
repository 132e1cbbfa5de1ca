"""``pairzero scenarios``."""

import typer


def command() -> None:
    """List the scenarios that come with the project."""
    from testbench.scenario import SHIPPED, shipped

    for name in shipped():
        first = (SHIPPED / f"{name}.toml").read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        typer.echo(f"{name:20} {first}")
