"""T1: peak memory measured beside the paper's arithmetic; measured and drawn by ``pairzero memory``."""

from pathlib import Path

from testbench.gallery._delegate import run_command
from testbench.gallery._job import Job

TITLE = "Peak memory, measured and by arithmetic, with bits per round: FO-SGD, FO-Adam, LoRA, MeZO, pAirZero, sign"


def draw(job: Job) -> Path:
    """Draw T1; returns the PNG."""
    models = ["opt-125m"] if job.paper else ["embedded"]
    options = {"scenario": None, "model": models, "methods": None, "batch": None, "tokens": None, "device": None}
    files = {"png": "figures/memory.png", "pdf": "figures/memory.pdf", "csv": "memory.csv"}
    return run_command(job, "memory", options, files, resumes=False)
