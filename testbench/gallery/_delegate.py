"""Figures that another command measures and draws: it is run as a person would, and its files take the figure's name."""

import importlib
import importlib.util
import shutil
from pathlib import Path
from typing import Any

from testbench.errors import TestbenchError
from testbench.gallery._job import Job

__all__ = ["run_command"]


def run_command(job: Job, command: str, options: dict[str, Any], files: dict[str, str], resumes: bool) -> Path:
    """Run ``pairzero COMMAND`` with ``options`` into the figure's folder; returns the PNG.

    ``files``: suffix -> what the command calls its PNG, PDF and CSV. With ``job.redraw`` only files that are there are taken.

    :raises TestbenchError: the command does not come with this version, or left nothing to take
    """
    folder = job.folder / command
    if not job.redraw:
        if importlib.util.find_spec(f"testbench.commands.{command}") is None:
            raise TestbenchError(f"{job.name} is drawn by `pairzero {command}`, which this version does not have")
        if job.scheduler is not None or (job.workers or 1) > 1:
            raise TestbenchError(f"{job.name} is measured one after the other: leave out --scheduler and --workers")
        if resumes:
            options = {**options, "resume": job.resume and folder.is_dir()}
        elif job.resume:
            raise TestbenchError(f"{job.name} is measured in one go: leave out --resume")
        importlib.import_module(f"testbench.commands.{command}").command(**options, sets=list(job.sets), out=folder)
    for suffix, name in files.items():
        if not (folder / name).is_file():
            raise TestbenchError(
                f"{job.folder} lacks what {job.name} is drawn from: there is no {folder / name}; measure it with: "
                f"pairzero figure {job.name}"
            )
        shutil.copyfile(folder / name, job.folder / f"{job.name}.{suffix}")
    return job.folder / f"{job.name}.png"
