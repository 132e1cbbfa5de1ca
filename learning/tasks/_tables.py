"""Read rows from TSV, CSV and JSON Lines files, or from a dataset; every fault is one sentence that says where."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from learning.data import Text
from learning.errors import TaskError

__all__ = ["Columns", "Row", "Table", "file_lines", "labelled", "read_table"]

Row = Mapping[str, Any]
#: Names under which a column may be found, the first that is there; a dot goes into an object of JSON Lines.
Columns = Sequence[str]


@dataclass(frozen=True)
class Table:
    """Numbered rows, and what to call them in an error: ``name`` is a file or a dataset, ``unit`` line or row."""

    name: str
    unit: str
    rows: Iterable[tuple[int, Row]]

    def at(self, number: int) -> str:
        """Where row ``number`` is, as a sentence names it."""
        return f"{self.name}, {self.unit} {number},"

    def value(self, number: int, row: Row, columns: Columns) -> Any:
        """The first of ``columns`` that the row has."""
        for column in columns:
            found: Any = row
            for step in (column,) if column in row else column.split("."):
                if not isinstance(found, Mapping) or step not in found:
                    break
                found = found[step]
            else:
                return found
        wanted = " or ".join(f'"{column}"' for column in columns)
        raise TaskError(f"{self.at(number)} has no column {wanted}; it has {', '.join(map(str, row)) or 'none'}")

    def text(self, number: int, row: Row, columns: Columns) -> str:
        """The same as text, blanks around it stripped; empty where the row has nothing there."""
        value = self.value(number, row, columns)
        return "" if value is None else str(value).strip()


def labelled(
    table: Table, fields: Mapping[str, Columns], label: Columns, *, skip_incomplete: bool = False
) -> tuple[list[tuple[int, Text, str]], int]:
    """((number, text, label) of every row, how many incomplete rows were left out).

    :param skip_incomplete: leave out rows that lack a text or a label, instead of refusing them
    :raises TaskError: a column or all rows are missing, or a row lacks text or label
    """
    rows: list[tuple[int, Text, str]] = []
    skipped = 0
    for number, row in table.rows:
        texts = {name: table.text(number, row, columns) for name, columns in fields.items()}
        value = table.text(number, row, label)
        lacking = next((name for name, text in texts.items() if not text), None if value else "label")
        if lacking is None:
            values = tuple(texts.values())
            rows.append((number, values[0] if len(values) == 1 else values, value))
        elif skip_incomplete:
            skipped += 1
        elif lacking == "label":
            raise TaskError(f"{table.at(number)} has no label; label the row or remove it")
        else:
            raise TaskError(f"{table.at(number)} has no {lacking}; remove the row or write one")
    if not rows:
        raise TaskError(f"{table.name} holds no examples")
    return rows, skipped


def read_table(path: Path, header: Columns = ()) -> Table:
    """The rows of a file by its ending; ``header`` names the columns of a file that has no header row.

    ``.tsv`` has a header row and no quoting (GLUE's form), ``.csv`` a header row and quoting, ``.jsonl`` an object a line;
    ``.label`` is the TREC collection's own form, "LABEL:fine question" in Latin-1.

    :raises TaskError: the file is missing, empty, not UTF-8, or of another form
    """
    readers: dict[str, Callable[[Path, list[str], Columns], Iterator[tuple[int, Row]]]] = {
        ".tsv": _tsv, ".csv": _csv, ".jsonl": _jsonl, ".label": _trec,
    }  # fmt: skip
    suffix = path.suffix.lower()
    lines = file_lines(path, "latin-1" if suffix == ".label" else "utf-8-sig")
    if suffix not in readers:
        raise TaskError(f'{path} has the ending "{path.suffix}"; the forms are .tsv, .csv and .jsonl')
    return Table(str(path), "line", readers[suffix](path, lines, header))


def file_lines(path: Path, encoding: str = "utf-8-sig") -> list[str]:
    """The lines of a text file, empty ones at its end left out."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise TaskError(f"there is no file {path}") from error
    except OSError as error:
        raise TaskError(f"{path} cannot be read ({error.strerror})") from error
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise TaskError(f"{path} is not UTF-8 at line {line}; save it as UTF-8") from error
    if "\0" in text:
        raise TaskError(f"{path} contains zero bytes, so it is not a UTF-8 text file; save it as UTF-8")
    # Only \n ends a line: str.splitlines would also cut at characters that occur inside sentences (U+0085, U+2028).
    lines = text.replace("\r\n", "\n").split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise TaskError(f"{path} is empty")
    return lines


def _tsv(path: Path, lines: list[str], header: Columns) -> Iterator[tuple[int, Row]]:
    names = list(header) or lines[0].split("\t")
    for number, line in enumerate(lines[0 if header else 1 :], start=1 if header else 2):
        cells = line.split("\t")
        if len(cells) > len(names):
            raise TaskError(f"{path}, line {number}, has {len(cells)} cells where the header has {len(names)}")
        yield number, _row(names, cells)


def _csv(path: Path, lines: list[str], header: Columns) -> Iterator[tuple[int, Row]]:
    reader = csv.reader((line + "\n" for line in lines), strict=True)
    try:
        names = list(header) or next(reader)
        for cells in reader:
            if len(cells) > len(names):
                raise TaskError(f"{path}, line {reader.line_num}, has {len(cells)} cells where the header has {len(names)}")
            yield reader.line_num, _row(names, cells)
    except csv.Error as error:
        raise TaskError(f"{path}, line {reader.line_num}, is not CSV ({error})") from error


def _jsonl(path: Path, lines: list[str], header: Columns) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise TaskError(f"{path}, line {number}, is not JSON; write one object a line") from error
        if not isinstance(row, dict):
            raise TaskError(f"{path}, line {number}, is not a JSON object; write one object a line")
        yield number, row


def _trec(path: Path, lines: list[str], header: Columns) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(lines, start=1):
        label, _, text = line.partition(" ")
        coarse, colon, _ = label.partition(":")
        if not colon:
            raise TaskError(f'{path}, line {number}, does not start with "LABEL:fine ", as the TREC collection\'s files do')
        yield number, {"label": coarse, "fine_label": label, "text": text}


def _row(header: list[str], cells: list[str]) -> dict[str, str]:
    # A short row lacks its last cells: they read as empty, and the caller says what is missing.
    return dict(zip(header, cells + [""] * (len(header) - len(cells)), strict=True))
