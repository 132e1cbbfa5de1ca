"""Code of a user's own inside a link, held at arm's length: what it raises or wrongly returns becomes one sentence."""

import re
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phy.errors import ForeignFailure, PhyError

_COLOUR = re.compile("\x1b\\[[0-9;]*m")
_PREFACES = ("Exception encountered when calling", "in user code:")
_NAMED = re.compile(r"\w*(Error|Exception|Exit): ")


class Guarded:
    """A user's part whose methods raise nothing but :class:`phy.errors.PhyError`; its attributes are the part's own.

    :param label: what the sentence calls it, for instance ``receiver 'mylab.neural:Receiver'``
    """

    def __init__(self, label: str, part: Any) -> None:
        self._label = label
        self._part = part

    @property
    def part(self) -> Any:
        """The part itself."""
        return self._part

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._part, name)
        return guarded(self._label, value) if callable(value) else value


def states(part: Any, name: str) -> bool:
    """Whether the class of a part, guarded or not, itself says ``name = True``; what it inherits is another class's word."""
    own = part._part if isinstance(part, Guarded) else part
    return vars(type(own)).get(name) is True


def guarded(label: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, with anything but a refusal of the physical layer turned into :class:`phy.errors.ForeignFailure`."""

    @wraps(function, assigned=("__doc__",), updated=())
    def call(*arguments: Any, **named: Any) -> Any:
        try:
            return function(*arguments, **named)
        except PhyError:
            raise
        except (Exception, SystemExit) as error:
            raise ForeignFailure(f"{label} failed: {first_line(error)}") from error

    return call


def first_line(error: BaseException) -> str:
    """The class of an error and the line that says most: the first, or behind what Keras and graphs put in front of it."""
    lines = [line for line in (_COLOUR.sub("", line).strip() for line in str(error).splitlines()) if line]
    if lines and lines[0].startswith(_PREFACES):
        for number, line in enumerate(lines):
            if _NAMED.match(line):  # a graph's own report of what was raised in it, whose message may have a preface as well
                kind, _, message = line.partition(": ")
                if message.startswith(_PREFACES) and number + 1 < len(lines):
                    message = lines[number + 1]
                return f"{kind}: {message}"[:300]
        lines = lines[1:]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def checked(label: str, value: Any, shape: tuple[int, ...], kind: str) -> NDArray[Any]:
    """``value`` as an array of the shape and kind (``complex`` or ``real``) that was asked for.

    Raises :class:`phy.errors.ForeignFailure` where it is no array, of another shape or type, or not finite.
    """
    if not hasattr(value, "dtype") or not hasattr(value, "shape"):
        raise ForeignFailure(f"{label} must return an array of shape {list(shape)}, got {type(value).__name__}")
    array = np.asarray(value)
    if array.shape != shape:
        raise ForeignFailure(f"{label} must return shape {list(shape)}, got {list(array.shape)}")
    if array.dtype.kind != ("c" if kind == "complex" else "f"):
        wanted = "complex64" if kind == "complex" else "float32"
        raise ForeignFailure(f"{label} must return {kind} numbers such as {wanted}, got {array.dtype}")
    if not np.isfinite(array).all():
        raise ForeignFailure(f"{label} returned a value that is not finite")
    return array
