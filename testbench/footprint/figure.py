"""Peak memory as bars, measured beside arithmetic."""

import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from testbench.figures import BLUE, GREY, ORANGE

_STYLE: Any = {"font.size": 9, "axes.grid": True, "grid.alpha": 0.3, "axes.axisbelow": True}


def draw(table: Sequence[dict[str, Any]], stem: Any) -> None:
    """``STEM.png`` and ``STEM.pdf``: a panel per model and batch."""
    keys = list(dict.fromkeys((row["model"], row["batch"], row["tokens"]) for row in table))
    with matplotlib.rc_context(_STYLE):
        tallest = max(sum((r["model"], r["batch"], r["tokens"]) == key for r in table) for key in keys)
        figure = Figure(figsize=(6.2 * len(keys), 1.6 + 0.42 * tallest), layout="constrained")
        for axes, key in zip(np.atleast_1d(figure.subplots(1, len(keys))), keys, strict=True):
            mine = [row for row in table if (row["model"], row["batch"], row["tokens"]) == key]
            places = np.arange(len(mine))[::-1]
            measured = [row["peak_mib"] for row in mine]
            axes.barh(places + 0.2, measured, 0.38, color=BLUE, label="measured peak, float32")
            axes.barh(places - 0.2, [row["arithmetic_half_mib"] for row in mine], 0.38, color=ORANGE, hatch="//",
                      edgecolor="white", label="arithmetic: copies of the weights, half precision")  # fmt: skip
            for place, row in zip(places, mine, strict=True):
                share = "" if row["over_adam"] is None else f" ({100 * row['over_adam']:.0f} % of Adam)"
                axes.annotate(f"{row['peak_mib']:.0f}{share}", (row["peak_mib"], place + 0.2), xytext=(3, 0),
                              textcoords="offset points", va="center", fontsize=7)  # fmt: skip
            axes.set_yticks(places, [row["title"] for row in mine])
            axes.set_xlim(0, 1.4 * max(measured))
            axes.set(xlabel="MiB", title=f"{key[0]}, batch {key[1]} x {key[2]} tokens")
            axes.grid(axis="y", visible=False)
        figure.legend(*figure.axes[0].get_legend_handles_labels(), fontsize=7, loc="outside upper right", ncols=2)
        figure.supxlabel("\n".join(textwrap.wrap(caption(table), int(95 * len(keys)))), fontsize=6.5, color=GREY)
        for suffix in ("png", "pdf"):
            figure.savefig(stem.with_name(f"{stem.name}.{suffix}"), dpi=150)


def caption(table: Sequence[dict[str, Any]]) -> str:
    """What the numbers are of."""
    device = table[0]["device"]
    where = "resident memory beyond that of the imports" if device == "cpu" else f"allocator's peak on {device}"
    return (
        f"Measured: {where}, one process per method, largest over two steps, weights, activations, logits, gradients and "
        f"optimiser states included; forward in {table[0]['forward']}, dropout off, one measurement each. Arithmetic: as "
        "Table II of arXiv 2604.12401, without activations and logits."
    )
