"""F3: drawn by ``testbench.privacy.figures``."""

from pathlib import Path

from testbench.gallery._job import Job
from testbench.gallery._privacy import draw_privacy

TITLE = "Schedules over the rounds: amplitude, noise of the estimate, epsilon spent"


def draw(job: Job) -> Path:
    """Draw F3; returns the PNG."""
    return draw_privacy(job)
