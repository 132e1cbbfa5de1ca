"""Tables as figures: PNG and PDF, Markdown and CSV beside them."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from testbench.gallery._draw import GREY, STYLE, save

__all__ = ["draw_table", "markdown"]


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    """The table as Markdown, with its caption."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join([*lines, "", caption, ""])


def draw_table(
    folder: Path, name: str, title: str, head: Sequence[str], rows: Sequence[Sequence[str]], caption: str, left: int = 1
) -> Path:
    """Write ``name``.png, .pdf and .md, the first ``left`` columns aligned to the left; returns the PNG."""
    widths = [max(len(str(row[i])) for row in (head, *rows)) for i in range(len(head))]
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        width = max(7.0, 0.085 * sum(widths) + 0.25 * len(head))
        note = textwrap.wrap(caption, int(width * 19))
        height = 0.55 + 0.27 * (len(rows) + 1) + 0.13 * len(note)
        figure = Figure(figsize=(width, height))
        axes = figure.subplots()
        axes.set_axis_off()
        figure.subplots_adjust(left=0.02, right=0.98, top=1.0 - 0.42 / height, bottom=(0.12 + 0.13 * len(note)) / height)
        table = axes.table(
            [[str(cell) for cell in row] for row in rows], colLabels=list(head), cellLoc="right", bbox=Bbox.unit(),
            colWidths=[w / sum(widths) for w in widths],
        )  # fmt: skip
        table.auto_set_font_size(False)
        table.set_fontsize(8.5)
        for (row, column), cell in table.get_celld().items():
            cell.visible_edges = "BT" if row == 0 else "B"
            cell.set_linewidth(0.9 if row == 0 else 0.3)
            if row == 0:
                cell.set_text_props(weight="bold")
            if column < left:
                cell.set_text_props(ha="left")
                setattr(cell, "_loc", "left")  # noqa: B010  # matplotlib has no public way to align a single column
        figure.suptitle(title, x=0.02, ha="left", fontsize=10)
        figure.text(0.02, 0.06 / height, "\n".join(note), fontsize=6.5, color=GREY, va="bottom")
        path = save(figure, folder, name)
    (folder / f"{name}.md").write_text(markdown(head, rows, caption), encoding="utf-8")
    return path
