"""F10: drawn by ``testbench.privacy.figures``."""

from pathlib import Path

from testbench.gallery._job import Job
from testbench.gallery._privacy import draw_privacy

TITLE = "Claimed against measured epsilon: audits at the antennas, in one run, and by membership"


def draw(job: Job) -> Path:
    """Draw F10; returns the PNG."""
    return draw_privacy(job)
