"""The journal: what a kill leaves, and what is refused."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning.errors import JournalError
from learning.journal import Journal

WRITER = """
import sys
from learning.journal import Journal
journal = Journal(sys.argv[1])
journal.begin({"seed": 1})
while True:
    index = len(journal)
    journal.append(index, 1, (index / 3,), {"loss": 1.0})
    print(index, flush=True)
"""


def test_no_committed_round_is_lost_by_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    length = 0
    for pause in (0.0, 0.003, 0.011, 0.02, 0.037, 0.06):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        first = writer.stdout.readline()
        assert int(first) == length
        time.sleep(pause)
        os.kill(writer.pid, signal.SIGKILL)
        told = [int(first), *map(int, writer.stdout.read().split("\n")[:-1])]
        writer.wait()
        writer.stdout.close()
        with Journal(path, read_only=True) as journal:
            rows = list(journal.rows())
        # Every round that was reported is there, and the prefix is whole; at most the unreported last one is more.
        assert [row.round for row in rows] == list(range(len(rows)))
        assert all(row.estimate == row.round / 3 for row in rows)
        assert len(rows) in (told[-1] + 1, told[-1] + 2)
        length = len(rows)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False), max_size=20))
def test_estimates_come_back_bit_for_bit(estimates: list[float | None]) -> None:
    with Journal(":memory:") as journal:
        for index, estimate in enumerate(estimates):
            journal.append(index, 2**63 - 1, None if estimate is None else (estimate,), {"snr_db": float("nan"), "x": 1.5})
        rows = list(journal.rows())
    assert [row.estimate for row in rows] == estimates
    assert [row.lost for row in rows] == [estimate is None for estimate in estimates]
    assert all(row.seed == 2**63 - 1 and row.diagnostics == {"snr_db": None, "x": 1.5} for row in rows)


def test_rounds_are_in_order_and_once(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.sqlite") as one, Journal(tmp_path / "j.sqlite") as two:
        with pytest.raises(JournalError, match="continues with round 0, not 1"):
            one.append(1, 0, (0.0,), {})
        one.append(0, 0, (0.0,), {})
        with pytest.raises(JournalError, match="another process is writing"):
            two.append(0, 0, (0.0,), {})


def test_a_reader_follows_a_writer(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.sqlite", durable=True) as writer:
        writer.append(0, 0, (0.5,), {})
        with Journal(tmp_path / "j.sqlite", read_only=True) as reader:
            assert len(reader) == 1
            with pytest.raises(JournalError, match="could not be written"):
                reader.append(1, 0, (0.5,), {})


def test_meta_must_match(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.sqlite") as journal:
        journal.begin({"mu": 1e-3, "seed": 0})
        journal.begin({"mu": 1e-3, "seed": 0})
        with pytest.raises(JournalError, match=r"mu = 0\.001, this run has 0\.01"):
            journal.begin({"mu": 1e-2, "seed": 0})
        with pytest.raises(JournalError, match="seed = 0, this run has None"):
            journal.begin({"mu": 1e-3})


def sentence(error: pytest.ExceptionInfo[JournalError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_foreign_and_damaged_files(tmp_path: Path) -> None:
    missing = tmp_path / "none.sqlite"
    with pytest.raises(JournalError) as error:
        Journal(missing, read_only=True)
    assert "there is no journal" in sentence(error)
    assert not missing.exists()

    text = tmp_path / "text.sqlite"
    text.write_text("not a database at all, but long enough to be taken for one" * 20)
    foreign = tmp_path / "foreign.sqlite"
    with sqlite3.connect(foreign) as db:
        db.execute("CREATE TABLE other (x)")
    db.close()
    for path in (text, foreign, tmp_path):
        for read_only in (False, True):
            with pytest.raises(JournalError) as error:
                Journal(path, read_only=read_only)
            assert str(path) in sentence(error)

    gap = tmp_path / "gap.sqlite"
    with Journal(gap) as journal:
        for index in range(3):
            journal.append(index, 0, (0.0,), {})
        journal._db.execute("DELETE FROM rounds WHERE round = 1")
    with pytest.raises(JournalError, match="lacks rounds"):
        Journal(gap)

    cut = tmp_path / "cut.sqlite"
    with Journal(cut) as journal:
        for index in range(2000):
            journal.append(index, 0, (0.0,), {"loss": 1.0})
    cut.write_bytes(cut.read_bytes()[:9000])
    with pytest.raises(JournalError), Journal(cut) as journal:
        list(journal.rows())

    later = tmp_path / "later.sqlite"
    with Journal(later) as journal:
        journal._db.execute("UPDATE meta SET value = '99' WHERE key = 'format_version'")
    with pytest.raises(JournalError, match="format 99"):
        Journal(later)
