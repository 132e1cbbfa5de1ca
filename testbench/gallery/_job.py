"""What a figure is drawn with: where, how much, by how many; and its measurements, which are sweeps that resume."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testbench.bars import Observer
from testbench.errors import TestbenchError
from testbench.sweep.campaign import SweepResult, collect, run_sweep
from testbench.sweep.file import build_sweep
from testbench.sweep.store import SweepFolder

__all__ = ["Job"]


@dataclass(frozen=True)
class Job:
    """One figure to be made.

    ``paper``: the paper's sizes instead of those that take minutes; ``redraw``: measure nothing, draw what the folder has.
    """

    name: str
    folder: Path
    paper: bool = False
    sets: Sequence[str] = ()
    workers: int | None = None
    scheduler: str | None = None
    resume: bool = False
    redraw: bool = False
    observer: Observer = field(default_factory=Observer)

    def sweep(self, name: str, data: dict[str, Any]) -> SweepResult:
        """Measure the sweep ``data`` in the folder ``name``, or take what is there.

        :raises TestbenchError: points failed or, where nothing is to be measured, are missing
        """
        loaded = build_sweep({"name": f"{self.name}-{name}", **data}, f"{self.name}, {name}", overrides=list(self.sets))
        folder = SweepFolder(self.folder / name)
        if self.redraw:
            if not folder.database.is_file():
                raise TestbenchError(
                    f"{self.folder} lacks what {self.name} is drawn from: there is no {folder.path}; measure it with: "
                    f"pairzero figure {self.name} --out {self.folder}"
                )
            result = collect(loaded, folder)
        else:
            resume = self.resume and folder.database.is_file()
            result = run_sweep(
                loaded, folder, resume=resume, workers=self.workers, scheduler=self.scheduler, observer=self.observer
            )
        again = f"pairzero figure {self.name} --out {self.folder} --resume"
        if result.failures:
            point, reason = result.failures[0]
            raise TestbenchError(
                f"{self.name}: {len(result.failures)} of {len(result.failures) + len(result.rows)} points of {folder.path} "
                "failed, "
                f"the first ({point.words}): {reason}; try again with: {again}"
            )
        if result.missing:
            raise TestbenchError(
                f"{self.folder} lacks what {self.name} is drawn from: {result.missing} of {result.missing + len(result.rows)} "
                f"points of {folder.path.name} are missing (or were measured with other settings); finish it with: {again}"
            )
        return result

    def refuse_settings(self) -> None:
        """For figures whose settings are their own."""
        if self.sets:
            raise TestbenchError(f"{self.name} takes no --set: its settings are its own")
