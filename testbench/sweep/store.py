"""The folder of a sweep: its file, a database row per finished point, tables, and the folders of its runs.

A point counts once its row is committed, under the hash of what it computes: a sweep that is interrupted anywhere goes on with
the points that are missing, and one that is extended keeps what it has.
"""

import json
import os
import sqlite3
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import tomlkit

from testbench.errors import RunFolderError
from testbench.run_folder import RunFolder
from testbench.sweep.config import FORMAT, SweepConfig
from testbench.sweep.file import BASE, SWEEP, sweep_toml

__all__ = ["SweepFolder"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS points (id TEXT PRIMARY KEY, result TEXT, version TEXT);
"""
_OWN = {".lock", SWEEP, BASE}


class SweepFolder:
    """Paths and finished points; hold it open (``with``) while writing, so that two processes cannot."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path / SWEEP
        self.base = path / BASE
        self.database = path / "points.sqlite"
        self.csv = path / "results.csv"
        self.parquet = path / "results.parquet"
        self.statistics = path / "statistics.csv"
        self.differences = path / "differences.csv"
        self.failures = path / "failures.csv"
        self.readme = path / "README.md"
        self.runs = path / "runs"
        self._lock = RunFolder(path)
        self._connection: sqlite3.Connection | None = None

    @classmethod
    def default(cls, name: str) -> "SweepFolder":
        """A new folder under ``runs/``, named by sweep and time."""
        return cls(RunFolder.default(name).path)

    def __enter__(self) -> Self:
        """Make and take the folder: a second process that tries is refused."""
        self._lock.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._lock.__exit__(kind, error, trace)

    def prepare(self, sweep: SweepConfig, base: dict[str, Any], resume: bool) -> None:
        """Make the folder, which must be held open, ready for a new sweep, or for the rest of the one that it holds."""
        if self.database.exists() and not resume:
            raise RunFolderError(f"{self.path} already holds a sweep; add --resume to continue it, or choose another --out")
        if not self.database.exists() and any(entry.name not in _OWN for entry in self.path.iterdir()):
            raise RunFolderError(f"{self.path} holds something else than a sweep; choose another --out")
        if resume and not self.database.exists():
            raise RunFolderError(f"{self.path} holds no sweep to resume; leave out --resume to start one")
        try:
            self._open_database()
            document = tomlkit.document()
            document.add(tomlkit.comment("Resolved base scenario of the sweep beside it."))
            for key, value in base.items():
                document[key] = value
            self.write(self.base, tomlkit.dumps(document))
            self.write(self.file, sweep_toml(sweep))
        except OSError as error:
            raise RunFolderError(f"{self.path} cannot be written: {error.strerror}; choose another --out") from error

    def open_finished(self) -> None:
        """Open the finished points for reading; raises :class:`RunFolderError` where the folder holds no sweep."""
        if not self.database.is_file():
            raise RunFolderError(f"{self.path} holds no sweep: it lacks {self.database.name}")
        self._open_database()

    def _open_database(self) -> None:
        try:
            self._connection = sqlite3.connect(self.database, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.executescript(_SCHEMA)
            self._connection.execute("INSERT OR IGNORE INTO meta VALUES ('format', ?)", (str(FORMAT),))
            found = self._connection.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()[0]
        except sqlite3.DatabaseError as error:
            raise RunFolderError(
                f"{self.database} is damaged ({error}); delete it to start over, or choose another --out"
            ) from error
        if found != str(FORMAT):
            raise RunFolderError(
                f"{self.database} has format {found}, which another version of pairzero wrote, and this one reads format "
                f"{FORMAT}; it is left as it is: finish it with that version, or choose another --out"
            )

    def add(self, result: dict[str, Any]) -> None:
        """Commit one finished point."""
        self._open().execute(
            "INSERT OR REPLACE INTO points VALUES (?, ?, ?)",
            (result["id"], json.dumps(result, allow_nan=False), str(result["version"])),
        )

    def finished(self) -> dict[str, dict[str, Any]]:
        """Results of all finished points by their id."""
        return {key: json.loads(text) for key, text in self._open().execute("SELECT id, result FROM points")}

    def write(self, path: Path, content: str | bytes) -> None:
        """Replace a file in one step: a reader, or a kill, sees the old one or the new one."""
        temporary = path.with_name(path.name + ".part")
        temporary.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        os.replace(temporary, path)

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise RunFolderError(f"{self.path} is not prepared for a sweep")
        return self._connection
