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
_MOST_PANELS = 6
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
    if (path / "sweep.toml").is_file():
        from testbench.sweep.table import read_table

        read_table(path)  # refuses a table of another version
    whole = [(file.name, *_read(file)) for file in files]
    tables = [
        Table(name, columns, [[_short(v) for v in row] for row in rows[:MOST_ROWS]], max(0, len(rows) - MOST_ROWS))
        for name, columns, rows in whole
    ]
    if path.is_file():
        return Tables(label, path, tables, _panels(*whole[0][1:]))
    settings = [(file.name, file.read_text(encoding="utf-8")) for file in sorted(path.glob("*.toml"))]
    banded = next((_bands(columns, rows) for name, columns, rows in whole if name == "statistics.csv"), [])
    return Tables(label, path, tables, banded or _panels(*whole[0][1:]), pictures(path), settings)


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


def _short(text: str) -> str:
    """A number with as many digits as a reader has use for; anything else as it is."""
    value = _number(text)
    return text if value is None or len(text) <= 8 else f"{value:.6g}"


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


Curves = dict[str, list[tuple[float, float, float, float]]]  # name -> (position, low, mean, high)


def _bands(columns: list[str], rows: list[list[str]]) -> list[Panel]:
    """The statistics of a sweep: axes, then ``metric``, seeds, mean, and the ends of its band."""
    if not rows or not {"metric", "mean", "low", "high"} <= set(columns):
        return []
    axes, metric = range(columns.index("metric")), columns.index("metric")
    ends = [columns.index(name) for name in ("low", "mean", "high")]
    stated = rows[0][columns.index("band")] if "band" in columns else ""
    found = []
    for name in dict.fromkeys(row[metric] for row in rows):
        members = [row for row in rows if row[metric] == name]
        over, groups = _grouped(columns, members, axes)
        if over is None:
            continue
        curves: Curves = {}
        for label, group in groups.items():
            for row in group:
                at, (low, mean, high) = _number(row[over]), (_number(row[i]) for i in ends)
                if at is not None and mean is not None:
                    point = (at, mean if low is None else low, mean, mean if high is None else high)
                    curves.setdefault(label, []).append(point)
        if curves:
            found.append(_drawn(name, columns[over], curves, f"Mean over seeds, shaded its {stated} band."))
    wanted = {name: place for place, name in enumerate(_WANTED)}
    return sorted(found, key=lambda panel: wanted.get(panel.title, len(wanted)))[:_MOST_PANELS]


def _panels(columns: list[str], rows: list[list[str]]) -> list[Panel]:
    """What was measured over the first numeric axis of a sweep; nothing for tables of another kind.

    A sweep's table has its axes between ``scenario_hash`` and ``seed``.
    """
    if not rows or "scenario_hash" not in columns or "seed" not in columns:
        return []
    begin, end = columns.index("scenario_hash") + 1, columns.index("seed")
    over, groups = _grouped(columns, rows, range(begin, end))
    if over is None:
        return []
    found = []
    for name in [name for name in _WANTED if name in columns[end + 1 :]][:_MOST_PANELS]:
        curves = {label: _means(members, over, columns.index(name)) for label, members in groups.items()}
        curves = {label: points for label, points in curves.items() if points}
        if curves:
            found.append(_drawn(name, columns[over], curves, "Mean over seeds, shaded from the least to the largest."))
    return found


def _grouped(columns: list[str], rows: list[list[str]], places: range) -> tuple[int | None, dict[str, list[list[str]]]]:
    """The first numeric axis that varies, and the rows by the values of the others; (None, ...) where there is none."""
    axes = [i for i in places if len({row[i] for row in rows}) > 1]
    over = next((i for i in axes if all(_number(row[i]) is not None for row in rows)), None)
    groups: dict[str, list[list[str]]] = {}
    for row in rows:
        groups.setdefault(", ".join(f"{columns[i]} {row[i]}" for i in axes if i != over) or "all points", []).append(row)
    return over, groups


def _drawn(title: str, axis: str, curves: Curves, text: str) -> Panel:
    def draw(plot: Axes) -> None:
        for index, (name, points) in enumerate(list(curves.items())[:_MOST_CURVES]):
            at, low, mean, high = ([point[i] for point in points] for i in range(4))
            plot.plot(at, mean, marker="o", markersize=3, label=name, **style(index))
            plot.fill_between(at, low, high, color=style(index)["color"], alpha=0.15, linewidth=0)
        plot.set(xlabel=axis, ylabel=title)
        plot.legend()

    more = f" {len(curves) - _MOST_CURVES} more curves are in the table." if len(curves) > _MOST_CURVES else ""
    return panel(title, text + more, draw)


def _means(rows: list[list[str]], over: int, column: int) -> list[tuple[float, float, float, float]]:
    """(position, least, mean, largest) at every position that has a value."""
    at: dict[float, list[float]] = {}
    for row in rows:
        position, value = _number(row[over]), _number(row[column])
        if position is not None and value is not None:
            at.setdefault(position, []).append(value)
    return [(position, min(v), sum(v) / len(v), max(v)) for position, v in sorted(at.items())]
