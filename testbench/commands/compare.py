"""``pairzero compare``."""

from pathlib import Path
from typing import Annotated

import typer

from testbench.commands._options import Sets, console


def command(
    scenario: Annotated[
        str, typer.Argument(help="A scenario file, the name of a shipped one, or a comparison's folder.")
    ] = "compare",
    methods: Annotated[str | None, typer.Option("--methods", help="Only these, e.g. pairzero,feedsign. Default: all.")] = None,
    seeds: Annotated[str | None, typer.Option("--seeds", help="Seeds, e.g. 1,2,3,4. Default: the scenario's.")] = None,
    sets: Sets = None,
    out: Annotated[Path | None, typer.Option("--out", help="Output folder. Default: a new one under runs/.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue in the folder; finished methods are kept.")] = False,
    list_methods: Annotated[bool, typer.Option("--list", help="List the methods.")] = False,
) -> None:
    """Run baselines beside a scenario: same data, seeds and channel.

    Accuracy and loss over rounds, channel uses, bits and seconds, as a table (CSV) and a figure.
    """
    from testbench.comparison.command import compare
    from testbench.comparison.command import list_methods as show_methods

    if list_methods:
        show_methods(console())
        return
    compare(console(), scenario, methods=methods, seeds=seeds, overrides=sets or [], out=out, resume=resume)
