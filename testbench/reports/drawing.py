"""How a report draws: small panels as SVG, which stay sharp and stack on a narrow screen."""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's palette, told apart by colour-blind readers; dashes tell curves apart in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#666666", "#000000")
DASHES = ("-", "--", "-.", ":")
GREY = "#666666"

_STYLE: Any = {
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.fontsize": 7.5,
    "legend.framealpha": 0.7,
    "svg.hashsalt": "pairzero",  # the same data, the same file
}


@dataclass(frozen=True)
class Panel:
    """A drawing with its title and what it says; ``uri`` is the picture itself."""

    title: str
    text: str
    uri: str


def panel(title: str, text: str, draw: Callable[[Axes], None], *, size: tuple[float, float] = (4.4, 3.0)) -> Panel:
    """Draw one pair of axes."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size)
        figure.subplots_adjust(left=0.15, right=0.97, bottom=0.16, top=0.96)
        draw(figure.add_subplot())
        out = io.BytesIO()
        figure.savefig(out, format="svg", dpi=150, metadata={"Date": None})
    return Panel(title, text, data_uri(out.getvalue(), "image/svg+xml"))


def data_uri(content: bytes, kind: str) -> str:
    """A file as an address that holds it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def style(index: int) -> dict[str, Any]:
    """Colour and dash of the curve with this number."""
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": DASHES[index % len(DASHES)]}
