"""Plans, audits and figures of privacy from the command line, and the numbers behind them against closed forms."""

import csv
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning.privacy import gdp, paper_bound
from learning.privacy.accountants import find
from learning.privacy.errors import PrivacyError
from learning.privacy.release import Release
from learning.uplink import NoiseFreeUplink
from phy.config import LinkConfig
from phy.link import Link
from testbench.errors import TestbenchError
from testbench.privacy import figures
from testbench.privacy.canaries import plant, score
from testbench.privacy.comparisons import accounting_gap, better_estimates
from testbench.privacy.design import design
from testbench.privacy.membership_run import canary_run, canary_scenario, exposed_scenario, membership, one_run
from testbench.privacy.plan import make_plan, scenario_of
from testbench.privacy.tuning import InProcessAir, tune
from testbench.runner import Watcher, prepare
from testbench.scenario import load
from tests.testbench.test_cli import pairzero


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: pairzero(capsys, monkeypatch, "privacy", *arguments)


def table(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


# Plans -----------------------------------------------------------------------------------------------------------------


def test_what_accounting_is_worth_at_the_papers_constants():
    ways = accounting_gap(5.0, 0.01, 8000, 5, 100.0, 16, 16 / 200)
    assert ways[0].std == pytest.approx(100 * 2 / math.sqrt(2 * paper_bound.r_dp(5, 0.01) / 8000) / 5, rel=1e-9)
    assert [round(way.std, 1) for way in ways] == [2403.5, 2037.1, 127.3, 63.7, 5.2]
    assert ways[-1].gain_db == pytest.approx(20 * math.log10(ways[0].std / ways[-1].std))


@settings(max_examples=50, deadline=None)
@given(st.floats(0.01, 100.0), st.floats(0.1, 10.0))
def test_no_estimate_beats_shrinking_by_the_true_power(noise_std, signal_std):
    errors = {e.label: e.nmse for e in better_estimates(noise_std, 3.0, signal_std)}
    wiener = noise_std**2 / (signal_std**2 + noise_std**2)
    assert errors["plain"] == pytest.approx((noise_std / signal_std) ** 2)
    assert errors["Wiener"] == pytest.approx(wiener)
    assert min(errors.values()) >= wiener * (1 - 1e-9)


def test_nothing_heard_is_worth_nothing():
    errors = {e.label: e.nmse for e in better_estimates(math.inf, 3.0)}
    assert errors["plain"] == math.inf
    assert errors["Wiener"] == 1.0


def test_rows_of_a_plan_against_closed_forms():
    scenario, examples = scenario_of(None, {"federation.rounds": 200, "link.snr_max_db": 30.0})
    report = make_plan(scenario, examples)
    static = report.row("static")
    square = gdp.mu(5.0, 0.01) ** 2
    assert np.square(static.mu).sum() == pytest.approx(square, rel=1e-4)
    assert np.square(static.mu).sum() <= square
    assert static.epsilons["gdp"] == pytest.approx(5.0, rel=1e-3)
    # Delta / mu / K: amplitude and N0 cancel.
    assert static.std == pytest.approx(np.full(200, 200.0 / math.sqrt(square / 200) / 5), rel=1e-4)
    printed = report.row("static, as printed")
    assert printed.epsilons["gdp"] == pytest.approx(gdp.epsilon(math.sqrt(4 * paper_bound.r_dp(5, 0.01)), 0.01), rel=1e-4)
    assert printed.reported == pytest.approx(np.square(printed.mu).sum() / 2, rel=1e-4)
    assert printed.errata
    assert report.row("full power").epsilons["gdp"] > 5.0
    assert report.row("full power").capped.all()
    assert "theorem4, as printed" in report.refusals


def test_the_row_of_a_scenarios_own_schedule_is_the_plan_of_its_run():
    scenario, examples = scenario_of(
        load("demo"), {"privacy.epsilon": 20.0, "privacy.delta": 1e-5, "privacy.schedule": "reversed", "federation.rounds": 64}
    )
    assert np.array_equal(make_plan(scenario, examples).row("reversed").amplitudes, design(scenario, examples).amplitudes)


def test_a_sampled_plan_keeps_its_promise_by_finer_accounting():
    options = {"federation.rounds": 200, "privacy.delta": 1e-5, "link.snr_max_db": 33.0}
    scenario, examples = scenario_of(None, options, 0.05)
    assert examples == 320
    row = make_plan(scenario, examples).row("solution")
    assert 0.95 * 5.0 < row.epsilons["pld"] <= 5.0
    release = Release(row.mu, sampling_rate=0.05, relation="record_add_remove")
    coarser, finer = (find("pld")(levels=levels).epsilon(release, 1e-5) for levels in (24, 100))
    assert 0.95 * 5.0 < finer < row.epsilons["pld"] < coarser


def test_plan_from_the_command_line(run, tmp_path, sharp):
    code, out, err = run("plan", "--rounds", "50", "--snr-max-db", "-5", "--out", "p")
    assert code == 0, err
    for words in ("static, as printed", "What accounting is worth", "erratum: N0 is the variance", "warning: delta = 0.01"):
        assert words in out
    rows = table(tmp_path / "p" / "plan.csv")
    assert {"solution", "reversed", "water-filling (sign)", "solution, as printed"} <= {row["schedule"] for row in rows}
    rounds = table(tmp_path / "p" / "F3.csv")
    assert len(rounds) == 50
    # Under the weakest device's inversion a median says little of the mean square: both are told, and what the latter is worth.
    full = next(row for row in rows if row["schedule"] == "full power")
    std = np.array([float(row["full power: std"]) for row in rounds])
    assert float(full["std_median"]) == pytest.approx(np.median(std), rel=1e-4)
    assert float(full["std_rms"]) == pytest.approx(np.sqrt(np.square(std).mean()), rel=1e-4)
    assert float(full["std_rms"]) > 1.3 * float(full["std_median"])
    words = "fades, is infinite, so that the root mean square of the noise is that of these rounds alone"
    assert words in " ".join(out.split())
    for name in ("F3.png", "F3.pdf", "estimates.png", "estimates.csv"):
        assert (tmp_path / "p" / name).stat().st_size > 0


def test_plan_of_a_sign_scenario(run):
    code, out, err = run("plan", "demo", "--rounds", "40", "--scheme", "sign", "--epsilon", "2", "--out", "p")
    assert code == 0, err
    assert re.search(r"water-filling +\S", out)
    assert "solution" not in out.split("std:")[0]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("plan --epsilon -1", "privacy.epsilon"),
        ("plan --delta 2", "privacy.delta"),
        ("plan --accounting gpd", "'paper', 'gdp', 'pld' or 'renyi'"),
        ("plan --sampling-rate 2", "--sampling-rate is a probability"),
        ("plan --sampling-rate 0.1 --accounting gdp", "Poisson"),
        ("plan demo --set link.channel.model=awgn --set link.csi.estimator=perfect --scheme reed", "set link.channel so"),
        ("plan --signal-std 0", "--signal-std"),
        ("plan --set link.clip=1", "--set overrides a setting of a scenario"),
        ("plan nowhere", "there is no scenario nowhere"),
        ("audit --claim mine", "NAME=EPSILON"),
        ("audit --claim mine=-1", "NAME=EPSILON"),
        ("audit --trials 3", "at least 1 round and 8 trials"),
        ("audit demo --one-run", "zeroth_order.clip_scope"),
        ("audit --membership --canaries 1 --quick", "2 .. 400 canaries"),
        ("figure F9", "there is no figure F9; choose F2, F3, F4, F10"),
    ],
)
def test_bad_input_ends_in_one_sentence(run, arguments, sentence):
    code, _, err = run(*arguments.split())
    assert code == 1
    assert err.startswith("pairzero: ")
    assert err.count("\n") == 1
    assert sentence in err


# The audit at the antennas -----------------------------------------------------------------------------------------------


def test_honest_claims_hold(run, tmp_path):
    code, out, err = run("audit", "--trials", "4000", "--out", "a")
    assert code == 0, err
    rows = table(tmp_path / "a" / "audit-phy.csv")
    assert [row["verdict"] for row in rows] == ["holds"] * 3
    assert 3.0 < float(rows[0]["empirical_lower_bound"]) < 5.0
    assert "confidence 0.95" in out


@pytest.mark.parametrize("how", [("--claim", "mine=1.5"), ("--as-printed", "--trials", "20000")])
def test_an_overclaim_fails_and_says_where(run, how):
    code, _, err = run("audit", "--trials", "4000", *how, "--out", "a")
    assert code == 1
    assert err.count("\n") == 1
    assert re.search(r'the claim "(mine|paper, as printed)" of epsilon = .* at least .* leaks at the antennas', err)


def test_a_records_claim_is_held_against_worlds_that_differ_in_a_record(run, tmp_path):
    code, _, err = run(
        "audit",
        "tight",
        "--trials",
        "3000",
        "--rounds",
        "4",
        "--set",
        "link.snr_max_db=30",
        "--claim",
        "tiny=0.5",
        "--out",
        "a",
    )
    assert code == 1
    rows = {row["claim"]: row for row in table(tmp_path / "a" / "audit-phy.csv")}
    assert rows["gdp"]["verdict"] == "holds"
    assert float(rows["gdp"]["empirical_lower_bound"]) > 2.0
    assert rows["tiny"]["verdict"] == "violated"
    assert "epsilon = 0.5" in err


# Canaries --------------------------------------------------------------------------------------------------------------


def small(*more):
    quick = ("federation.rounds=12", "task.train_examples=60", "task.validation_examples=20", "federation.batch_size=4")
    return load("demo", [*figures._BASE, *quick, "federation.devices=2", "zeroth_order.clip_scope=sample", *more])


def test_coins_are_labels_and_twins_have_them_the_other_way_round():
    data, _ = prepare(small(), Watcher())
    planted = plant(data, 30, 5)
    assert len(set(planted.positions.tolist())) == 30
    assert 5 < planted.included.sum() < 25
    for row, (own, mine, twin) in enumerate(zip(data.train, planted.data.train, planted.twins.train, strict=True)):
        assert own[0] == mine[0] == twin[0]
        place = np.flatnonzero(planted.positions == row)
        assert (mine[1] != own[1]) == bool(place.size and planted.included[place[0]])
        assert (twin[1] != mine[1]) == bool(place.size)
    with pytest.raises(TestbenchError, match="canaries"):
        plant(data, 61, 5)


def test_without_noise_a_lone_canary_is_found_out_every_time():
    scenario = small("federation.devices=1", "federation.batch_size=1", "federation.rounds=20")
    data, build = prepare(scenario, Watcher())
    planted = plant(data, 60, 5)
    done = tune(scenario, planted.data, build(), NoiseFreeUplink())
    found = score(scenario, planted, build(), replace(done, amplitudes=np.ones(20)))
    heard = found.present.any(axis=1) & (found.audible_mu > 0)
    assert heard.sum() > 10
    assert np.array_equal(found.scores[heard] > 0, planted.included[heard])
    assert np.array_equal(found.joint[heard] > 0, planted.included[heard])
    assert not found.scores[~heard].any()
    # Alone in a batch of one, what was received is exactly half the difference away from the undecided mean, and so
    # S_x = (1 / sigma^2) sum (d/2)^2 is the audible mu^2 up to its units.
    sigma_squared = scenario.link.n0 / 2.0
    assert np.square(found.audible_mu) * scenario.link.clip**2 / 4 == pytest.approx(
        found.scores * np.sign(found.scores), rel=1e-4
    )
    assert found.worst_mu(np.full(20, 2 / math.sqrt(sigma_squared))) >= found.audible_mu.max()


def test_audits_of_runs_compare_with_what_was_claimed():
    scenario = small("privacy.epsilon=30", "privacy.delta=1e-5", "privacy.sensitivity=record_replace_one")
    done = [canary_run(scenario, 20)]
    found = one_run(done[0])
    assert set(found.claims) == {"paper", "gdp", "pld", "gdp, batches known"}
    assert found.claims["gdp, batches known"] < found.claims["gdp"] <= 30.0
    assert not found.violated
    attack = membership(done)
    assert attack.members.size + attack.nonmembers.size == 20
    assert attack.mu_known < attack.mu == pytest.approx(gdp.mu(30.0, 1e-5), rel=1e-3)
    assert not attack.violated
    # What a canary's real projections carried is less than what its presence could have.
    assert done[0].scores.audible_mu.max() <= attack.mu_known


def test_audits_of_runs_from_the_command_line(run, tmp_path, sharp):
    sets = [x for s in ("federation.rounds=10", "task.train_examples=60", "task.validation_examples=20") for x in ("--set", s)]
    base = tmp_path / "s.toml"
    base.write_text(canary_scenario(quick=True).to_toml(), encoding="utf-8")
    code, out, err = run("audit", "s.toml", "--one-run", "--membership", "--canaries", "20", "--runs", "2", "--out", "a", *sets)
    assert code == 0, err
    assert "One-run audit: 20 canaries" in out
    assert "Known-candidate attack over 2 runs" in out
    for name in ("audit-one-run.csv", "audit-membership.csv", "membership.png", "membership.csv"):
        assert (tmp_path / "a" / name).stat().st_size > 0


def test_a_one_run_audit_states_every_analysis_with_its_assumption_and_refutes_the_printed_plan(run, tmp_path, sharp):
    base = tmp_path / "s.toml"
    base.write_text(exposed_scenario(990, devices=2).to_toml(), encoding="utf-8")
    sets = [x for s in ("federation.rounds=150", "task.validation_examples=20") for x in ("--set", s)]
    code, out, err = run(
        "audit", "s.toml", "--one-run", "--canaries", "990", "--epsilon", "4", "--as-printed", "--out", "a", *sets
    )
    assert code == 1
    assert 'the claim "paper, as printed" of epsilon = 4' in err
    assert re.search(r"paper, as printed +4 +\S+ +violated", out)
    assert re.search(r"gdp +5\.\d+ +\S+ +holds", out)
    with (tmp_path / "a" / "audit-one-run-limits.csv").open(encoding="utf-8") as file:
        rows = {row["analysis"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["guesses, any mechanism", "guesses, Gaussian claim", "surest guesses", "known coins"]
    assert [row["held_against_claims"] for row in rows.values()] == ["True", "True", "False", "True"]
    assert all(name in out and row["assumption"].split(",")[0] in out for name, row in rows.items())
    limits = [float(row["epsilon_lower_bound"]) for row in rows.values()]
    assert 4.0 < limits[3] < 5.7
    assert max(limits[:2]) < limits[3]


# Short runs and figures ------------------------------------------------------------------------------------------------


def test_the_air_in_process_is_the_link_and_processing_is_of_the_broadcast():
    link = LinkConfig.model_validate({"clip": 8.0, "snr_max_db": 0.0, "air": "numpy"})
    payloads = np.random.default_rng(3).uniform(-8, 8, (6, 4, 1))
    expected = Link(link, 9).aggregate(np.arange(6), payloads).estimates[:, 0]
    plain, clipped = InProcessAir(link, 9), InProcessAir(link, 9, "clip")
    shrunk = InProcessAir(link, 9, "wiener", np.full(6, 1e9))
    for t in range(6):
        assert plain.aggregate(t, payloads[t]).estimate[0] == expected[t]
        assert clipped.aggregate(t, payloads[t]).estimate[0] == np.clip(expected[t], -8, 8)
        assert abs(shrunk.aggregate(t, payloads[t]).estimate[0]) < 1e-6  # noise without end: nothing is believed
        assert clipped.received[t] == shrunk.received[t] == expected[t]
    with pytest.raises(PrivacyError, match="wiener needs"):
        InProcessAir(link, 9, "wiener")


def test_curves_have_a_row_per_seed_and_private_contestants_their_plan():
    quick = ("task.train_examples=40", "task.validation_examples=20", "federation.batch_size=4", "privacy.delta=0.01")
    contestants = [
        figures._Contestant("free", quick, free=True),
        figures._Contestant("private", (*quick, "privacy.epsilon=5"), free=False),
    ]
    told = []
    curves = figures._curves(contestants, 4, 2, 2, lambda what, done, total: told.append((what, done, total)))
    assert told[-1] == ("private", 4, 4)
    for at, accuracy, loss in curves.values():
        assert at.tolist() == [0, 2, 4]
        assert accuracy.shape == loss.shape == (2, 3)
    assert not np.array_equal(curves["free"][2], curves["private"][2])


def test_a_figure_by_one_command(run, tmp_path, sharp):
    code, out, err = run("figure", "f3", "--quick", "--out", "f")
    assert code == 0, err
    for name in ("F3.png", "F3.pdf", "F3.csv"):
        assert (tmp_path / "f" / name).stat().st_size > 0
    assert "F3.png" in out
