"""Shared by the benchmarks: how a ratio is taken and recorded."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from testbench.benchmarks.turns import in_turn


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def record(benchmark: Any) -> Callable[..., None]:
    """``record(name, value, target=..., best="low"|"high")`` adds a row to the table of ratios."""

    def add(name: str, value: float, target: float | None = None, best: str = "low") -> None:
        rows = benchmark.extra_info.setdefault("ratios", {})
        rows[name] = {"value": float(value), "target": target, "best": best}

    return add


@pytest.fixture
def interleaved() -> Callable[..., list[float]]:
    """``interleaved(f, g, ...)``: median seconds of each, taken in turn so that a change of the machine hits all alike."""

    def measure(*functions: Callable[[], object], repeats: int = 15, warmup: int = 2) -> list[float]:
        return in_turn(list(functions), repeats, warmup, probe=lambda: 0.0).medians

    return measure
