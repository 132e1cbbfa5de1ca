"""A private round over an air that does not repeat itself is charged before it is sent, and never sent twice."""

import math
import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from learning.config import FederationConfig, ZerothOrderConfig
from learning.errors import JournalError, RoundError
from learning.federation import Federation
from learning.fleet import FleetFederation
from learning.journal import Journal
from learning.parameters import weights_sha256
from learning.privacy import gdp
from learning.privacy.accountants import find as find_accountant
from learning.privacy.energy import EnergyRound
from learning.privacy.energy_odometer import EnergyOdometer
from learning.privacy.errors import CostlierThanPlanned
from learning.privacy.guard import Counter as Odometers
from learning.privacy.guard import PrivacyGuard
from learning.privacy.odometer import Odometer
from learning.privacy.release import Release
from learning.replay import replay
from learning.uplink import Aggregate, NoiseFreeUplink, is_repeatable
from tests.forked import Processes
from tests.learning.tiny import QuadraticObjective, toy_data

DELTA, ROUNDS, MU, SHARE = 1e-5, 60, 0.3, 1.0


class Logged:
    """Notes every transmission in a file, as somebody who listens would, and answers after ``pause_s``.

    :param repeatable: whether noise is a function of the round
    :param gone_in: the round whose answer does not come back
    """

    def __init__(self, log: Path, pause_s: float = 0.0, *, repeatable: bool = False, gone_in: int = -1) -> None:
        self.repeatable = repeatable
        self.log, self.pause_s, self.gone_in, self.louder = log, pause_s, gone_in, 1.0

    def aggregate(self, round_index: int, payloads: np.ndarray, present: np.ndarray | None = None) -> Aggregate:
        with self.log.open("a") as file:
            file.write(f"{round_index}\n")
            file.flush()
            os.fsync(file.fileno())
        time.sleep(self.pause_s)
        if round_index == self.gone_in:
            raise ConnectionError("nobody answers")
        noise = np.random.default_rng(round_index if self.repeatable else None).normal()
        return Aggregate(payloads.mean(axis=0) + noise, diagnostics={"share": SHARE * self.louder})

    def sent(self) -> Counter[int]:
        return Counter(map(int, self.log.read_text().split())) if self.log.is_file() else Counter()


class Charges:
    """Announces MU for every round, and hears from the link how loud it was; counts rounds where ``each`` is given."""

    def __init__(self, each: float | None = None) -> None:
        self.each = each

    def bound(self, round_index: int, present: np.ndarray) -> float:
        return MU if self.each is None else self.each

    def commit(self, round_index: int, present: np.ndarray) -> None: ...

    def forfeit(self, round_index: int, cost: float) -> None: ...

    def check(self, round_index: int, diagnostics: Mapping[str, float]) -> None:
        if self.each is None and diagnostics["share"] > 1.0:
            raise CostlierThanPlanned(
                MU * diagnostics["share"], f"round {round_index} cost more than the {MU:g} that was planned"
            )

    def noise_variance(self, round_index: int, diagnostics: Mapping[str, float]) -> float:
        return 1.0


def odometer(kind: str) -> Odometers:
    if kind == "sampled":
        schedule = Release(np.full(ROUNDS, MU), sampling_rate=0.1, relation="record_add_remove")
        return Odometer(DELTA, "pld", 50.0, schedule=schedule, refresh_rounds=1)
    if kind == "energy":
        return EnergyOdometer(EnergyRound("reed", 100.0), DELTA, ROUNDS, None, refresh_rounds=1)
    return Odometer(DELTA, "gdp", 50.0)


def oracle(kind: str, transmissions: int) -> float:
    """Epsilon of so many transmissions at what each really cost, by another way than the odometer's."""
    if kind == "sampled":
        release = Release(np.full(transmissions, MU), sampling_rate=0.1, relation="record_add_remove")
        return float(find_accountant("pld")().epsilon(release, DELTA))
    if kind == "energy":
        return EnergyRound("reed", 100.0).epsilon(transmissions, DELTA)
    return gdp.epsilon(math.sqrt(transmissions) * MU * SHARE, DELTA)


def federation(path: Any, uplink: Any, kind: str = "gdp", faults: dict[str, Any] | None = None) -> Federation:
    config = FederationConfig(devices=3, batch_size=4, rounds=ROUNDS, seed=0, faults=faults or {})
    charges = Charges(1.0 if kind == "energy" else None)
    guard = PrivacyGuard(odometer(kind), charges, "none", 1e9, {"plan": kind})
    zo = ZerothOrderConfig(learning_rate=1e-3, mu=1e-3)
    return Federation(QuadraticObjective(), toy_data(), config, zo, uplink, Journal(path), guard)


def run_on(path: str, log: str, kind: str, pause_s: float, faults: dict[str, Any]) -> None:
    made = federation(path, Logged(Path(log), pause_s), kind, faults)
    made.resume()
    for record in made.run():
        print(record.round, flush=True)


FAULTS = {"late_probability": 0.3, "late_rounds": 2, "lost_broadcast_probability": 0.2, "resync_every": 10}


@pytest.mark.parametrize(
    ("kind", "faults"), [("gdp", {}), ("sampled", {}), ("energy", {}), ("gdp", FAULTS)], ids=["gdp", "pld", "energy", "faults"]
)
def test_killed_between_sending_and_commit_again_and_again(
    kind: str, faults: dict[str, Any], tmp_path: Path, processes: Processes
) -> None:
    """Kills fall into the time in which a round is on the air; every transmission is charged, and none is repeated."""
    path, log = tmp_path / "j.sqlite", tmp_path / "air.log"
    listener = Logged(log)
    for kill in range(3):
        name, before = f"runner{kill}", listener.sent().total()
        runner = processes.call(name, run_on, str(path), str(log), kind, 0.03 if kill == 1 else 0.5, faults)
        deadline = time.monotonic() + 60
        while listener.sent().total() < before + (1 if kill != 1 else 5):
            assert time.monotonic() < deadline, processes.log(name)
            time.sleep(0.002)
        runner.kill()
        runner.join()
        assert runner.exitcode == -signal.SIGKILL
    cut = listener.sent()
    resumed = federation(path, listener, kind, faults)
    reached = resumed.resume()
    assert reached < ROUNDS
    records = list(resumed.run(5))
    assert records[0].lost  # it was on the air when the last kill came
    assert records[0].diagnostics["unanswered"] == 1.0
    assert not any(record.lost for record in records[1:])
    sent = listener.sent()
    assert max(sent.values()) == 1
    assert sorted(sent) == list(range(reached + 5))
    assert sent.total() == cut.total() + 4
    spent = records[-1].diagnostics["epsilon_spent"]
    assert spent >= oracle(kind, sent.total())
    unit = "privacy_rounds" if kind == "energy" else "privacy_mu"
    rows = list(resumed.journal.rows())
    charged = [row.diagnostics[unit] for row in rows]
    assert sum(row.lost for row in rows) >= 2
    for row, cost in zip(rows, charged, strict=True):
        assert cost == {"energy": 1.0}.get(kind, MU if row.lost else MU * SHARE)
    rebuilt = QuadraticObjective().model
    replay(rebuilt, resumed.journal)
    assert weights_sha256(rebuilt) == weights_sha256(resumed.objective.model)
    # Whoever resumes once more reads the same sum out of the journal.
    resumed.journal.close()
    again = federation(path, listener, kind, faults)
    again.resume()
    assert again._guard is not None
    assert again._guard.epsilon == spent


def test_the_run_ends_where_the_air_does_not_answer_and_goes_on_without_that_round(tmp_path: Path) -> None:
    path, air = tmp_path / "j.sqlite", Logged(tmp_path / "air.log", gone_in=4)
    cut = federation(path, air)
    with pytest.raises(ConnectionError):
        list(cut.run())
    with pytest.raises(RoundError, match="cut off half way"):
        list(cut.run())
    cut.journal.close()
    with Journal(path, read_only=True) as journal:
        assert len(journal) == 4
        assert journal.intent(4) == MU
    resumed = federation(path, air)
    resumed.resume()
    assert [record.lost for record in resumed.run(3)] == [True, False, False]
    assert air.sent() == Counter(range(7))
    assert resumed.journal.intent(4) is None


def test_a_round_that_is_lost_to_a_kill_moves_nothing_but_the_weights_decay(tmp_path: Path) -> None:
    air = Logged(tmp_path / "air.log")
    cut = federation(tmp_path / "j.sqlite", air)
    list(cut.run(2))
    before = [p.clone() for p in cut.objective.model.parameters()]
    cut.journal.intend(2, MU)  # the kill comes here
    cut.journal.close()
    resumed = federation(tmp_path / "j.sqlite", air)
    resumed.resume()
    next(resumed.run(1))
    for was, now in zip(before, resumed.objective.model.parameters(), strict=True):
        assert float((was - now).detach().abs().max()) < 1e-6
    assert air.sent() == Counter([0, 1])


def test_an_air_that_repeats_itself_is_resumed_to_the_same_bits_without_intents(tmp_path: Path) -> None:
    air = Logged(tmp_path / "air.log", repeatable=True, gone_in=4)
    cut = federation(tmp_path / "j.sqlite", air)
    with pytest.raises(ConnectionError):
        list(cut.run())
    cut.journal.close()
    air.gone_in = -1
    resumed = federation(tmp_path / "j.sqlite", air)
    resumed.resume()
    found = list(resumed.run(6))
    whole = federation(":memory:", Logged(tmp_path / "other.log", repeatable=True))
    expected = list(whole.run(10))
    assert [r.estimates for r in found] == [r.estimates for r in expected[4:]]
    assert [r.diagnostics for r in found] == [r.diagnostics for r in expected[4:]]
    assert weights_sha256(resumed.objective.model) == weights_sha256(whole.objective.model)
    assert air.sent()[4] == 2  # the same bits twice: whoever listens learns nothing from the second
    with sqlite3.connect(tmp_path / "j.sqlite") as db:
        assert db.execute("SELECT count(*) FROM intents").fetchone() == (0,)


def test_without_a_guard_nothing_is_written_before_sending(tmp_path: Path) -> None:
    config = FederationConfig(devices=3, batch_size=4, rounds=ROUNDS, seed=0)
    air = Logged(tmp_path / "air.log")
    plain = Federation(QuadraticObjective(), toy_data(), config, ZerothOrderConfig(), air, Journal(":memory:"))
    list(plain.run(3))
    assert plain.journal._db.execute("SELECT count(*) FROM intents").fetchone() == (0,)


def test_a_round_that_cost_more_than_its_bound_is_remembered_at_what_it_cost(tmp_path: Path) -> None:
    path, air = tmp_path / "j.sqlite", Logged(tmp_path / "air.log")
    cut = federation(path, air)
    list(cut.run(2))
    air.louder = 6.0
    with pytest.raises(CostlierThanPlanned, match=r"more than the 0\.3 that was planned"):
        list(cut.run(1))
    cut.journal.close()
    resumed = federation(path, Logged(tmp_path / "air.log"))
    resumed.resume()
    (record,) = resumed.run(1)
    assert record.diagnostics["privacy_mu"] == pytest.approx(MU * SHARE * 6.0)
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT round, attempt, cost FROM intents ORDER BY round, attempt").fetchall() == [
            (0, 1, MU), (1, 1, MU), (2, 1, MU), (2, 2, pytest.approx(MU * SHARE * 6.0))
        ]  # fmt: skip


def test_a_round_that_may_have_passed_the_budget_is_not_forgotten(tmp_path: Path) -> None:
    """The filter is asked about rounds that are yet to be sent; one that may have been is charged whatever it says."""
    path, air = tmp_path / "j.sqlite", Logged(tmp_path / "air.log")
    cut = federation(path, air)
    list(cut.run(2))
    cut.journal.intend(2, MU)
    cut.journal.close()
    tight = PrivacyGuard(Odometer(DELTA, "gdp", oracle("gdp", 2) * 1.01), Charges(), "none", 1e9, {"plan": "gdp"})
    config = FederationConfig(devices=3, batch_size=4, rounds=ROUNDS, seed=0)
    zo = ZerothOrderConfig(learning_rate=1e-3, mu=1e-3)
    resumed = Federation(QuadraticObjective(), toy_data(), config, zo, air, Journal(path), tight)
    resumed.resume()
    with pytest.raises(Exception, match="would pass the budget"):
        list(resumed.run(1))
    assert air.sent() == Counter([0, 1])


# ---- the fleet


class Crew:
    """Three devices that are always there."""

    def __init__(self) -> None:
        self.measured: list[int] = []
        self.told: list[bool] = []

    def open(self) -> None: ...

    def checkpoint(self, next_round: int, sha256: str) -> None: ...

    def finish(self, reason: str) -> None: ...

    def measure(self, round_index: int, seed: int) -> Any:
        self.measured.append(round_index)

        class Slot:
            payloads, present = np.full((3, 1), 0.5), np.ones(3, dtype=np.bool_)
            mean_loss, clipped_fraction = 1.0, 0.0

        return Slot()

    def broadcast(self, seed: int, learning_rate: float, estimates: np.ndarray | None) -> None:
        self.told.append(estimates is not None)


def test_a_fleet_is_told_that_the_round_is_lost_and_not_asked_for_it_again(tmp_path: Path) -> None:
    path, air = tmp_path / "j.sqlite", Logged(tmp_path / "air.log", gone_in=3)

    def fleet(crew: Crew) -> FleetFederation:
        guard = PrivacyGuard(odometer("gdp"), Charges(), "none", 1e9, {"plan": "gdp"})
        config, zo = FederationConfig(devices=3, rounds=ROUNDS, seed=0), ZerothOrderConfig(learning_rate=1e-3, mu=1e-3)
        parts = (QuadraticObjective(), toy_data(), config, zo, air, Journal(path), guard)
        return FleetFederation(*parts, devices=lambda meta: crew)

    cut = fleet(Crew())
    with pytest.raises(ConnectionError):
        list(cut.run())
    cut.journal.close()
    crew = Crew()
    resumed = fleet(crew)
    resumed.resume()
    assert [record.lost for record in resumed.run(3)] == [True, False, False]
    assert crew.measured == [4, 5]
    assert crew.told == [True, True, True, False, True, True]
    assert air.sent() == Counter(range(6))
    row = list(resumed.journal.rows())[3]
    assert row.diagnostics["privacy_mu"] == MU
    assert "missed_devices" not in row.diagnostics


# ---- the journal


def test_a_journal_without_the_table_is_read_and_continued(tmp_path: Path) -> None:
    path, air = tmp_path / "j.sqlite", Logged(tmp_path / "air.log")
    old = federation(path, air)
    list(old.run(3))
    old.journal.close()
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE intents")
    db.close()
    with Journal(path, read_only=True) as journal:
        assert journal.intent(3) is None
        assert len(list(journal.rows())) == 3
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'intents'").fetchone() == (0,)  # only read
    db.close()
    resumed = federation(path, air)
    resumed.resume()
    assert not any(record.lost for record in resumed.run(3))
    assert air.sent() == Counter(range(6))


def test_an_intent_is_of_the_next_round_and_has_a_cost(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    with Journal(path) as journal:
        with pytest.raises(JournalError, match="continues with round 0, not 1"):
            journal.intend(1, 0.5)
        journal.intend(0, 0.5)
        assert journal._db.execute("PRAGMA synchronous").fetchone() == (1,)
    with Journal(path) as journal:
        assert journal.intent(0) == 0.5
        journal.append(0, 1, None, {})
        assert journal.intent(0) is None
    with sqlite3.connect(path) as db:
        db.execute("INSERT INTO intents VALUES (1, 1, -2.0)")
    db.close()
    with pytest.raises(JournalError, match="holds an intent without a cost; it is damaged"):
        Journal(path)


def test_an_intent_that_cannot_be_written_stops_the_round_before_it_is_sent(tmp_path: Path) -> None:
    path, air = tmp_path / "j.sqlite", Logged(tmp_path / "air.log")
    running = federation(path, air)
    list(running.run(1))
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE intents")
    db.close()
    with pytest.raises(JournalError, match="round 1 is not sent, as that could not be written"):
        list(running.run(1))
    assert air.sent() == Counter([0])


def test_only_an_uplink_that_says_so_repeats_itself() -> None:
    class Silent:
        def aggregate(self, *_: object) -> Aggregate:
            raise NotImplementedError

    assert is_repeatable(NoiseFreeUplink())
    assert not is_repeatable(Silent())  # type: ignore[arg-type]
