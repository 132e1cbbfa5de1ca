"""Fixtures of several folders, the order of tests, and the collection of garbage."""

import gc
import os
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest

from bridge.process import AirServerProcess
from tests import drawings, forked_server
from tests.bridge.blocks import PARTS
from tests.forked import Processes


def pytest_configure() -> None:
    forked_server.install()
    drawings.install()
    gc.disable()  # while a million objects of the libraries are made, none of which is garbage


# What starts processes comes first and together: one pair of TensorFlow and fork servers serves it all.
_STARTING = [
    *("bridge/test_backends", "testbench/test_backends", "phy/test_conformance", "phy/test_notebook", "test_tutorials"),
    *("bridge/test_phy_link", "bridge/test_process", "testbench/test_run", "testbench/test_run_tasks"),
    *("testbench/test_fleet", "testbench/test_stress_campaign", "testbench/test_sweep", "testbench/test_sdr"),
    *("testbench/test_captures_command", "testbench/test_cli", "learning/test_kill", "pairzero/test_examples", "test_docs"),
]
# Modules that prepare something once for many tests.
_PREPARING = ("testbench/", "pairzero/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order for two workers, each of which begins with one half and later takes from the end of the other's.

    Light tests stand at the ends, so that no module's preparations are made twice and nobody waits long for the last test.
    """
    here = Path(__file__).parent
    files = [(path, list(tests)) for path, tests in groupby(items, lambda item: item.path)]
    names = {path: os.path.relpath(path.with_suffix(""), here) for path, _ in files}
    rank = {name: place for place, name in enumerate(_STARTING)}
    starting = sorted((f for f in files if names[f[0]] in rank), key=lambda f: rank[names[f[0]]])
    preparing = [f for f in files if f not in starting and names[f[0]].startswith(_PREPARING)]
    light = [test for f in files if f not in starting and f not in preparing for test in f[1]]
    first, second = ([test for _, tests in some for test in tests] for some in (starting, preparing))
    share = max(0, len(items) // 2 - len(first))
    items[:] = [*first, *light[:share], *second, *light[share:]]


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


@pytest.fixture(scope="session")
def tensorflow_server() -> Iterator[AirServerProcess]:
    """One server for all that asks TensorFlow's air: it takes longer to start than to answer."""
    examples = [f"testbench.examples.keras_{name}" for name in ("receiver:Receiver", "channel:SaturatingFrontEnd")]
    with AirServerProcess(backend="tensorflow", parts=[*PARTS, *examples]) as server:
        yield server


@pytest.fixture
def sharp() -> Iterator[None]:
    """Figures as users get them, for a test that looks at them."""
    with drawings.sharp():
        yield
