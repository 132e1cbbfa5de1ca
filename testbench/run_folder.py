"""The folder of a run: what lies where, and who may write to it.

``scenario.toml`` (resolved, replayable), ``journal.sqlite`` (a row per round), ``evaluations.jsonl`` (held-out measurements),
``summary.json``, ``figures/``, ``report.html``; ``noise-free/``: the reference's journal and measurements, where asked for;
``private/``: a secret, while a run that has one lasts.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from learning.journal import Journal
from testbench.errors import RunFolderError
from testbench.scenario import Scenario, build, load
from testbench.sdr.settings import UNCOMPUTED


@dataclass(frozen=True)
class Evaluation:
    """Held-out score and loss after ``round`` rounds; the loss is None where it was not a number.

    ``metric`` says what the score is (accuracy, or f1 where answers are generated), ``more`` holds others by name.
    """

    round: int
    score: float
    loss: float | None
    metric: str = "accuracy"
    more: Mapping[str, float] = field(default_factory=dict)

    @property
    def accuracy(self) -> float:
        """The score, for readers of classification tasks only."""
        return self.score

    @property
    def scores(self) -> dict[str, float]:
        """All scores by name, the headline first."""
        return {self.metric: self.score, **self.more}

    def line(self) -> str:
        """As ``evaluations.jsonl`` has it: round, the scores under their names, loss."""
        return json.dumps({"round": self.round, **self.scores, "loss": self.loss})

    @classmethod
    def of_line(cls, line: str) -> "Evaluation":
        """What ``line`` wrote; raises ValueError, KeyError or TypeError where the line was cut off."""
        entry = dict(json.loads(line))
        index, loss = int(entry.pop("round")), entry.pop("loss")
        (metric, score), *more = entry.items()
        return cls(index, float(score), loss, metric, dict(more))


def spoken(metric: str) -> str:
    """A metric as people write it: f1 as F1, exact_match as exact match."""
    return metric.upper() if len(metric) <= 2 else metric.replace("_", " ")


class RunFolder:
    """Paths of a run folder; hold it open (``with``) while writing, so that two processes cannot."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[str] | None = None

    @property
    def scenario(self) -> Path:
        """The resolved scenario."""
        return self.path / "scenario.toml"

    @property
    def journal(self) -> Path:
        """The SQLite journal."""
        return self.path / "journal.sqlite"

    @property
    def summary(self) -> Path:
        """The flat summary."""
        return self.path / "summary.json"

    @property
    def figures(self) -> Path:
        """The folder of figures."""
        return self.path / "figures"

    @property
    def report(self) -> Path:
        """The self-contained report."""
        return self.path / "report.html"

    def reference(self) -> "RunFolder":
        """The folder of the noise-free reference, made where it is missing: a journal and measurements, nothing else."""
        folder = RunFolder(self.path / "noise-free")
        folder.path.mkdir(exist_ok=True)
        return folder

    @property
    def _evaluations(self) -> Path:
        return self.path / "evaluations.jsonl"

    @classmethod
    def default(cls, name: str) -> "RunFolder":
        """A new folder under ``runs/``, named by scenario and time."""
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        path = Path("runs") / f"{name}-{stamp}"
        count = 2
        while path.exists():
            path = Path("runs") / f"{name}-{stamp}-{count}"
            count += 1
        return cls(path)

    @classmethod
    def existing(cls, path: Path) -> "RunFolder":
        """A folder that holds a run; raises :class:`RunFolderError` where it does not."""
        folder = cls(path)
        if not folder.scenario.is_file() or not folder.journal.is_file():
            raise RunFolderError(f"{path} is not a run folder: it lacks scenario.toml or journal.sqlite")
        return folder

    def load_scenario(self) -> Scenario:
        """The scenario that the run was started with."""
        return load(self.scenario)

    def prepare(self, scenario: Scenario, resume: bool) -> None:
        """Make the folder, which must be held open, ready for a new run, or check that it holds this scenario's run."""
        begun = self._has_sent()
        if begun and not resume:
            raise RunFolderError(f"{self.path} already holds a run; add --resume to continue it, or choose another --out")
        if resume and not self.scenario.is_file():
            raise RunFolderError(f"{self.path} holds no run to resume; leave out --resume to start one")
        if not begun:
            # Settings that let no round happen may be corrected.
            self._clear(keep_secret=resume and self.scenario.read_text(encoding="utf-8") == scenario.to_toml())
        elif self.scenario.is_file():
            before, now = self.load_scenario().plain(), build(scenario.plain(), "scenario").plain()
            for data in (before, now):
                for section in ("uplink", "compute", "evaluation", "baselines", "fleet"):  # they change nothing computed
                    data.pop(section)
                for setting in ("strict", "ledger", "ledger_epsilon"):
                    data["privacy"].pop(setting, None)
                for setting in UNCOMPUTED:
                    data["stream"].pop(setting, None)
                data["federation"].pop("rounds")  # a run may be made longer
            if before != now:
                raise RunFolderError(
                    f"{self.path} was started with {_difference(before, now)}; resume with its own {self.scenario}, "
                    "or choose another --out"
                )
        try:
            self.figures.mkdir(parents=True, exist_ok=True)
            _write(self.scenario, scenario.to_toml())
        except OSError as error:
            raise RunFolderError(
                f"the run folder {self.path} cannot be written: {error.strerror}; choose another --out"
            ) from error

    def committed_rounds(self) -> int:
        """How many rounds its journal holds."""
        if not self.journal.is_file() or self.journal.stat().st_size == 0:
            return 0
        with Journal(self.journal, read_only=True) as journal:
            return len(journal)

    def _has_sent(self) -> bool:
        if not self.journal.is_file() or self.journal.stat().st_size == 0:
            return False
        with Journal(self.journal, read_only=True) as journal:
            return journal.has_sent

    def _clear(self, keep_secret: bool) -> None:
        if not keep_secret:
            shutil.rmtree(self.path / "private", ignore_errors=True)
        for name in (self.journal.name, self.journal.name + "-wal", self.journal.name + "-shm", self._evaluations.name):
            (self.path / name).unlink(missing_ok=True)
            (self.path / "noise-free" / name).unlink(missing_ok=True)

    def __enter__(self) -> Self:
        """Make and take the folder: a second process that tries is refused."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / ".lock").open("w")
        except OSError as error:
            reason = "it is not a folder" if isinstance(error, (FileExistsError, NotADirectoryError)) else error.strerror
            raise RunFolderError(f"the run folder {self.path} cannot be used: {reason}; choose another --out") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise RunFolderError(f"another process is running in {self.path}; wait for it or choose another --out") from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._lock is not None:
            self._lock.close()

    def evaluations(self, upto: int | None = None) -> list[Evaluation]:
        """Held-out measurements so far, at most one per round, those after round ``upto`` left out."""
        found: dict[int, Evaluation] = {}
        if self._evaluations.is_file():
            for line in self._evaluations.read_text().splitlines():
                try:
                    entry = Evaluation.of_line(line)
                except (ValueError, TypeError, KeyError):
                    continue  # a line cut off by a kill is measured again
                if upto is None or entry.round <= upto:
                    found[entry.round] = entry
        return [found[key] for key in sorted(found)]

    def add_evaluation(self, evaluation: Evaluation) -> None:
        """Append one measurement."""
        with self._evaluations.open("a") as file:
            file.write(evaluation.line() + "\n")

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Replace ``summary.json``."""
        _write(self.summary, json.dumps(summary, indent=2, allow_nan=False) + "\n")


def _write(path: Path, text: str) -> None:
    """Replace a file in one step: a reader, or a kill, sees the old one or the new one."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def _difference(before: dict[str, Any], now: dict[str, Any], place: str = "") -> str:
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key), now.get(key)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            return _difference(old, new, f"{place}{key}.")
        return f"{place}{key} = {old!r}, not {new!r}"
    return "other settings"
