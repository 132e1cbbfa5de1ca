"""Timing in turns: what counts as an unshared core, with probes whose answers are known."""

import math
import time

import numpy as np
import pytest

from testbench.benchmarks.turns import Turns, in_turn


def test_turns_between_a_slow_probe_do_not_count() -> None:
    seconds = np.array([[1.0], [2.0], [1.1], [2.1], [1.2], [1.05], [1.15]])
    probes = np.array([[8.0], [13.0], [8.5], [12.0], [9.5], [8.1], [8.9]])
    turns = Turns(seconds, probes)
    assert turns.unshared[:, 0].tolist() == [True, False, True, False, True, True, True]
    assert turns.medians == [1.15]
    assert turns.unshared_medians == [pytest.approx(1.1)]


def test_too_few_turns_give_no_figure() -> None:
    turns = Turns(np.ones((6, 1)), np.array([[8.0], [8.0], [8.0], [8.0], [13.0], [13.0]]))
    assert math.isnan(turns.unshared_medians[0])


def test_functions_alternate_and_each_lies_between_two_probes() -> None:
    calls: list[str] = []
    answers = iter([1.0, 9.0, 1.0, 5.0, 1.0, 1.0])

    def counted() -> float:
        calls.append("probe")
        return next(answers)

    turns = in_turn([lambda: calls.append("a"), lambda: calls.append("b")], repeats=1, warmup=1, probe=counted)
    assert calls == ["probe", "a", "probe", "b", "probe"] * 2
    # The first turn warms up; in the second, a lies between 5 and 1, b between 1 and 1.
    assert turns.probes.tolist() == [[5.0, 1.0]]


def test_seconds_are_those_of_the_function_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    def advance(by: float) -> float:
        clock[0] += by
        return by

    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    turns = in_turn([lambda: advance(2.0), lambda: advance(3.0)], repeats=2, warmup=1, probe=lambda: advance(10.0))
    assert turns.seconds.tolist() == [[2.0, 3.0], [2.0, 3.0]]
