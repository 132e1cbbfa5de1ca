"""F2: drawn by ``testbench.privacy.figures``."""

from pathlib import Path

from testbench.gallery._job import Job
from testbench.gallery._privacy import draw_privacy

TITLE = "What schedules and accounting make of the same promise: accuracy and loss over rounds"


def draw(job: Job) -> Path:
    """Draw F2; returns the PNG."""
    return draw_privacy(job)
