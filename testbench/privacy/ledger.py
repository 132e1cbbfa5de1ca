"""The ledger: one SQLite file beside the runs, with a row for each of them, from which what they spend together is added up.

A run reserves what it plans to spend before its first round, and replaces that by what it spent when it ends; one that is
killed stays reserved. Sweeps run side by side: WAL, and each change one short transaction, in which also a budget is held.

The file holds fingerprints and sums. Of a secret it has a hash of a hash, of the data a hash, and of payloads nothing.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Literal, get_args

from learning.privacy.composition import Charge
from learning.privacy.sensitivity import Relation
from testbench.errors import LedgerError

__all__ = ["NAME", "Entry", "Ledger", "State"]

NAME = "privacy-ledger.sqlite"
APPLICATION_ID = 0x70415A4C  # "pAZL" in the SQLite header
FORMAT_VERSION = 1

#: ``reserved``: it goes on, or was killed; ``spent``: it ended.
State = Literal["reserved", "spent"]

_PATIENCE_S = 30.0
_SCHEMA = """
CREATE TABLE runs (
  id INTEGER PRIMARY KEY, run TEXT NOT NULL, began TEXT NOT NULL, state TEXT NOT NULL,
  task_sha256 TEXT NOT NULL, records_sha256 TEXT, own_data INTEGER NOT NULL, split_sha256 TEXT NOT NULL,
  relation TEXT NOT NULL, adversary TEXT NOT NULL, accountant TEXT NOT NULL, delta REAL NOT NULL,
  extra_delta REAL NOT NULL, sampling_rate REAL,
  planned_epsilon REAL, planned_mu_squared REAL, spent_epsilon REAL, spent_mu_squared REAL, rounds INTEGER NOT NULL,
  randomness TEXT NOT NULL, noise_sha256 TEXT, content_sha256 TEXT NOT NULL, machine_sha256 TEXT, released_sha256 TEXT,
  ledger_epsilon REAL);
"""


@dataclass(frozen=True)
class Entry:
    """A run.

    :param run: its folder; in the file relative to the ledger's where it lies below that
    :param began: UTC, ISO 8601
    :param task_sha256: of all data, wording included; :param records_sha256: of the training records alone, in any order
    :param own_data: whether devices have, or may have, data of their own, of which nobody else has a hash
    :param split_sha256: of how records are dealt to devices
    :param adversary: against whom, in a phrase
    :param planned_epsilon: at ``delta``, as spent_epsilon; infinite where a run only counts and knows no end
    :param planned_mu_squared: sum of mu^2 of the most exposed device; None where the release is sampled, or not Gaussian
    :param rounds: committed
    :param randomness: what keys what protects: ``seed``, ``secret`` or ``fresh``
    :param noise_sha256: fingerprint of that key; runs that share it share their noise. None: nothing can be shared
    :param content_sha256: of every setting that shapes what is sent, and the data
    :param machine_sha256: of machine, threads and versions, with which one content under one noise is one release, bit for bit
    :param released_sha256: of the estimates of all rounds, once the run has ended
    :param ledger_epsilon: budget that the run stated for all runs on these data
    """

    run: str
    began: str
    state: State
    task_sha256: str
    records_sha256: str | None
    own_data: bool
    split_sha256: str
    relation: Relation
    adversary: str
    accountant: str
    delta: float
    extra_delta: float
    sampling_rate: float | None
    planned_epsilon: float | None
    planned_mu_squared: float | None
    spent_epsilon: float | None
    spent_mu_squared: float | None
    rounds: int
    randomness: str
    noise_sha256: str | None
    content_sha256: str
    machine_sha256: str | None
    released_sha256: str | None
    ledger_epsilon: float | None = None

    @property
    def charge(self) -> Charge:
        """What it counts for: what it spent, or as long as that is open, what it reserved."""
        reserved = self.state == "reserved"
        epsilon = self.planned_epsilon if reserved else self.spent_epsilon
        square = self.planned_mu_squared if reserved else self.spent_mu_squared
        return Charge(self.relation, float("inf") if epsilon is None else epsilon, self.delta, square, self.extra_delta)

    @property
    def labels(self) -> frozenset[str]:
        """What the data are known by; runs that have one in common are on the same data, as far as anybody can tell."""
        found = {self.task_sha256, *((self.records_sha256,) if self.records_sha256 else ())}
        return frozenset(found | {"own data of devices"} if self.own_data else found)


_COLUMNS = tuple(field.name for field in fields(Entry))
_LISTED = ", ".join(_COLUMNS)


class Ledger:
    """A ledger; every call opens the file, does its transaction, and closes it.

    :raises LedgerError: it cannot be read or written, or is another kind of file; in one sentence with the way out
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.abspath(path))

    def entries(self) -> list[Entry]:
        """All runs, in the order in which they began."""
        if not self.path.is_file():
            raise LedgerError(f"there is no ledger {self.path}; runs that claim privacy make one (privacy.ledger)")
        # A folder that may not be written to has nobody who writes just now.
        how = "mode=ro" if os.access(self.path.parent, os.W_OK) else "mode=ro&immutable=1"
        with self._guarded(), closing(sqlite3.connect(f"{self.path.as_uri()}?{how}", uri=True, timeout=_PATIENCE_S)) as db:
            self._check(db)
            return [entry for _, entry in self._read(db)]

    def reserve(
        self, entry: Entry, *, resumed: bool, ended: bool, check: Callable[[Sequence[Entry]], None]
    ) -> tuple[int, Entry | None]:
        """Write ``entry`` before its first round.

        :param resumed: take the row that the run has already, if there is one
        :param ended: and leave that as it is, as nothing is to come
        :param check: sees all runs, this one in its new state last, before anything is kept, and raises what forbids it
        :returns: the row's number, and what it held before
        """
        with self._transaction() as db:
            rows = dict(self._read(db))
            mine = self._mine(rows, entry) if resumed else None
            before = None if mine is None else rows.pop(mine)
            if mine is not None and before is not None:
                if ended:
                    return mine, before
                entry = replace(entry, began=before.began)
            check([*rows.values(), entry])
            return self._write(db, entry, mine), before

    def settle(self, number: int, entry: Entry) -> dict[int, Entry]:
        """Replace row ``number``; returns all rows."""
        with self._transaction() as db:
            self._write(db, entry, number)
            return dict(self._read(db))

    def release(self, number: int) -> None:
        """Remove the row of a run that spent nothing."""
        with self._transaction() as db:
            db.execute("DELETE FROM runs WHERE id = ?", (number,))

    def _mine(self, rows: Mapping[int, Entry], entry: Entry) -> int | None:
        """The newest row of the run that ``entry`` goes on with, whose folder may have been moved."""
        same = {
            at: one
            for at, one in rows.items()
            if (one.noise_sha256, one.content_sha256) == (entry.noise_sha256, entry.content_sha256)
        }
        found = [at for at, one in same.items() if one.run == entry.run]
        found = found or [at for at, one in same.items() if not (Path(one.run) / "journal.sqlite").is_file()]
        return found[-1] if found else None

    def _read(self, db: sqlite3.Connection) -> list[tuple[int, Entry]]:
        found = []
        for number, *values in db.execute(f"SELECT id, {_LISTED} FROM runs ORDER BY id"):
            plain = dict(zip(_COLUMNS, values, strict=True))
            if plain["state"] not in get_args(State) or plain["relation"] not in get_args(Relation):
                raise LedgerError(f"{self.path} holds values that no run writes; restore it from a copy, or move it away")
            plain |= {"run": os.path.normpath(self.path.parent / plain["run"]), "own_data": bool(plain["own_data"])}
            found.append((int(number), Entry(**plain)))
        return found

    def _write(self, db: sqlite3.Connection, entry: Entry, number: int | None) -> int:
        values = asdict(entry)
        place = Path(entry.run)
        if place.is_relative_to(self.path.parent):  # so that both may be moved together
            values["run"] = place.relative_to(self.path.parent).as_posix()
        marks = ", ".join("?" for _ in _COLUMNS)
        row = db.execute(
            f"INSERT OR REPLACE INTO runs (id, {_LISTED}) VALUES (?, {marks})", (number, *(values[name] for name in _COLUMNS))
        )
        return int(row.lastrowid or 0)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._guarded(), closing(sqlite3.connect(self.path, timeout=_PATIENCE_S, isolation_level=None)) as db:
            self._check(db, new=True)
            _into_wal(db)
            db.execute("PRAGMA synchronous = FULL")  # a reservation is a promise, and there are two writes a run
            db.execute("BEGIN IMMEDIATE")
            try:
                if self._check(db, new=True):
                    db.execute(_SCHEMA)
                    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                    db.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise LedgerError(
                f'the ledger {self.path} cannot be used ({error}); set privacy.ledger to another file, or to "none"'
            ) from error

    def _check(self, db: sqlite3.Connection, new: bool = False) -> bool:
        """Whether it is an empty file, which only ``new`` allows; refuses what is no ledger, before anything is changed."""
        identity = db.execute("PRAGMA application_id").fetchone()[0]
        if new and identity == 0 and not db.execute("SELECT name FROM sqlite_master").fetchall():
            return True
        if identity != APPLICATION_ID:
            raise LedgerError(f"{self.path} is no privacy ledger; choose another file (privacy.ledger)")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version != FORMAT_VERSION:
            raise LedgerError(
                f"{self.path} has ledger format {version}, this version reads {FORMAT_VERSION}; use the version that wrote it"
            )
        return False


def _into_wal(db: sqlite3.Connection) -> None:
    """Switch to WAL; several processes that make the file at once may find it locked, whatever the timeout is."""
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            if db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)
