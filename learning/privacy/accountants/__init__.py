"""Accountants, one file each, found by name: what epsilon or delta a release costs, or why this one cannot say."""

from __future__ import annotations

import sys
from collections.abc import Callable

from learning.discovery import find as _find
from learning.discovery import names as _names
from learning.privacy.accountants._common import AccountantLike

__all__ = ["AccountantLike", "find", "names"]


def names() -> list[str]:
    """The accountants that come with the package."""
    return _names(sys.modules[__name__])


def find(name: str) -> Callable[..., AccountantLike]:
    """The class of the accountant ``name``, or ``module:Class``."""
    return _find(sys.modules[__name__], name, "Accountant", "accountant")
