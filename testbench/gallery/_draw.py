"""Shared by the figures: curves with bands from rows, files, captions."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from testbench.privacy.plan_figures import STYLE, foot, save
from testbench.stress.figures import style
from testbench.sweep.table import Row, to_csv

__all__ = ["GREY", "PAYLOAD", "STYLE", "curve", "foot", "pick", "save", "style", "write_rows"]

GREY = "#555555"
#: What a measured scalar is, in a caption.
PAYLOAD = "scalars p = clip·limit(N(0, 0.3²)), correlation 0.5 between devices"


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """A table beside a figure, with a column for everything that any row has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_csv(rows, list(dict.fromkeys(name for row in rows for name in row))), encoding="utf-8")


def pick(rows: Iterable[Row], **labels: Any) -> list[Row]:
    """The rows that have these values; ``__`` in a name stands for a dot."""
    wanted = {name.replace("__", "."): value for name, value in labels.items()}
    return [row for row in rows if all(row.get(name) == value for name, value in wanted.items())]


def curve(
    axes: Axes,
    rows: Sequence[Row],
    x: str | Callable[[Row], float],
    metric: str,
    index: int,
    label: str,
    scale: float = 1.0,
    **more: Any,
) -> None:
    """A metric over x with the band that its rows have (``_low`` and ``_high``), in the look of number ``index``."""
    at = [float(x(row)) if callable(x) else float(row[x]) for row in rows]
    look = style(index) | more
    values = [np.nan if row[metric] is None else scale * row[metric] for row in rows]
    axes.plot(at, values, label=label, **look)
    low, high = f"{metric}_low", f"{metric}_high"
    if rows and low in rows[0]:
        below, above = ([np.nan if row[end] is None else scale * row[end] for row in rows] for end in (low, high))
        axes.fill_between(at, below, above, color=look["color"], alpha=0.18, linewidth=0)
