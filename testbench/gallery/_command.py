"""What ``pairzero figure`` does and shows."""

import time
from pathlib import Path

from rich.console import Console

__all__ = ["draw", "titles"]


def titles() -> dict[str, str]:
    """Name and title of every figure and table."""
    from testbench.gallery._find import find, names

    return {known: find(known).TITLE for known in names()}


def draw(
    console: Console,
    name: str,
    *,
    paper: bool,
    overrides: list[str],
    workers: int | None,
    scheduler: str | None,
    out: Path | None,
    resume: bool,
    source: Path | None,
) -> Path:
    """Draw a figure into ``out``, or anew from what ``source`` has; returns the path of its PNG."""
    from testbench.bars import BarObserver, say
    from testbench.errors import TestbenchError
    from testbench.gallery._find import find
    from testbench.gallery._job import Job
    from testbench.run_folder import RunFolder

    module = find(name)
    if source is not None and (out is not None or resume):
        raise TestbenchError("--from draws in the folder that it reads; leave out --out and --resume")
    if source is not None and not source.is_dir():
        raise TestbenchError(f"there is no folder {source} to draw from")
    if resume and out is None:
        raise TestbenchError("--resume needs the folder of the figure: add --out DIR")
    folder = source or out or RunFolder.default(name.upper()).path
    observer = BarObserver(console, name.upper(), "points")
    job = Job(name.upper(), folder, paper, overrides, workers, scheduler, resume, source is not None, observer)
    say(console, f"{job.name}: {module.TITLE}; folder {folder}")
    began = time.monotonic()
    try:
        path: Path = module.draw(job)
    except KeyboardInterrupt:
        observer.finished()
        say(console, f"interrupted; continue with: pairzero figure {job.name} --out {folder} --resume")
        raise
    say(console, f"figure    {path}, with PDF and CSV beside it; {time.monotonic() - began:.0f} s")
    return path
