"""Fixtures of several folders."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.forked import Processes


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Commands running at once; what is left of them ends with the test."""
    made = Processes(tmp_path)
    yield made
    made.end()
