"""What a report knows of a run: everything that its folder holds, read once."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from learning.journal import Journal
from testbench.errors import RunFolderError
from testbench.run_folder import Evaluation, RunFolder
from testbench.scenario import Scenario
from testbench.summary import LinkTotals


@dataclass(frozen=True)
class Run:
    """A run as it lies in its folder; ``summary`` is empty where it has not come to its end, which ``finished`` tells."""

    label: str
    folder: RunFolder
    scenario: Scenario
    summary: dict[str, Any]
    evaluations: list[Evaluation]
    totals: LinkTotals

    @property
    def finished(self) -> bool:
        """Whether the run has a summary of the very rounds that its journal holds."""
        return self.summary.get("rounds") == self.rounds

    @property
    def rounds(self) -> int:
        """Rounds in the journal."""
        return len(self.totals.lost)

    @property
    def lost_rounds(self) -> int:
        """Rounds in which nothing usable was received."""
        return int(self.totals.lost.sum())

    @property
    def physical(self) -> bool:
        """Whether the rounds went over a link with noise."""
        return "received_power" in self.totals.columns

    @property
    def budget(self) -> float | None:
        """The promised epsilon; None where no privacy is claimed."""
        return self.scenario.privacy.epsilon if self.scenario.privacy.on else None


def read_run(path: Path, label: str | None = None) -> Run:
    """The run in ``path``; one that was cut off is read as far as it came.

    Raises :class:`testbench.errors.RunFolderError` where the folder holds none, or its summary is damaged.
    """
    folder = RunFolder.existing(path)
    scenario = folder.load_scenario()
    with Journal(folder.journal, read_only=True) as journal:
        totals = LinkTotals.of(journal)
    return Run(label or path.name or str(path), folder, scenario, _summary(folder), folder.evaluations(), totals)


def _summary(folder: RunFolder) -> dict[str, Any]:
    if not folder.summary.is_file():
        return {}
    try:
        summary = json.loads(folder.summary.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunFolderError(
            f"{folder.summary} is damaged ({error}); write it anew with: pairzero run {folder.path} --resume"
        ) from error
    if not isinstance(summary, dict):
        raise RunFolderError(f"{folder.summary} holds no summary; write it anew with: pairzero run {folder.path} --resume")
    return summary


def labels(paths: list[Path]) -> list[str]:
    """Short names that tell the folders apart: as many of their last parts as that takes."""
    resolved = [path.resolve().parts for path in paths]
    depth = 1
    while depth < max(len(parts) for parts in resolved) and len({parts[-depth:] for parts in resolved}) < len(set(resolved)):
        depth += 1
    return ["/".join(parts[-depth:]) for parts in resolved]
