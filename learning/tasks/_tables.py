"""Read labelled rows from TSV, CSV and JSON Lines files; every fault is one sentence with file and line."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from learning.errors import TaskError

__all__ = ["read_rows"]


def read_rows(path: Path, text_column: str, label_column: str) -> list[tuple[int, str, str]]:
    """(line number, text, label) of every row, blanks around both stripped.

    ``.tsv`` has a header row and no quoting (GLUE's form), ``.csv`` a header row and quoting, ``.jsonl`` an object a line.

    :raises TaskError: the file is missing, empty, not UTF-8, of another form, lacks a column, or a row lacks text or label
    """
    lines = _lines(path)
    reader = {".tsv": _tsv, ".csv": _csv, ".jsonl": _jsonl}.get(path.suffix.lower())
    if reader is None:
        raise TaskError(f'{path} has the ending "{path.suffix}"; the forms are .tsv, .csv and .jsonl')
    rows = []
    for number, row in reader(path, lines):
        for column in (text_column, label_column):
            if column not in row:
                raise TaskError(f'{path}, line {number}, has no column "{column}"; it has {", ".join(map(str, row)) or "none"}')
        text, label = row[text_column].strip(), row[label_column].strip()
        if not text:
            raise TaskError(f"{path}, line {number}, has no text; remove the row or write one")
        if not label:
            raise TaskError(f"{path}, line {number}, has no label; label the row or remove it")
        rows.append((number, text, label))
    if not rows:
        raise TaskError(f"{path} holds no examples")
    return rows


def _lines(path: Path) -> list[str]:
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise TaskError(f"there is no file {path}") from error
    except OSError as error:
        raise TaskError(f"{path} cannot be read ({error.strerror})") from error
    try:
        text = content.decode("utf-8-sig")
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


def _tsv(path: Path, lines: list[str]) -> Iterator[tuple[int, Mapping[str, str]]]:
    header = lines[0].split("\t")
    for number, line in enumerate(lines[1:], start=2):
        cells = line.split("\t")
        if len(cells) > len(header):
            raise TaskError(f"{path}, line {number}, has {len(cells)} cells where the header has {len(header)}")
        yield number, _row(header, cells)


def _csv(path: Path, lines: list[str]) -> Iterator[tuple[int, Mapping[str, str]]]:
    reader = csv.reader((line + "\n" for line in lines), strict=True)
    try:
        header = next(reader)
        for cells in reader:
            if len(cells) > len(header):
                raise TaskError(f"{path}, line {reader.line_num}, has {len(cells)} cells where the header has {len(header)}")
            yield reader.line_num, _row(header, cells)
    except csv.Error as error:
        raise TaskError(f"{path}, line {reader.line_num}, is not CSV ({error})") from error


def _jsonl(path: Path, lines: list[str]) -> Iterator[tuple[int, Mapping[str, str]]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise TaskError(f"{path}, line {number}, is not JSON; write one object a line") from error
        if not isinstance(row, dict):
            raise TaskError(f"{path}, line {number}, is not a JSON object; write one object a line")
        yield number, {str(key): "" if value is None else str(value) for key, value in row.items()}


def _row(header: list[str], cells: list[str]) -> dict[str, str]:
    # A short row lacks its last cells: they read as empty, and the caller says what is missing.
    return dict(zip(header, cells + [""] * (len(header) - len(cells)), strict=True))
