"""``pairzero replay``."""

from pathlib import Path
from typing import Annotated

import typer

from testbench.commands._options import console


def command(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
) -> None:
    """Rebuild a run's weights from its journal; compare their hash."""
    from testbench.replaying import replay_run
    from testbench.run_folder import RunFolder

    replay_run(RunFolder.existing(folder), console())
