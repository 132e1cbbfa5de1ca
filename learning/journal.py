"""The journal of a run: one row per round, on disk before the weights move.

With the base weights it is the model: replaying the rows rebuilds the fine-tuned weights bit for bit. It is a SQLite file
in WAL mode with three tables: ``rounds`` (round, seed, estimate, lost, diagnostics as JSON, estimates as a JSON list where a
round has several directions, learning_rate where it is not that of ``meta``), ``meta`` (key, value as JSON), and ``intents``
(round, attempt, cost): what a private round was bound to cost, written before it was sent over an air that does not repeat
itself. An intent whose round has no row may have been on the air.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from learning.errors import JournalError

__all__ = ["Journal", "JournalRow"]

APPLICATION_ID = 0x70415A30  # "pAZ0" in the SQLite header: tells our files from other databases
FORMAT_VERSION = 2  # 1 had neither `estimates` nor `learning_rate`

_INTENTS = """
CREATE TABLE IF NOT EXISTS intents (round INTEGER NOT NULL, attempt INTEGER NOT NULL, cost REAL NOT NULL,
                                    PRIMARY KEY (round, attempt)) WITHOUT ROWID;
"""
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE rounds (round INTEGER PRIMARY KEY, seed INTEGER NOT NULL, estimate REAL, lost INTEGER NOT NULL,
                     diagnostics TEXT NOT NULL, estimates TEXT, learning_rate REAL);
"""


@dataclass(frozen=True)
class JournalRow:
    """One round.

    :ivar estimates: one per direction; None where the round was lost
    :ivar diagnostics: one that was not finite is None
    :ivar learning_rate: of this round; None where it is that of ``meta``
    """

    round: int
    seed: int
    estimates: tuple[float, ...] | None
    lost: bool
    diagnostics: Mapping[str, float | None]
    learning_rate: float | None = None

    @property
    def estimate(self) -> float | None:
        """The estimate of a round of one direction, the mean of several: for reading, not for replay."""
        return None if self.estimates is None else sum(self.estimates) / len(self.estimates)


class Journal:
    """An open journal; use as a context manager or call ``close``.

    ``Journal(path)`` opens for writing and creates the file; ``Journal(path, read_only=True)`` only reads;
    ``durable=True`` makes every round survive a power cut as well as a kill.

    :raises JournalError: the file is missing (reading), damaged, or not a journal
    """

    def __init__(self, path: str | Path, *, read_only: bool = False, durable: bool = False) -> None:
        self.path = str(path)
        self._durable = durable
        if read_only and not Path(path).is_file():
            raise JournalError(f"there is no journal at {self.path}; give the journal.sqlite of a run")
        try:
            self._db = self._connect(read_only)
        except sqlite3.Error as error:
            raise self._unreadable(error) from error
        try:
            self._check_format(read_only)
            self._next = self._contiguous_length()
            self._intents = self._read_intents()
        except sqlite3.Error as error:
            self._db.close()
            raise self._unreadable(error) from error
        except JournalError:
            self._db.close()
            raise

    def _connect(self, read_only: bool) -> sqlite3.Connection:
        if not read_only:
            return sqlite3.connect(self.path, timeout=5.0, isolation_level=None)
        location = Path(self.path).resolve().as_uri() + "?mode=ro"
        return sqlite3.connect(location, uri=True, timeout=5.0, isolation_level=None)

    def _check_format(self, read_only: bool) -> None:
        identity = self._db.execute("PRAGMA application_id").fetchone()[0]
        tables = {name for (name,) in self._db.execute("SELECT name FROM sqlite_master")}
        if identity == 0 and not tables and not read_only:
            self._create()
        elif identity != APPLICATION_ID or not {"meta", "rounds"} <= tables:
            raise JournalError(f"{self.path} is not a journal of this program; choose another file or folder")
        version = self.meta.get("format_version")
        if version not in (1, FORMAT_VERSION):
            raise JournalError(
                f"{self.path} has journal format {version}, this version reads 1 to {FORMAT_VERSION}; use the version that "
                "wrote it"
            )
        self._old = version == 1
        if self._old and not read_only:
            self._upgrade()
        if not read_only:
            self._db.execute("PRAGMA journal_mode = WAL")
            # NORMAL writes every commit to the operating system, so that no kill of the process loses a round; a
            # power cut may lose the newest ones, which a resumed run computes again, to the same bits. FULL survives
            # that too, at the price of a disk sync per round: measured 4.0 ms against 0.04 ms, more than a small round.
            self._synchronise(self._durable)
            self._db.executescript(_INTENTS)  # journals of earlier versions have none

    def _synchronise(self, fully: bool) -> None:
        self._db.execute(f"PRAGMA synchronous = {'FULL' if fully else 'NORMAL'}")

    def _create(self) -> None:
        # One transaction: another process sees no file half made.
        self._db.executescript(
            f"BEGIN IMMEDIATE;{_SCHEMA}INSERT INTO meta VALUES ('format_version', '{FORMAT_VERSION}');"
            f"PRAGMA application_id = {APPLICATION_ID};COMMIT;"
        )

    def _upgrade(self) -> None:
        # Adds two empty columns and no more; a journal that is only read stays as it is.
        self._db.executescript(
            "BEGIN IMMEDIATE;ALTER TABLE rounds ADD COLUMN estimates TEXT;ALTER TABLE rounds ADD COLUMN learning_rate REAL;"
            f"UPDATE meta SET value = '{FORMAT_VERSION}' WHERE key = 'format_version';COMMIT;"
        )
        self._old = False

    def _contiguous_length(self) -> int:
        count, first, last = self._db.execute("SELECT count(*), min(round), max(round) FROM rounds").fetchone()
        if count and (first != 0 or last != count - 1):
            raise JournalError(f"{self.path} lacks rounds between 0 and {last}; it is damaged, restore it from a copy")
        return int(count)

    def _read_intents(self) -> dict[int, float]:
        """Round -> the most that any attempt may have cost, of rounds without a row."""
        if not self._db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'intents'").fetchone()[0]:
            return {}
        query = "SELECT round, max(cost) FROM intents WHERE round >= ? GROUP BY round"
        found = {int(index): float(cost) for index, cost in self._db.execute(query, (self._next,))}
        if not all(cost >= 0 for cost in found.values()):
            raise JournalError(f"{self.path} holds an intent without a cost; it is damaged, restore it from a copy")
        return found

    def _unreadable(self, error: sqlite3.Error) -> JournalError:
        return JournalError(f"{self.path} cannot be used as a journal ({error}); choose another file or folder")

    @property
    def meta(self) -> dict[str, Any]:
        """What the run is: everything that replay needs and that a resumed run must share."""
        try:
            return {key: json.loads(value) for key, value in self._db.execute("SELECT key, value FROM meta")}
        except ValueError as error:
            raise JournalError(f"{self.path} has unreadable meta data; it is damaged, restore it from a copy") from error

    def begin(self, meta: Mapping[str, Any]) -> None:
        """Write the run's description into a new journal, or check that an existing one is of the same run."""
        wanted = {key: json.loads(json.dumps(value)) for key, value in meta.items()}
        present = self.meta
        del present["format_version"]
        if not present and self._next == 0:
            self._db.execute("BEGIN IMMEDIATE")
            rows = [(key, json.dumps(value)) for key, value in wanted.items()]
            self._db.executemany("INSERT INTO meta VALUES (?, ?)", rows)
            self._db.execute("COMMIT")
            return
        for key in sorted(present.keys() | wanted.keys()):
            if present.get(key) != wanted.get(key):
                raise JournalError(
                    f"{self.path} was written with {key} = {present.get(key)}, this run has {wanted.get(key)}; "
                    "restore that setting or start in another folder"
                )

    def intend(self, round_index: int, cost: float) -> None:
        """Commit, on disk even through a power cut, that the next round is about to be sent and costs at most so much.

        Called again for the same round where it turned out to cost more: the most counts.
        """
        if round_index != self._next:
            raise JournalError(f"{self.path} continues with round {self._next}, not {round_index}; resume from it first")
        attempt = "(SELECT count(*) + 1 FROM intents WHERE round = ?)"
        try:
            self._synchronise(True)
            try:
                self._db.execute(f"INSERT INTO intents VALUES (?, {attempt}, ?)", (round_index, round_index, float(cost)))
            finally:
                self._synchronise(self._durable)
        except sqlite3.Error as error:
            raise JournalError(
                f"round {round_index} is not sent, as that could not be written to {self.path} ({error})"
            ) from error
        self._intents[round_index] = max(float(cost), self._intents.get(round_index, 0.0))

    def intent(self, round_index: int) -> float | None:
        """What a round without a row was bound to cost when it was about to be sent; None where it never was."""
        return self._intents.get(round_index)

    @property
    def has_sent(self) -> bool:
        """Whether any round was sent, or may have been."""
        return self._next > 0 or bool(self._intents)

    def append(
        self,
        round_index: int,
        seed: int,
        estimates: Sequence[float] | None,
        diagnostics: Mapping[str, float | None],
        learning_rate: float | None = None,
    ) -> None:
        """Commit one round; ``estimates`` None records it as lost. Rounds are appended in order, each once.

        :param learning_rate: of the round, where it is not the constant one of ``meta``
        """
        if round_index != self._next:
            raise JournalError(f"{self.path} continues with round {self._next}, not {round_index}; resume from it first")
        clean = {name: _number(value) for name, value in diagnostics.items()}
        text = json.dumps(clean, allow_nan=False)
        values = None if estimates is None else [float(value) for value in estimates]
        several = None if values is None or len(values) == 1 else json.dumps(values, allow_nan=False)
        one = None if values is None else sum(values) / len(values)
        row = (round_index, seed, one, int(values is None), text, several, learning_rate)
        try:
            self._db.execute("INSERT INTO rounds VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        except sqlite3.IntegrityError as error:
            raise JournalError(
                f"{self.path} already holds round {round_index}: another process is writing to it; stop one of them"
            ) from error
        except sqlite3.Error as error:
            raise JournalError(f"round {round_index} could not be written to {self.path} ({error})") from error
        self._intents.pop(round_index, None)
        self._next += 1

    def rows(self, upto: int | None = None, *, start: int = 0) -> Iterator[JournalRow]:
        """The rounds from ``start`` on and before ``upto`` (all by default), in order."""
        limit = self._next if upto is None else upto
        later = "NULL, NULL" if self._old else "estimates, learning_rate"
        columns = f"round, seed, estimate, lost, diagnostics, {later}"
        query = f"SELECT {columns} FROM rounds WHERE round >= ? AND round < ? ORDER BY round"
        try:
            for index, seed, estimate, lost, text, several, rate in self._db.execute(query, (start, limit)):
                values = [estimate] if several is None else json.loads(several)
                yield _checked(index, seed, values, lost, json.loads(text), rate)
        except (sqlite3.Error, ValueError) as error:
            raise JournalError(f"{self.path} is damaged ({error}); restore it from a copy") from error

    def __len__(self) -> int:
        return self._next

    def close(self) -> None:
        """Close the file; the log is folded into it."""
        self._db.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _checked(index: Any, seed: Any, estimates: Any, lost: Any, diagnostics: Any, rate: Any) -> JournalRow:
    """A row as this program writes it; SQLite itself would keep any value in any column."""
    whole = (
        isinstance(seed, int)
        and 0 <= seed < 2**63
        and lost in (0, 1)
        and isinstance(estimates, list)
        and (estimates == [None] if lost else _finite(estimates))
        and isinstance(diagnostics, dict)
        and all(value is None or isinstance(value, (int, float)) for value in diagnostics.values())
        and (rate is None or _finite([rate]))
    )
    if not whole:
        raise ValueError(f"round {index} holds values that no run writes")
    return JournalRow(index, seed, None if lost else tuple(estimates), bool(lost), diagnostics, rate)


def _finite(values: list[Any]) -> bool:
    return bool(values) and all(isinstance(value, float) and math.isfinite(value) for value in values)


def _number(value: float | None) -> float | None:
    # JSON has no NaN, and SQLite's own JSON functions refuse it.
    return None if value is None or not math.isfinite(value) else float(value)
