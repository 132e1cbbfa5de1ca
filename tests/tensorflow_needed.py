"""Skip what needs the environment with TensorFlow where there is none."""

from __future__ import annotations

import pytest

from bridge.environments import backend_python
from bridge.errors import BridgeError


def missing(backend: str) -> str | None:
    """Why a backend cannot be served here; None where it can."""
    try:
        backend_python(backend)
    except BridgeError as error:
        return str(error)
    return None


def backend_param(backend: str) -> object:
    """The backend as a parameter of a test, skipped with a reason where its environment is missing."""
    reason = missing(backend)
    return pytest.param(backend, marks=pytest.mark.skipif(reason is not None, reason=reason or ""))


needs_tensorflow = pytest.mark.skipif(missing("tensorflow") is not None, reason=missing("tensorflow") or "")
BACKENDS = [backend_param(name) for name in ("sionna", "tensorflow", "numpy")]
