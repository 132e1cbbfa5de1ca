"""The ledger of several runs: what adds up, what does not, and what survives a kill, another process and an old folder."""

import base64
import json
import math
import os
import signal
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import pairzero.privacy
import testbench.privacy.guarding as guarding
from learning import tasks
from learning.journal import Journal
from learning.privacy import gdp
from learning.privacy.energy import EnergyRound
from testbench.cli import app
from testbench.comparison.figure import caption
from testbench.errors import LedgerError, TestbenchError
from testbench.fleet.sharing import Local
from testbench.privacy.ledger import NAME, Entry, Ledger
from testbench.privacy.ledger_command import ledger_groups
from testbench.privacy.secrecy import SHARED_SEED, of_several
from testbench.privacy.totals import groups_of, in_words
from testbench.run_folder import RunFolder
from testbench.runner import RunResult, Watcher
from testbench.scenario import Scenario, build
from testbench.sweep.campaign import run_sweep
from testbench.sweep.file import load_sweep
from testbench.sweep.store import SweepFolder
from tests.forked import start
from tests.testbench.test_fleet import Joined, Served, _one_loads_at_a_time, write  # noqa: F401
from tests.testbench.test_privacy_run import ENERGY, RECORDS, Stop, private, run_quietly

SECRET = {"randomness": "secret"}


def hidden(**privacy: Any) -> Scenario:
    return private(privacy={**SECRET, **privacy})


def run(folder: Path, scenario: Scenario, **options: Any) -> RunResult:
    return run_quietly(scenario, RunFolder(folder), **options)


def rows(folder: Path) -> list[Entry]:
    return Ledger(folder / NAME).entries()


class Lines(Watcher):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def entry(**changes: Any) -> Entry:
    """A run of mu^2 = 1 on data "t", with noise of its own."""
    plain = Entry(
        run="/runs/a", began="2026-01-01T00:00:00+00:00", state="spent", task_sha256="t", records_sha256="r", own_data=False,
        split_sha256="s", relation="client_value", adversary="a receiver", accountant="gdp", delta=1e-3, extra_delta=0.0,
        sampling_rate=None,
        planned_epsilon=5.0, planned_mu_squared=2.0, spent_epsilon=gdp.epsilon(1.0, 1e-3), spent_mu_squared=1.0, rounds=12,
        randomness="secret", noise_sha256="n", content_sha256="c", machine_sha256="m", released_sha256="x",
    )  # fmt: skip
    return replace(plain, **changes)


def own(number: int, **changes: Any) -> Entry:
    """Run ``number``, which shares nothing with others."""
    name = {"run": f"/runs/{number}", "noise_sha256": f"n{number}", "content_sha256": f"c{number}"}
    return entry(**{**name, "released_sha256": f"x{number}", **changes})


# ---- what adds up


def test_runs_under_secrets_add_up_exactly(tmp_path):
    lines = Lines()
    one, other = run(tmp_path / "a", hidden()).summary, run(tmp_path / "b", hidden(epsilon=2.0), watcher=lines).summary
    first, second = rows(tmp_path)
    assert (first.run, second.run) == (str(tmp_path / "a"), str(tmp_path / "b"))
    assert [r.state for r in (first, second)] == ["spent", "spent"]
    assert first.noise_sha256 != second.noise_sha256
    assert (first.spent_epsilon, first.spent_mu_squared) == (one["epsilon_spent"], one["mu_squared"])
    assert gdp.epsilon(math.sqrt(one["mu_squared"]), 1e-3) == pytest.approx(one["epsilon_gdp"], rel=1e-12)
    [group] = pairzero.privacy.ledger(tmp_path)
    joint = math.sqrt(one["mu_squared"] + other["mu_squared"])
    assert group.total.epsilon == pytest.approx(gdp.epsilon(joint, 2e-3), rel=1e-9)
    assert (group.total.relation, group.total.delta) == ("client_value", 2e-3)
    assert one["epsilon_gdp"] < group.total.epsilon < one["epsilon_gdp"] + other["epsilon_gdp"]
    assert lines.lines[-2:][0].startswith("ledger: 2 runs on these data: epsilon = ")
    assert f"epsilon = {group.total.epsilon:.4g} at delta = 0.002 together, of all that one device sends" in " ".join(
        lines.lines
    )
    [later] = pairzero.privacy.ledger(tmp_path / NAME, delta=1e-3)
    assert later.total.epsilon == pytest.approx(gdp.epsilon(joint, 1e-3), rel=1e-9)


def test_runs_of_one_seed_and_another_rate_have_no_total(tmp_path):
    """The attack that the ledger speaks of: the difference of two broadcasts is that of the noise-free means."""
    lines, told = Lines(), []
    for name, rate in (("a", 2e-4), ("b", 1e-3)):
        run(tmp_path / name, private(zeroth_order={"learning_rate": rate}), watcher=lines)
        with Journal(tmp_path / name / "journal.sqlite", read_only=True) as journal:
            told.append(np.array([(r.estimates[0], r.diagnostics["payload_mean"]) for r in journal.rows() if r.estimates]))
    (estimate, mean), (other, other_mean) = told[0].T, told[1].T
    assert np.abs((estimate - other) - (mean - other_mean)).max() < 1e-3 * np.abs(estimate - mean).max()
    [group] = ledger_groups([tmp_path])
    assert group.total.epsilon == math.inf
    assert [[Path(one.run).name for one in pair] for pair in group.shared] == [["a", "b"]]
    assert any("together private to nobody" in line and "share their noise" in line for line in lines.lines)
    result = CliRunner().invoke(app, ["privacy", "ledger", str(tmp_path)])
    assert result.exit_code != 0
    assert isinstance(result.exception, LedgerError)
    assert "share their noise" in str(result.exception)
    assert [line for line in lines.lines if line.startswith("note: this run shares its noise with")] != []
    # On other data too: what is left of the difference depends on both.
    run(tmp_path / "c", private(task={"name": "embedded", "train_examples": 90, "validation_examples": 40}))
    assert [group.total.epsilon for group in ledger_groups([tmp_path])] == [math.inf, math.inf]


def test_a_run_made_again_under_its_seed_releases_nothing_more(tmp_path):
    one = run(tmp_path / "a", private()).summary
    run(tmp_path / "b", private())
    with pytest.raises(KeyboardInterrupt):  # the same bits as far as it came
        run(tmp_path / "c", private(), watcher=Stop(4))
    [group] = ledger_groups([tmp_path / NAME])
    assert [len(release) for release in group.releases] == [3]
    assert group.total.mu == pytest.approx(math.sqrt(one["mu_squared"]), rel=1e-4)  # what c reserved
    run(tmp_path / "c", private(), resume=True)
    [group] = ledger_groups([tmp_path / NAME])
    assert len(group.entries) == 3
    assert group.total.mu == pytest.approx(math.sqrt(one["mu_squared"]), rel=1e-12)
    # Other bits under the same noise are another release, whatever the settings say.
    a, b, _ = rows(tmp_path)
    assert groups_of([a, replace(b, released_sha256="other")])[0].shared
    assert groups_of([replace(a, released_sha256=None), replace(b, released_sha256=None, machine_sha256="other")])[0].shared
    assert not groups_of([a, replace(b, noise_sha256=None)])[0].shared


def test_what_a_total_is_of(tmp_path):
    record = {"spent_epsilon": 0.5, "spent_mu_squared": 0.1, "relation": "record_replace_one"}
    [group] = groups_of([own(1), own(2, **record)])
    assert (group.total.relation, group.total.mu) == ("record_replace_one", pytest.approx(math.sqrt(1.1)))
    [group] = groups_of([own(1), own(2, split_sha256="other")])  # no device is the same in both
    assert group.total.relation == "record_replace_one"
    sampled = {"spent_epsilon": 0.5, "spent_mu_squared": None, "relation": "record_add_remove"}
    [group] = groups_of([own(1), own(2, **sampled)])
    assert group.total.epsilon == pytest.approx(0.5 + gdp.epsilon(1.0, 1e-3), rel=1e-9)
    assert group.total.relation == "record_add_remove"
    assert "of one record, present or not" in in_words(group)


def test_data_are_told_apart_by_what_can_be_known_of_them():
    assert len(groups_of([own(1), own(2, task_sha256="u", records_sha256="v")])) == 2
    assert len(groups_of([own(1), own(2, task_sha256="u")])) == 1  # the same records in another wording
    fleets = [own(n, task_sha256=f"t{n}", records_sha256=f"r{n}", own_data=True) for n in range(3)]
    [group] = groups_of([*fleets])  # nobody has a hash of what devices keep to themselves
    assert group.total.mu == pytest.approx(math.sqrt(3.0))


def test_a_fleet_whose_devices_bring_data_of_their_own_is_known_as_one(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    data = tasks.load(private().task)
    files = [None, None, write(tmp_path / "own.tsv", data.train[:20], data.labels)]
    for name, own_files in (("shared", [None] * 3), ("own", files)):
        server = f"ipc://{tmp_path}/{name}"
        plain = private(federation={"rounds": 3}).plain() | {"fleet": {"bind": server, "slot_s": 60.0, "patience_s": 60.0}}
        coordinator = Served(build(plain, "test"), tmp_path / "runs" / name)
        devices = [Joined(server, n, Local(data=file)) for n, file in enumerate(own_files)]
        assert {device.hash() for device in devices} == {coordinator.end()["weights_sha256"]}
    shared, brought = rows(tmp_path / "runs")
    assert (shared.own_data, brought.own_data, brought.state) == (False, True, "spent")
    assert shared.noise_sha256 != brought.noise_sha256
    [group] = ledger_groups([tmp_path / "runs"])  # the third device has another part, the others the same data
    assert len(group.entries) == 2


def test_a_search_of_a_thousand_runs_is_added_up_quickly():
    import time

    many = [own(n, noise_sha256=f"n{n // 10}", released_sha256=f"x{n}") for n in range(1000)]
    began = time.perf_counter()
    [group] = groups_of(many)
    assert time.perf_counter() - began < 0.5
    assert len(group.shared) == 900
    assert "(and 899 more such pairs)" in in_words(group)


def test_energy_detection_adds_up_by_basic_composition(tmp_path):
    one = EnergyRound("reed", 100.0)
    scenario = private(**{**ENERGY, "privacy": {"accounting": "renyi", "epsilon": one.epsilon(7, 1e-3) * 1.001, **SECRET}})
    run(tmp_path / "a", scenario)
    run(tmp_path / "b", scenario)
    [group] = ledger_groups([tmp_path])
    assert [e.spent_mu_squared for e in group.entries] == [None, None]
    assert group.total.epsilon == pytest.approx(2 * one.epsilon(7, 1e-3), rel=1e-9)


def test_sampled_runs_count_by_their_epsilon_and_printed_ones_by_the_truth(tmp_path, monkeypatch):
    monkeypatch.setattr(guarding, "_REFRESHES", 1)  # epsilon of sampled rounds takes seconds
    sampled = run(tmp_path / "sampled", private(**{**RECORDS, "privacy": {**RECORDS["privacy"], **SECRET}})).summary
    printed = hidden(as_printed=True, accounting="paper")
    one = run(tmp_path / "printed", printed).summary
    row, other = rows(tmp_path)
    assert (row.spent_mu_squared, row.planned_mu_squared, row.relation) == (None, None, "record_add_remove")
    assert row.sampling_rate == pytest.approx(0.1)
    [group] = ledger_groups([tmp_path])
    assert group.total.epsilon == pytest.approx(sampled["epsilon_spent"] + one["epsilon_gdp"], rel=1e-9)
    assert group.total.relation == "record_add_remove"
    assert one["epsilon_gdp"] > 1.2 * one["epsilon_spent"]
    # The same from the folder alone, also where its journal holds the printed cost of rounds only.
    (tmp_path / NAME).unlink()
    path = tmp_path / "printed" / "summary.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "mu_squared"}))
    [group] = ledger_groups([tmp_path / "printed"])
    assert group.total.mu == pytest.approx(math.sqrt(other.spent_mu_squared), rel=1e-4)
    assert group.total.mu >= math.sqrt(other.spent_mu_squared)


# ---- the budget


def test_a_run_that_would_pass_the_budget_is_refused_before_anything_is_sent(tmp_path):
    both = gdp.epsilon(math.sqrt(2) * gdp.mu(4.0, 1e-3), 2e-3)
    run(tmp_path / "a", hidden())
    tight = hidden(ledger_epsilon=both * 0.99)
    with pytest.raises(LedgerError, match=r"privacy\.ledger_epsilon = .* would be passed by this run") as caught:
        run(tmp_path / "b", tight)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "b" / "journal.sqlite").exists()
    assert len(rows(tmp_path)) == 1
    other = {"ledger": str(tmp_path / "other.sqlite")}
    run(tmp_path / "s1", private(privacy=other))
    with pytest.raises(LedgerError, match="share its noise with"):
        run(tmp_path / "s2", private(zeroth_order={"clip": 4.0}, privacy={**other, "ledger_epsilon": 1e6}))
    run(tmp_path / "b", hidden(ledger_epsilon=both * 1.01))
    assert CliRunner().invoke(app, ["privacy", "ledger", str(tmp_path / NAME)]).exit_code == 0
    run(tmp_path / "b", tight, resume=True)  # it has nothing to send any more, and the command tells that it would not fit
    assert len(rows(tmp_path)) == 2
    result = CliRunner().invoke(app, ["privacy", "ledger", str(tmp_path / NAME)])
    assert result.exit_code == 1
    assert "passes privacy.ledger_epsilon" in str(result.exception)


def _reserve(path: str, number: int, count: int, allowed: int, told: str) -> None:
    """In a process of its own: reserve ``count`` runs, of which ``allowed`` fit into the ledger at a time."""
    ledger, kept = Ledger(Path(path)), 0

    def check(entries: Sequence[Entry]) -> None:
        if len(entries) > allowed:
            raise LedgerError("full")

    for at in range(count):
        mine = own(1000 * number + at, state="reserved")
        try:
            row, _ = ledger.reserve(mine, resumed=False, ended=False, check=check)
        except LedgerError as error:
            if str(error) != "full":
                raise
            continue
        ledger.settle(row, replace(mine, state="spent"))
        kept += 1
    Path(told).write_text(str(kept))


def test_processes_side_by_side_lose_nothing_and_pass_no_budget(tmp_path):
    told = [str(tmp_path / f"told{n}") for n in range(5)]
    working = [start(_reserve, str(tmp_path / NAME), n, 12, 40, told[n]) for n in range(5)]
    for process in working:
        process.join(60)
    assert [process.exitcode for process in working] == [0] * 5
    kept = rows(tmp_path)
    assert len(kept) == 40 == sum(int(Path(path).read_text()) for path in told)
    assert {one.state for one in kept} == {"spent"}
    assert len({one.run for one in kept}) == 40


# ---- kills and exceptions


class Die(Watcher):
    def __init__(self, after: int) -> None:
        self.left = after

    def round(self, loss: float, received_snr_db: float | None) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def _killed(folder: str) -> None:
    run(Path(folder), hidden(), watcher=Die(5))


def test_a_killed_run_stays_reserved_and_is_settled_when_it_is_resumed(tmp_path):
    process = start(_killed, str(tmp_path / "a"))
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    [row] = rows(tmp_path)
    assert (row.state, row.spent_epsilon) == ("reserved", None)
    assert row.charge.epsilon == pytest.approx(4.0, rel=1e-3)
    [group] = ledger_groups([tmp_path])
    assert group.total.epsilon == pytest.approx(4.0, rel=1e-3)
    assert "of which 1 reserved and not ended" in in_words(group)
    with Journal(tmp_path / "a" / "journal.sqlite", read_only=True) as journal:
        assert len(journal) == 5
    with pytest.raises(LedgerError, match="would be passed"):  # what is reserved is not free
        run(tmp_path / "b", hidden(ledger_epsilon=5.0))
    (tmp_path / "a").rename(tmp_path / "moved")
    summary = run(tmp_path / "moved", hidden(), resume=True).summary
    [row] = rows(tmp_path)
    assert (row.state, row.run, row.rounds) == ("spent", str(tmp_path / "moved"), 12)
    assert row.spent_mu_squared == summary["mu_squared"]


def test_an_exception_before_the_first_round_gives_back_what_was_reserved(tmp_path):
    class Broken:
        def aggregate(self, *_: object) -> Any:
            raise KeyboardInterrupt

    seen: list[list[str]] = []

    class Refuse(Watcher):
        def say(self, text: str) -> None:
            if text.startswith("uplink:"):
                seen.append([one.state for one in rows(tmp_path)])
                raise RuntimeError

    with pytest.raises(RuntimeError):
        run(tmp_path / "a", hidden(), watcher=Refuse())
    assert seen == [["reserved"]]
    assert rows(tmp_path) == []
    with pytest.raises(KeyboardInterrupt):  # it may have been sent
        run(tmp_path / "a", hidden(), uplink=opened(Broken()))
    [row] = rows(tmp_path)
    assert row.state == "reserved"
    with pytest.raises(RuntimeError):
        run(tmp_path / "a", hidden(), watcher=Refuse(), resume=True)
    assert rows(tmp_path) == [row]
    run(tmp_path / "a", hidden(), resume=True)
    assert [one.state for one in rows(tmp_path)] == ["spent"]
    with pytest.raises(RuntimeError):
        run(tmp_path / "a", hidden(), watcher=Refuse(), resume=True)
    assert [one.state for one in rows(tmp_path)] == ["spent"]


def opened(uplink: Any) -> Any:
    from testbench.uplinks import OpenUplink

    return OpenUplink(uplink, {"fidelity": "symbol", "scheme": "analog", "noise": "secret", "keyed_by": "secret"}, "a test")


def test_a_run_that_spends_nothing_leaves_no_row(tmp_path):
    lines = Lines()
    nobody = private(privacy=SECRET, federation={"faults": {"miss_probability": 1.0}})
    run(tmp_path / "a", nobody, watcher=lines)
    assert rows(tmp_path) == []
    assert any(line.startswith("ledger: this run has spent nothing") for line in lines.lines)


# ---- folders without a ledger


def test_old_run_folders_are_added_up_without_a_ledger(tmp_path):
    off = {"ledger": "none"}
    summaries = [run(tmp_path / name, hidden(**off)).summary for name in "ab"]
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "c", hidden(**off), watcher=Stop(4))
    assert not (tmp_path / NAME).exists()
    promised = gdp.mu(4.0, 1e-3) ** 2
    squares = [*(one["mu_squared"] for one in summaries), promised]
    [group] = pairzero.privacy.ledger(tmp_path)
    assert [one.state for one in group.entries] == ["spent", "spent", "reserved"]
    assert group.total.mu == pytest.approx(math.sqrt(sum(squares)), rel=1e-6)
    assert not group.shared
    # As versions before wrote it: no key for the sum, none for what keyed the noise, which was the seed.
    for name in "ab":
        path = tmp_path / name / "summary.json"
        kept = {k: v for k, v in json.loads(path.read_text()).items() if k not in ("mu_squared", "randomness")}
        path.write_text(json.dumps(kept))
    [group] = ledger_groups([tmp_path / "a"])
    assert group.entries[0].randomness == "seed"
    assert group.total.mu >= math.sqrt(summaries[0]["mu_squared"])
    assert group.total.mu == pytest.approx(math.sqrt(summaries[0]["mu_squared"]), rel=1e-5)
    [group] = ledger_groups([tmp_path / "a", tmp_path / "b"])
    assert group.total.epsilon == math.inf
    # Beside a run that has a ledger, and resumed into one.
    run(tmp_path / "d", hidden())
    run(tmp_path / "c", hidden(), resume=True)
    assert [Path(one.run).name for one in rows(tmp_path)] == ["d", "c"]
    assert [len(one.entries) for one in ledger_groups([tmp_path])] == [4]
    assert [len(one.entries) for one in ledger_groups([tmp_path / "c", tmp_path / "a"])] == [2]


def test_what_is_no_ledger_is_refused_and_left_alone(tmp_path):
    run(tmp_path / "a", private(privacy={"ledger": "none"}))
    journal = tmp_path / "a" / "journal.sqlite"
    with pytest.raises(TestbenchError, match=f"there is no {tmp_path}/none"):
        ledger_groups([tmp_path / "none"])
    with pytest.raises(LedgerError, match="is no privacy ledger"):
        ledger_groups([journal])
    before = journal.read_bytes()
    with pytest.raises(LedgerError, match="is no privacy ledger"):
        run(tmp_path / "b", hidden(ledger=str(journal)))
    assert journal.read_bytes() == before
    (tmp_path / "text").write_text(
        "not a database, and long enough to be looked at as one by somebody who reads the head of it"
    )
    with pytest.raises(LedgerError, match="cannot be used"):
        run(tmp_path / "b", hidden(ledger=str(tmp_path / "text")))
    # Where nobody named it, a run goes on without, and says so.
    (tmp_path / "deep" / NAME).mkdir(parents=True)
    lines = Lines()
    run(tmp_path / "deep" / "run", hidden(), watcher=lines)
    assert any(line.startswith("warning: what this run spends is added to no other") for line in lines.lines)
    with pytest.raises(LedgerError):
        run(tmp_path / "deep" / "other", hidden(ledger_epsilon=50.0))
    with sqlite3.connect(tmp_path / "newer.sqlite") as db:
        db.execute("PRAGMA application_id = 1883331148")
        db.execute("PRAGMA user_version = 9")
    with pytest.raises(LedgerError, match="has ledger format 9"):
        ledger_groups([tmp_path / "newer.sqlite"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(TestbenchError, match="no run in"):
        ledger_groups([tmp_path / "empty"])


# ---- what lies in the file, and what is said beside results


def test_no_secret_and_no_payload_lies_in_the_ledger(tmp_path):
    secrets: set[bytes] = set()

    class Thief(Watcher):
        def round(self, loss: float, received_snr_db: float | None) -> None:
            secrets.add((tmp_path / "a" / "private" / "noise.key").read_bytes())
            files.update({path.name: path.read_bytes() for path in tmp_path.glob(f"{NAME}*")})

    files: dict[str, bytes] = {}
    run(tmp_path / "a", hidden(), watcher=Thief())
    [secret] = secrets
    tag = (tmp_path / "a" / "private" / "destroyed").read_text().split()[0]
    parts = [*files.values(), (tmp_path / NAME).read_bytes()]
    assert any(rows(tmp_path)[0].noise_sha256.encode() in part for part in parts)
    with Journal(tmp_path / "a" / "journal.sqlite", read_only=True) as journal:
        kept = list(journal.rows())
    numbers = [row.diagnostics["payload_mean"] for row in kept] + [row.estimates[0] for row in kept if row.estimates]
    forms = [secret, secret.hex().encode(), base64.b64encode(secret), tag.encode(), bytes.fromhex(tag)]
    forms += [form for x in numbers for form in (repr(x).encode(), np.float64(x).tobytes(), np.float64(x).byteswap().tobytes())]
    assert [form for form in forms if any(form in part for part in parts)] == []


SWEEP = """
name = "rates"
scenario = "base.toml"
seeds = 2
{more}
[axes]
"zeroth_order.learning_rate" = [1e-4, 2e-4]
"""


def test_a_sweep_over_fixed_seeds_says_what_it_is_worth(tmp_path):
    (tmp_path / "base.toml").write_text(private(federation={"rounds": 3}).to_toml())
    (tmp_path / "sweep.toml").write_text(SWEEP.format(more='runs = "discard"'))
    folder = SweepFolder(tmp_path / "sweep")
    result = run_sweep(load_sweep(str(tmp_path / "sweep.toml"), []), folder, workers=1)
    assert [reason for _, reason in result.failures] == []
    assert result.note == SHARED_SEED
    assert folder.readme.read_text().strip() == SHARED_SEED
    kept = rows(folder.path)  # also of runs that are not kept
    assert len(kept) == 4
    assert len({one.noise_sha256 for one in kept}) == 2
    assert groups_of(kept)[0].total.epsilon == math.inf


def test_comparisons_say_it_too_and_only_where_it_is_true():
    facts = [{"seed": 3, "costs": {"pilot_uses": 0}}]
    assert caption(private(), facts).endswith(SHARED_SEED)
    assert SHARED_SEED not in caption(hidden(), facts)
    assert of_several([hidden(), hidden()]) == ""
    assert of_several([hidden(), private()]) == SHARED_SEED
