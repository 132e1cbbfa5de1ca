"""The folder of a stress test: its plan, a database row per finished unit of work, tables, figures and report.

A unit counts once its row is committed; a test that is interrupted anywhere goes on with the units that are missing.
"""

import json
import os
import sqlite3
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from testbench.errors import RunFolderError
from testbench.run_folder import RunFolder
from testbench.stress.evaluate import Measured
from testbench.stress.plan import StressConfig
from testbench.stress.plan_file import PLAN, load_plan, plan_toml

_SCHEMA = "CREATE TABLE IF NOT EXISTS units (id TEXT PRIMARY KEY, batches TEXT, errors BLOB, facts TEXT)"


class StressFolder:
    """Paths and finished units; hold it open (``with``) while writing, so that two processes cannot."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.plan = path / PLAN
        self.units = path / "units.sqlite"
        self.csv = path / "results.csv"
        self.table = path / "largest.csv"
        self.figures = path / "figures"
        self.report = path / "report.html"
        self.trainings = path / "runs"
        self._lock = RunFolder(path)
        self._database: sqlite3.Connection | None = None

    @classmethod
    def default(cls, name: str) -> "StressFolder":
        """A new folder under ``runs/``, named by plan and time."""
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        path, count = Path("runs") / f"{name}-{stamp}", 2
        while path.exists():
            path, count = Path("runs") / f"{name}-{stamp}-{count}", count + 1
        return cls(path)

    def __enter__(self) -> Self:
        """Make and take the folder: a second process that tries is refused."""
        self._lock.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None
        self._lock.__exit__(kind, error, trace)

    def prepare(self, plan: StressConfig, resume: bool) -> None:
        """Make the folder, which must be held open, ready for a new test, or check that it holds this plan's."""
        if self.plan.exists() and not resume:
            raise RunFolderError(
                f"{self.path} already holds a stress test; add --resume to continue it, or choose another --out"
            )
        if not self.plan.exists() and any(entry.name != ".lock" for entry in self.path.iterdir()):
            raise RunFolderError(f"{self.path} holds something else than a stress test; choose another --out")
        if resume and not self.plan.exists():
            raise RunFolderError(f"{self.path} holds no stress test to resume; leave out --resume to start one")
        if resume:
            before, now = (p.model_dump(mode="json", exclude_none=True) for p in (load_plan(self.plan), plan))
            for data in (before, now):
                del data["accuracy"]["run"]  # fine-tuning runs may be added later
            key = difference(before, now)
            if key:
                raise RunFolderError(f"{self.path} was started with {key}; resume with its own {PLAN}, or choose another --out")
        try:
            self.figures.mkdir(exist_ok=True)
            self.write(self.plan, plan_toml(plan))
            self._database = sqlite3.connect(self.units, isolation_level=None)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.execute(_SCHEMA)
        except sqlite3.DatabaseError as error:
            raise RunFolderError(
                f"{self.units} is damaged ({error}); delete it to start over, or choose another --out"
            ) from error
        except OSError as error:
            raise RunFolderError(f"{self.path} cannot be written: {error.strerror}; choose another --out") from error

    def done(self) -> set[str]:
        """Ids of the finished units."""
        return {row[0] for row in self._open().execute("SELECT id FROM units")}

    def add(self, measured: Measured) -> None:
        """Commit one finished unit."""
        self._open().execute(
            "INSERT OR REPLACE INTO units VALUES (?, ?, ?, ?)",
            (
                measured.unit,
                json.dumps(measured.batches),
                measured.errors.astype("<f4").tobytes(),
                json.dumps(measured.facts),
            ),
        )

    def load(self, ids: Iterable[str]) -> list[Measured]:
        """Finished units in the order of ``ids``; those that are missing are left out."""
        found = []
        for unit in ids:
            row = self._open().execute("SELECT batches, errors, facts FROM units WHERE id = ?", (unit,)).fetchone()
            if row is not None:
                found.append(Measured(unit, json.loads(row[0]), np.frombuffer(row[1], "<f4"), json.loads(row[2])))
        return found

    def write(self, path: Path, text: str) -> None:
        """Replace a file in one step: a reader, or a kill, sees the old one or the new one."""
        temporary = path.with_name(path.name + ".part")
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)

    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            raise RunFolderError(f"{self.path} is not prepared for a stress test")
        return self._database


def difference(before: dict[str, Any], now: dict[str, Any], place: str = "") -> str:
    """The first key in which two plans differ, in words; empty where none does."""
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key), now.get(key)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            return difference(old, new, f"{place}{key}.")
        return f"{place}{key} = {_short(old)}, not {_short(new)}"
    return ""


def _short(value: Any) -> str:
    return "nothing" if value is None else "a section" if isinstance(value, dict) else repr(value)
