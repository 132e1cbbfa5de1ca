"""The one table of a sweep: a row per finished point, tidy, as CSV and Parquet; and how others read it back."""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from testbench.errors import TestbenchError
from testbench.sweep.config import FORMAT
from testbench.sweep.points import SweepPoint

__all__ = ["Row", "columns_of", "read_table", "row_of", "to_csv", "to_parquet"]

Row = dict[str, Any]

_FIRST = ("scenario_hash",)
_LAST = ("took_s", "pairzero", "format")


def row_of(point: SweepPoint, result: Mapping[str, Any]) -> Row:
    """A point's row: hash, axes, seed, what was measured, and what measured it.

    A measured column that an axis already has (``devices``, say) is that of the axis.
    """
    axes = {name: _cell(value) for name, value in point.labels.items()}
    measured = {name: value for name, value in result["values"].items() if name not in axes}
    return {
        "scenario_hash": point.scenario_hash,
        **axes,
        "seed": point.seed,
        **measured,
        "took_s": result["took_s"],
        "pairzero": result["version"],
        "format": FORMAT,
    }


def _cell(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool)) else json.dumps(value, sort_keys=True)


def columns_of(rows: Iterable[Row], axes: Sequence[str]) -> list[str]:
    """Columns in the order of the table: hash, axes, seed, what was measured, bookkeeping."""
    found: dict[str, None] = dict.fromkeys([*_FIRST, *axes, "seed"])
    for row in rows:
        found |= dict.fromkeys(row)
    return [*(name for name in found if name not in _LAST), *_LAST]


def to_csv(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """Comma-separated values; numbers as Python prints them, which reads back bit for bit; nothing for what is unknown."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(["" if _missing(value := row.get(name)) else value for name in columns])
    return out.getvalue()


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def to_parquet(rows: Sequence[Row], columns: Sequence[str]) -> bytes | None:
    """The same table as Parquet; None where pyarrow is not installed. Columns of several types become text."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        return None
    arrays = {}
    for name in columns:
        values = [None if _missing(row.get(name)) else row.get(name) for row in rows]
        kinds = {type(value) for value in values if value is not None}
        if kinds == {int, float}:
            values = [None if value is None else float(value) for value in values]
        elif len(kinds) > 1:
            values = [None if value is None else str(value) for value in values]
        arrays[name] = pyarrow.array(values) if kinds else pyarrow.array(values, pyarrow.float64())
    table = pyarrow.table(arrays).replace_schema_metadata({"pairzero_format": str(FORMAT)})
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(table, sink)
    return bytes(sink.getvalue().to_pybytes())


def read_table(path: Path) -> list[Row]:
    """Rows of a sweep's table: ``results.csv``, ``results.parquet``, or the folder that holds them.

    Raises :class:`testbench.errors.TestbenchError` where there is none, or where another version of the format wrote it.
    """
    if path.is_dir():
        path = path / "results.csv"
    if not path.is_file():
        raise TestbenchError(f"there is no results table {path}; give a sweep's folder, its results.csv or its results.parquet")
    try:
        rows = _parquet_rows(path) if path.suffix == ".parquet" else _csv_rows(path)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise TestbenchError(f"the results table {path} cannot be read: {error}") from error
    formats = {str(row.get("format")) for row in rows}
    if formats - {str(FORMAT)}:
        other = sorted(formats - {str(FORMAT)})[0]
        told = "has no column format" if other == "None" else f"has format {other}"
        raise TestbenchError(
            f"the results table {path} {told} and this version of pairzero reads format {FORMAT}; read it with the version "
            "that "
            f"wrote it, or measure anew"
        )
    return rows


def _parquet_rows(path: Path) -> list[Row]:
    try:
        import pyarrow.parquet
    except ImportError:
        raise TestbenchError(f"{path} needs pyarrow: pip install pyarrow, or read the CSV beside it") from None
    return list(pyarrow.parquet.read_table(path).to_pylist())


def _csv_rows(path: Path) -> list[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: _number(text) for name, text in row.items()} for row in csv.DictReader(file)]


def _number(text: str | None) -> Any:
    if text is None or text == "":
        return None
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
