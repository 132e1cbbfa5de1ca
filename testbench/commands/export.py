"""``pairzero export``."""

from pathlib import Path
from typing import Annotated

import typer

from testbench.commands._options import console


def command(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    to: Annotated[Path, typer.Option("--to", help="New folder for the model; transformers' from_pretrained loads it.")],
) -> None:
    """Write a run's fine-tuned model for from_pretrained to load."""
    from testbench.exporting import export_run
    from testbench.run_folder import RunFolder

    export_run(RunFolder.existing(folder), to, console())
