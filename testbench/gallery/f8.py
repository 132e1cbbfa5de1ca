"""F8: convergence of over-the-air zeroth-order learning beside its baselines; measured and drawn by ``pairzero compare``."""

from pathlib import Path

from testbench.gallery._delegate import run_command
from testbench.gallery._job import Job

TITLE = "Convergence over rounds, channel uses, bits and seconds, beside FeedSign, DeComFL and first-order baselines"


def draw(job: Job) -> Path:
    """Draw F8; returns the PNG."""
    seeds = "1,2,3,4" if job.paper else "1"
    options = {"scenario": "compare", "methods": None, "seeds": seeds, "list_methods": False}
    files = {"png": "figures/convergence.png", "pdf": "figures/convergence.pdf", "csv": "comparison.csv"}
    return run_command(job, "compare", options, files, resumes=True)
