"""Drawings that nobody looks at are not drawn: rendering took a sixth of the time of all tests.

Every kind of figure is rendered as users get it by a test of its own, inside :func:`sharp`.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

_savefig = Figure.savefig


@cache
def _empty(kind: str) -> bytes:
    """A valid file of that kind with nothing in it."""
    out = io.BytesIO()
    _savefig(Figure(figsize=(1, 1)), out, format=kind)
    return out.getvalue()


def _blank(figure: Figure, target: Any, *, format: str | None = None, **options: Any) -> None:
    if isinstance(target, str | os.PathLike):
        Path(target).write_bytes(_empty(format or Path(target).suffix[1:]))
    else:
        target.write(_empty(format or "png"))


def install() -> None:
    """From now on figures that this process saves are blank ones."""
    Figure.savefig = _blank  # type: ignore[method-assign, assignment]


@contextmanager
def sharp() -> Iterator[None]:
    """Figures as users get them."""
    before, Figure.savefig = Figure.savefig, _savefig  # type: ignore[method-assign]
    try:
        yield
    finally:
        Figure.savefig = before  # type: ignore[method-assign]
