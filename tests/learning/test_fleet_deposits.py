"""The rounds of a fleet whose scalars lie at the air: what the guard is asked, what the air is asked, and what is written."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from learning.config import FederationConfig, ZerothOrderConfig
from learning.fleet_deposits import DepositFederation
from learning.journal import Journal
from learning.uplink import Aggregate
from tests.learning.tiny import tiny_opt, toy_data

K, N = 3, 2
NAN = np.nan


@dataclass
class Answers:
    payloads: np.ndarray
    present: np.ndarray
    mean_loss: float = 0.25  # no coordinator should have one; here it would show
    clipped_fraction: float = 0.5


class Elsewhere:
    """Devices, deposits and a guard at once, which write down what they are asked in order."""

    identity: Mapping[str, Any] = {}
    repeatable = True

    def __init__(self, answers: list[Answers], there: list[list[bool]], refuse: list[bool] | None = None) -> None:
        self.asked: list[Any] = []
        self._answers, self._there, self._refuse = answers, there, refuse

    # Devices.
    def broadcast(self, *row: Any) -> None:
        self.asked.append(("broadcast", row[2] if row[2] is None else row[2].tolist()))

    def measure(self, index: int, seed: int) -> Answers:
        self.asked.append(("slot", index))
        return self._answers[index]

    def checkpoint(self, standing: int, sha256: str) -> None:
        pass

    def finish(self, reason: str) -> None:
        self.asked.append(("finish", reason))

    # Deposits, whose `open` takes a round and whose devices' takes none.
    def open(self, index: int | None = None) -> None:
        if index is not None:
            self.asked.append(("open", index))

    def close(self, index: int) -> np.ndarray:
        self.asked.append(("close", index))
        return np.array(self._there[index])

    def collect(self, index: int, present: np.ndarray) -> Aggregate:
        self.asked.append(("collect", index, present.tolist()))
        return Aggregate(np.array([0.5, -0.5]), False, {"aligned_gain": 1.0})

    # The guard.
    def admits(self, index: int, present: np.ndarray) -> bool:
        self.asked.append(("admits", index, present.tolist()))
        return present.tolist() != self._refuse

    def settle(self, index: int, estimates: Any, diagnostics: Any) -> Any:
        return estimates, {"epsilon_spent": 1.0}


def run(there: Elsewhere, journal: Journal, rounds: int, guard: bool = False) -> DepositFederation:
    data = toy_data()
    federation = DepositFederation(
        tiny_opt(data), data, FederationConfig(devices=K, rounds=rounds, batch_size=4),
        ZerothOrderConfig(learning_rate=1e-3, directions=N), there, journal, there if guard else None,
        devices=lambda meta: there,
    )  # fmt: skip
    records = list(federation.run())
    for record in records:
        assert np.isnan([record.mean_loss, record.clipped_fraction, record.payload_mean, *record.payloads.ravel()]).all()
    return federation


def test_only_those_who_answered_and_whose_deposits_are_there_are_collected() -> None:
    zeros = np.zeros((K, N))
    spoilt = np.array([[0, 0], [NAN, NAN], [0, 0]])
    answers = [Answers(zeros, np.ones(K, bool)), Answers(zeros, np.array([1, 1, 0], bool)), Answers(spoilt, np.ones(K, bool))]
    there = Elsewhere(answers, [[True] * 3, [False, True, True], [True, False, True]])
    with Journal(":memory:") as journal:
        run(there, journal, 3)
        found = [(row.estimates, dict(row.diagnostics)) for row in journal.rows()]
    everybody = ("collect", 0, [True] * 3)
    first = [("open", 0), ("slot", 0), ("close", 0), everybody, ("broadcast", [0.5, -0.5])]
    second = [("open", 1), ("slot", 1), ("close", 1), ("collect", 1, [False, True, False]), ("broadcast", [0.5, -0.5])]
    third = [("open", 2), ("slot", 2), ("close", 2), ("broadcast", None)]
    assert there.asked == [*first, *second, *third, ("finish", "the run is complete")]
    counts = [{"present_devices": float(n), "missed_devices": float(K - n)} for n in (3, 1, 3)]
    assert found == [
        ((0.5, -0.5), {"aligned_gain": 1.0, **counts[0]}),
        ((0.5, -0.5), {"aligned_gain": 1.0, **counts[1]}),
        (None, {"nonfinite_payloads": 2.0, **counts[2]}),
    ]


def test_the_guard_is_asked_about_those_who_will_be_on_the_air_before_they_are() -> None:
    answers = [Answers(np.zeros((K, N)), np.ones(K, bool))] * 2
    there = Elsewhere(answers, [[True, True, False], [False, True, True]], refuse=[False, True, True])
    with Journal(":memory:") as journal:
        federation = run(there, journal, 2, guard=True)
        assert len(journal) == 1
    assert federation.stopped == 1
    assert [ask for ask in there.asked if ask[0] in ("admits", "collect")] == [
        ("admits", 0, [True] * 3),
        ("admits", 0, [True, True, False]),
        ("collect", 0, [True, True, False]),
        ("admits", 1, [True] * 3),
        ("admits", 1, [False, True, True]),  # refused: nothing of round 1 is on the air
    ]
    assert there.asked[-1] == ("finish", "the privacy budget is spent")
