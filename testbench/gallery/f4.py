"""F4: drawn by ``testbench.privacy.figures``."""

from pathlib import Path

from testbench.gallery._job import Job
from testbench.gallery._privacy import draw_privacy

TITLE = "Accuracy over epsilon, by who counts"


def draw(job: Job) -> Path:
    """Draw F4; returns the PNG."""
    return draw_privacy(job)
