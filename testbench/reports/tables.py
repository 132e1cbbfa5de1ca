"""Sweeps and other folders of tables in a report: tidy CSV files as tables, the measured columns over the axes, the figures."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.axes import Axes

from testbench.errors import TestbenchError
from testbench.reports.drawing import Panel, data_uri, panel, style

MOST_ROWS = 200  # of a table that are shown
_LARGEST_PICTURE = 4_000_000  # bytes
_MOST_CURVES = 8
_FIRST = ("results.csv", "statistics.csv", "differences.csv", "failures.csv")
# What a reader looks for first, where a table has it.
_WANTED = ("accuracy_final", "accuracy", "f1_final", "nmse_db", "loss_final", "epsilon_spent", "lost_rounds")


@dataclass(frozen=True)
class Table:
    """A CSV file: column names and rows of text; ``left_out`` rows are not shown."""

    name: str
    columns: list[str]
    rows: list[list[str]]
    left_out: int


@dataclass(frozen=True)
class Tables:
    """A folder of tables."""

    label: str
    path: Path
    tables: list[Table]
    panels: list[Panel] = field(default_factory=list)
    pictures: list[tuple[str, str]] = field(default_factory=list)
    settings: list[tuple[str, str]] = field(default_factory=list)


def holds_tables(path: Path) -> bool:
    """Whether a path is a CSV or Parquet table, or a folder that holds one."""
    return path.suffix in (".csv", ".parquet") if path.is_file() else any(_files(path))


def _files(folder: Path) -> list[Path]:
    found = sorted(folder.glob("*.csv"))
    found += [p for p in sorted(folder.glob("*.parquet")) if p.with_suffix(".csv") not in found]
    return sorted(found, key=lambda p: (_FIRST.index(p.name) if p.name in _FIRST else len(_FIRST), p.name))


def read_tables(path: Path, label: str) -> Tables:
    """Every table of a folder (or one file), with its figures and TOML files.

    Raises :class:`testbench.errors.TestbenchError` where a table cannot be read.
    """
    files = [path] if path.is_file() else _files(path)
    whole = [(file.name, *_read(file)) for file in files]
    tables = [Table(name, columns, rows[:MOST_ROWS], max(0, len(rows) - MOST_ROWS)) for name, columns, rows in whole]
    if path.is_file():
        return Tables(label, path, tables, _panels(*whole[0][1:]))
    settings = [(file.name, file.read_text(encoding="utf-8")) for file in sorted(path.glob("*.toml"))]
    return Tables(label, path, tables, _panels(*whole[0][1:]), pictures(path), settings)


def pictures(folder: Path, leave_out: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Name and content of the PNG figures in a folder and in its ``figures``."""
    files = [*sorted(folder.glob("*.png")), *sorted(folder.glob("figures/*.png"))]
    return [
        (file.stem, data_uri(file.read_bytes(), "image/png"))
        for file in files
        if file.stem not in leave_out and file.stat().st_size <= _LARGEST_PICTURE
    ]


def _read(file: Path) -> tuple[list[str], list[list[str]]]:
    try:
        if file.suffix == ".parquet":
            return _parquet(file)
        with file.open(newline="", encoding="utf-8") as stream:
            lines = list(csv.reader(row for row in stream if not row.startswith("#")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TestbenchError(f"the table {file} cannot be read: {error}") from error
    if not lines:
        return [], []
    columns, *rows = lines
    ragged = next((i for i, row in enumerate(rows) if len(row) != len(columns)), None)
    if ragged is not None:
        raise TestbenchError(f"the table {file} has {len(columns)} columns and {len(rows[ragged])} values in row {ragged + 1}")
    return columns, rows


def _parquet(file: Path) -> tuple[list[str], list[list[str]]]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise TestbenchError(f"{file} needs pyarrow: pip install pyarrow, or give the CSV beside it") from error
    try:
        table = parquet.read_table(file)
    except Exception as error:  # pyarrow's errors share no base class
        raise TestbenchError(f"the table {file} cannot be read: {error}") from error
    return table.column_names, [["" if v is None else str(v) for v in row.values()] for row in table.to_pylist()]


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _panels(columns: list[str], rows: list[list[str]]) -> list[Panel]:
    """What was measured over the first numeric axis of a sweep; nothing for tables of another kind.

    A sweep's table has its axes between ``scenario_hash`` and ``seed``.
    """
    if not rows or "scenario_hash" not in columns or "seed" not in columns:
        return []
    begin, end = columns.index("scenario_hash") + 1, columns.index("seed")
    axes = [i for i in range(begin, end) if len({row[i] for row in rows}) > 1]
    numeric = [i for i in axes if all(_number(row[i]) is not None for row in rows)]
    if not numeric:
        return []
    over = numeric[0]
    groups: dict[str, list[list[str]]] = {}
    for row in rows:
        groups.setdefault(", ".join(f"{columns[i]} {row[i]}" for i in axes if i != over) or "all seeds", []).append(row)
    measured = [columns.index(name) for name in _WANTED if name in columns[end + 1 :]]
    found = []
    for column in measured[:4]:
        if not any(_number(row[column]) is not None for row in rows):
            continue

        def draw(plot: Axes, column: int = column) -> None:
            for index, (name, members) in enumerate(list(groups.items())[:_MOST_CURVES]):
                points = _means(members, over, column)
                at, low, mean, high = ([point[i] for point in points] for i in range(4))
                plot.plot(at, mean, marker="o", markersize=3, label=name, **style(index))
                plot.fill_between(at, low, high, color=style(index)["color"], alpha=0.15, linewidth=0)
            plot.set(xlabel=columns[over], ylabel=columns[column])
            plot.legend()

        dropped = f" {len(groups) - _MOST_CURVES} more curves are in the table." if len(groups) > _MOST_CURVES else ""
        found.append(panel(columns[column], f"Mean over seeds, shaded from the least to the largest.{dropped}", draw))
    return found


def _means(rows: list[list[str]], over: int, column: int) -> list[tuple[float, float, float, float]]:
    """(position, least, mean, largest) at every position that has a value."""
    at: dict[float, list[float]] = {}
    for row in rows:
        position, value = _number(row[over]), _number(row[column])
        if position is not None and value is not None:
            at.setdefault(position, []).append(value)
    return [(position, min(v), sum(v) / len(v), max(v)) for position, v in sorted(at.items())]
