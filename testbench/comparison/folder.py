"""The folder of a comparison: its scenario, a run folder per method and seed, the table and the figure.

A method counts as finished once its ``method.json`` is there; it is not repeated.
"""

import json
import os
import shutil
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from testbench.errors import RunFolderError
from testbench.run_folder import RunFolder
from testbench.scenario import Scenario, load
from testbench.stress.store import difference


class ComparisonFolder:
    """Paths of a comparison; hold it open (``with``) while writing, so that two processes cannot."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.scenario = path / "scenario.toml"
        self.table = path / "comparison.csv"
        self.summary = path / "comparison.json"
        self.figures = path / "figures"
        self._lock = RunFolder(path)

    @classmethod
    def default(cls, name: str) -> "ComparisonFolder":
        """A new folder under ``runs/``, named by scenario and time."""
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        path, count = Path("runs") / f"compare-{name}-{stamp}", 2
        while path.exists():
            path, count = Path("runs") / f"compare-{name}-{stamp}-{count}", count + 1
        return cls(path)

    def __enter__(self) -> Self:
        """Make and take the folder: a second process that tries is refused."""
        self._lock.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._lock.__exit__(kind, error, trace)

    def prepare(self, scenario: Scenario, resume: bool) -> None:
        """Make the folder, which must be held open, ready for a new comparison, or check that it holds this scenario's."""
        if self.scenario.exists() and not resume:
            raise RunFolderError(
                f"{self.path} already holds a comparison; add --resume to continue it, or choose another --out"
            )
        if not self.scenario.exists() and any(entry.name != ".lock" for entry in self.path.iterdir()):
            raise RunFolderError(f"{self.path} holds something else than a comparison; choose another --out")
        if resume and not self.scenario.exists():
            raise RunFolderError(f"{self.path} holds no comparison to resume; leave out --resume to start one")
        if resume:
            before, now = load(self.scenario).plain(), scenario.plain()
            for plain in (before, now):
                del plain["compute"], plain["uplink"]
                plain["baselines"].pop("methods", None)  # methods may be added later
            if key := difference(before, now):
                raise RunFolderError(
                    f"{self.path} was started with {key}; resume with its own scenario.toml, or choose another --out"
                )
        try:
            self.figures.mkdir(exist_ok=True)
            write(self.scenario, scenario.to_toml())
        except OSError as error:
            raise RunFolderError(f"{self.path} cannot be written: {error.strerror}; choose another --out") from error

    def of(self, method: str, seed: int) -> "MethodFolder":
        """The folder of one method under one seed."""
        return MethodFolder(self.path / "runs" / f"{method.replace(':', '.')}-seed{seed}")

    def finished(self) -> list[dict[str, Any]]:
        """What every finished method said of itself."""
        found = sorted(self.path.glob("runs/*/method.json"))
        return [json.loads(path.read_text(encoding="utf-8")) for path in found]


class MethodFolder:
    """One method's run: for zeroth order a run folder as ``pairzero run`` leaves it, and ``method.json`` in any case."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._done = path / "method.json"
        self._track = path / "track.jsonl"

    @property
    def done(self) -> bool:
        """Whether the method is finished."""
        return self._done.is_file()

    def clear(self) -> None:
        """Forget an unfinished run."""
        shutil.rmtree(self.path, ignore_errors=True)

    def finish(self, facts: dict[str, Any]) -> None:
        """Mark the method as finished, with what it has to say."""
        write(self._done, json.dumps(facts, indent=2, allow_nan=False) + "\n")

    def track(self) -> list[dict[str, Any]]:
        """Held-out measurements, one per round, in order."""
        found: dict[int, dict[str, Any]] = {}
        if self._track.is_file():
            for line in self._track.read_text(encoding="utf-8").splitlines():
                try:
                    entry = json.loads(line)
                    found[int(entry["round"])] = entry
                except (ValueError, KeyError, TypeError):
                    continue  # a line cut off by a kill is measured again
        return [found[at] for at in sorted(found)]

    def add(self, entry: dict[str, Any]) -> None:
        """Append one measurement."""
        self.path.mkdir(parents=True, exist_ok=True)
        with self._track.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


def write(path: Path, text: str) -> None:
    """Replace a file in one step: a reader, or a kill, sees the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
