"""Methods whose memory is measured: one file each, found by its name; each has ``build(subject)``, which returns one step.

Beside it stand ``TITLE``, ``COPIES`` (tensors as large as the weights that arithmetic without activations counts) and
``FORWARDS`` and ``BACKWARDS`` (passes of one step); ``UPLINK_BITS`` where a device sends a scalar instead of its weights.
"""

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from learning.discovery import find as _find
from learning.discovery import names as _names

_ORDER = (
    "inference_all", "inference_answer", "engine", "sign_engine", "mezo", "lora_adam", "sgd", "adam", "adam_answer",
)  # fmt: skip


def names() -> list[str]:
    """All methods, those of no training first."""
    return sorted(_names(sys.modules[__name__]), key=lambda name: (_ORDER.index(name) if name in _ORDER else 99, name))


def find(name: str) -> Callable[[Any], Callable[[], None]]:
    """The builder of the method ``name``; :class:`learning.errors.LearningError` where there is none."""
    return _find(sys.modules[__name__], name, "build", "method")


def facts(name: str) -> ModuleType:
    """The module of a method, with its constants."""
    find(name)
    return importlib.import_module(f"{__name__}.{name}" if ":" not in name else name.partition(":")[0])
