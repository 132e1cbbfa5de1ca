"""Fixtures of several folders, and the collection of garbage."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import drawings, forked_server
from tests.forked import Processes


def pytest_configure() -> None:
    forked_server.install()
    drawings.install()
    gc.disable()  # while a million objects of the libraries are made, none of which is garbage


def pytest_collection_finish() -> None:
    """Leave the libraries' objects out of later searches for garbage, and search less often: the suite is a tenth faster."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()


def pytest_sessionfinish() -> None:
    gc.unfreeze()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Commands running at once; what is left of them ends with the test."""
    made = Processes(tmp_path)
    yield made
    made.end()


@pytest.fixture
def sharp() -> Iterator[None]:
    """Figures as users get them, for a test that looks at them."""
    with drawings.sharp():
        yield
