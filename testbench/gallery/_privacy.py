"""Figures of ``pairzero privacy figure``, under the names and options of all others."""

from pathlib import Path

from testbench.errors import TestbenchError
from testbench.gallery._job import Job

__all__ = ["draw_privacy"]


def draw_privacy(job: Job) -> Path:
    """Draw the figure; returns the PNG. The paper's settings are those of the command without ``--quick``."""
    from testbench.privacy.figures import draw

    job.refuse_settings()
    if job.redraw or job.resume or job.scheduler is not None:
        raise TestbenchError(f"{job.name} is measured in one go, in this process: leave out --from, --resume and --scheduler")
    if job.paper:
        job.observer.said(
            f"{job.name} has no paper model here: the embedded one, with the paper's numbers of seeds and rounds scaled"
        )
    started = False

    def tell(what: str, done: int, total: int) -> None:
        nonlocal started
        if not started:
            started = True
            job.observer.started(total, 0, float(total), 0.0, "one process")
        job.observer.advanced(1.0)

    try:
        return draw(job.name, job.folder, quick=not job.paper, tell=tell)
    finally:
        job.observer.finished()
