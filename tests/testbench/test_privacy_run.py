"""Privacy of whole runs: the plan against closed forms and attacks, the journal against the accountant, and what is refused."""

import json
import math
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

import testbench.privacy.guarding as guarding
import testbench.uplinks as uplinks
from learning.errors import JournalError
from learning.federation import Federation
from learning.journal import Journal
from learning.privacy import gdp, paper_bound
from learning.privacy.accountants import find as find_accountant
from learning.privacy.energy import EnergyRound
from learning.privacy.errors import PrivacyError
from phy.link import Link
from testbench.errors import RunFolderError, ScenarioError, TestbenchError
from testbench.privacy.design import Design, design
from testbench.privacy.guarding import guard_of
from testbench.privacy.phy_audit import Worlds, phy_audit
from testbench.privacy.reporting import KEYS
from testbench.privacy.run_plan import plan_run
from testbench.run_folder import RunFolder
from testbench.runner import RunResult, Watcher, prepare, run_scenario
from testbench.scenario import Scenario, build, load

BASE: dict[str, Any] = {
    "name": "private",
    "seed": 3,
    "task": {"name": "embedded", "train_examples": 120, "validation_examples": 40},
    "federation": {"devices": 3, "batch_size": 4, "rounds": 12},
    "zeroth_order": {"learning_rate": 2e-4, "clip": 8.0},
    "link": {"snr_max_db": 20.0},
    "privacy": {"epsilon": 4.0, "delta": 1e-3},
    "uplink": {"transport": "inproc"},
    "evaluation": {"every": 100},
}
ROUGH = {"csi": {"estimator": "ls", "pilot_snr_db": 10.0}, "power": {"control": "truncated"}}
ENERGY = {"link": {"scheme": "reed", "snr_max_db": -20.0}, "privacy": {"accounting": "renyi"}}
RECORDS = {
    "federation": {"sampling": "poisson"},
    "zeroth_order": {"clip_scope": "sample"},
    "privacy": {"sensitivity": "record_add_remove", "amplification": True, "accounting": "pld", "schedule": "static"},
}


def run_quietly(*arguments: Any, **options: Any) -> RunResult:
    """A run without its figures and report, which take longer than its rounds."""
    return run_scenario(*arguments, figures=False, **options)


def private(**sections: Any) -> Scenario:
    merged = {key: {**value, **sections.get(key, {})} if isinstance(value, dict) else value for key, value in BASE.items()}
    return build(merged, "test")


def planned(examples: int = 40, **sections: Any) -> Design:
    return design(private(**sections), examples)


def rows(folder: Path) -> list[tuple[float | None, dict[str, float]]]:
    with sqlite3.connect(f"file:{folder / 'journal.sqlite'}?mode=ro", uri=True) as db:
        kept = db.execute("SELECT estimate, diagnostics FROM rounds ORDER BY round").fetchall()
    return [(estimate, json.loads(text)) for estimate, text in kept]


def swing(link: Link, device: int) -> np.ndarray:
    """What arrives of a device's unit symbol in rounds 0 .. 11 of a link with one antenna, by the link itself."""
    up = np.zeros((12, 3, 1))
    up[:, device] = link.config.clip
    return np.asarray((link.observe(np.arange(12), up) - link.observe(np.arange(12), -up))[:, 0] / 2)


class Stop(Watcher):
    def __init__(self, after: int) -> None:
        self.left = after
        self.lines: list[str] = []
        self.spendings: list[float] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def spent(self, epsilon: float) -> None:
        self.spendings.append(epsilon)

    def round(self, loss: float, received_snr_db: float | None) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


# ---- the plan


def test_the_papers_own_numbers_come_out_of_the_papers_own_settings():
    paper = load("paper")
    settings_ = {**paper.plain(), "privacy": {**paper.plain()["privacy"], "as_printed": False}}
    made = design(build(settings_, "test"), 200)
    # Reference: clip 100, K = 5, as N0 cancels: 46 500, 6 290 and 849 in rounds 1, 4000 and T; here the clip is 8.
    assert made.estimate_std[[0, 3999, 7999]] * 12.5 == pytest.approx([46_500, 6_290, 849], rel=4e-3)
    assert made.planned_epsilon == pytest.approx(5.0, rel=1e-4)
    assert made.epsilon["gdp"] == pytest.approx(3.98, abs=0.01)
    printed = design(paper, 200)
    assert printed.planned_epsilon == pytest.approx(5.0, rel=1e-4)
    # What it truly costs, with N0/2: twice the sum of mu^2.
    assert printed.epsilon["gdp"] == pytest.approx(gdp.epsilon(math.sqrt(4 * paper_bound.r_dp(5, 0.01)), 0.01), rel=1e-4)
    assert any("N0 / 2" in sentence for sentence in printed.statement)
    assert any("exceeds 1/n = 0.001 for n = 1000" in note for note in printed.notes)


def test_the_plan_meets_the_budget_from_below_and_keeps_power():
    made = planned()
    assert made.planned_epsilon == pytest.approx(4.0, rel=1e-4)
    assert made.planned_epsilon <= 4.0
    assert np.all(made.amplitudes <= made.sounding.caps)
    # mu_t^2 = (2 a)^2 / (N0/2) with nothing between device and server.
    assert made.mu == pytest.approx(2 * made.amplitudes / math.sqrt(0.005), rel=1e-5)
    assert made.epsilon["gdp"] < made.epsilon["paper"]
    assert made.epsilon["pld"] == made.epsilon["gdp"]


def test_an_adversary_of_more_snr_costs_as_many_decibels():
    near, far = planned(), planned(privacy={"adversary_advantage_db": 10.0})
    assert 20 * np.log10(near.amplitudes / far.amplitudes) == pytest.approx(10, abs=1e-4)
    assert far.mu == pytest.approx(near.mu, rel=1e-5)
    assert far.link.power.caps == tuple(far.amplitudes.tolist())


def test_artificial_noise_protects_from_any_receiver():
    made = planned(privacy={"noise_source": "artificial", "adversary_advantage_db": 60.0})
    # All K devices add noise on one axis, so mu_t = 2 / (s_t sqrt K) whatever the amplitude.
    assert made.mu == pytest.approx(2 / (made.artificial_noise * math.sqrt(3)), rel=1e-6)  # levels are float32
    power = np.square(made.amplitudes) * (1 + np.square(made.artificial_noise))
    assert power == pytest.approx(np.square(made.sounding.caps), rel=1e-9)
    assert made.link.power.artificial_noise == tuple(made.artificial_noise.tolist())
    # With faults or estimated channels only a device's own noise is sure to cover it.
    alone = planned(privacy={"noise_source": "artificial"}, federation={"faults": {"miss_probability": 0.2}})
    assert alone.mu == pytest.approx(2 / alone.artificial_noise, rel=1e-9)
    both = planned(privacy={"noise_source": "both", "adversary_advantage_db": 20.0})
    receiver = planned(privacy={"adversary_advantage_db": 20.0})
    assert np.median(both.estimate_std) < 0.5 * np.median(receiver.estimate_std)
    assert both.planned_epsilon <= 4.0
    assert not planned(privacy={"noise_source": "both"}).artificial_noise.any()  # no better receiver: it cannot help


def test_artificial_noise_follows_the_schedule():
    """Its solution is the best of all ways to spread the budget over the rounds: scipy's optimiser finds no better one."""
    made = planned(privacy={"noise_source": "artificial", "contraction": 0.8}, link={"snr_max_db": 3.0})
    weights = 0.8 ** np.arange(12)[::-1]
    budget, n0 = float(np.square(made.mu).sum()), made.link.n0

    def cost(log_share: np.ndarray) -> float:
        mu = np.sqrt(np.exp(log_share) / np.exp(log_share).sum() * budget)
        noise = 2 / (mu * math.sqrt(3))
        amplitude_square = np.square(made.sounding.caps) / (1 + np.square(noise))
        return float(weights @ (n0 / 2 / amplitude_square + 3 * np.square(noise))) / 9 * 64

    ours = float(weights @ np.square(made.estimate_std))
    assert cost(np.log(np.square(made.mu))) == pytest.approx(ours, rel=1e-6)
    assert ours <= minimize(cost, np.zeros(12)).fun * (1 + 1e-4)
    assert made.mu[-1] > 1.5 * made.mu[0]
    static = planned(privacy={"noise_source": "artificial", "schedule": "static"})
    assert static.link.power.artificial_noise == pytest.approx(static.artificial_noise[0])
    full = planned(privacy={"noise_source": "artificial", "schedule": "full_power"})
    assert full.mu == pytest.approx(static.mu, rel=1e-9)
    assert any("all rounds cost alike" in note for note in full.notes)
    # Silent rounds stay silent.
    filled = planned(link={"scheme": "sign"}, privacy={"noise_source": "artificial", "schedule": "water_filling"})
    assert np.array_equal(filled.amplitudes > 0, filled.mu > 0)


def test_the_loudest_plan_of_sampled_records_is_certified_and_close_to_its_budget():
    made = planned(examples=400, **RECORDS)
    assert made.sampling_rate == 0.01
    assert 4.0 * 0.99 < made.planned_epsilon <= 4.0
    assert find_accountant("pld")().epsilon(made.charged, 1e-3) == made.planned_epsilon
    assert set(made.refusals) == {"gdp", "paper"}
    assert made.sensitivity.ratio == 0.25
    uneven = design(private(**RECORDS), [400, 40, 80])
    assert uneven.sampling_rate == 0.1  # the record that is sampled most often


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"link": {"csi": {"estimator": "mmse", "pilot_snr_db": 10.0}}, "privacy": {"csi_gain": "realised"}},
        {"link": {"receive_antennas": 3}, "privacy": {"csi_gain": "realised"}},
        {"privacy": {"noise_source": "artificial"}},
        {"privacy": {"noise_source": "both", "adversary_advantage_db": 20.0}},
        {
            "link": {"csi": {"estimator": "ls", "age_s": 0.01, "doppler_hz": 10.0}},
            "privacy": {"csi_gain": "realised", "noise_source": "artificial"},
        },
    ],
)
def test_no_attack_at_the_antennas_can_find_more_than_is_charged(changes):
    """The audit's mu comes from noise-free runs of the real chain, and shares no formula with the plan."""
    made = planned(**changes)
    gain = made.settings.adversary_advantage_db
    for device in range(3):
        audit = phy_audit(made.link, 3, 12, 8, 1e-3, {}, worlds=Worlds(3, device=device), advantage_db=gain)
        assert audit.signal_mu <= made.release.total_mu * (1 + 1e-6)
        if made.charging.csi == "perfect" and made.settings.noise_source == "receiver":
            assert audit.signal_mu == pytest.approx(made.release.total_mu, rel=1e-4)


def test_gains_above_one_are_refused_realised_or_bounded():
    with pytest.raises(PrivacyError, match=r"privacy\.csi_gain"):
        planned(link=ROUGH)
    with pytest.raises(PrivacyError, match=r"privacy\.csi_gain"):
        planned(link={"receive_antennas": 2})
    realised = planned(link=ROUGH, privacy={"csi_gain": "realised"})
    assert np.median(realised.sounding.excess) > 1.0
    assert realised.planned_epsilon == pytest.approx(4.0, rel=1e-4)
    tail = planned(link=ROUGH, privacy={"csi_gain": "tail"})
    assert tail.charging.g_max > 1.0
    assert tail.release.extra_delta == pytest.approx(1e-4, rel=1e-3)
    assert tail.planned_epsilon <= 4.0
    # Announced without knowledge of this run's channels, so never louder than what was planned in hindsight.
    assert tail.amplitudes.max() < realised.amplitudes.max()
    with pytest.raises(PrivacyError, match="has a closed form for"):
        planned(link={"receive_antennas": 2}, privacy={"csi_gain": "tail"})


# ---- the run


def test_a_private_run_accounts_for_every_round_and_resumes_bit_for_bit(tmp_path):
    scenario = private(link=ROUGH, privacy={"csi_gain": "realised", "estimate": "wiener"})
    lines = Stop(0)
    whole = run_quietly(scenario, RunFolder(tmp_path / "whole"), watcher=lines).summary
    kept = rows(tmp_path / "whole")
    assert len(kept) == 12
    # Every device has a sum of its own, and the run has spent that of the most exposed one so far.
    link = Link(design(scenario, 40).link, scenario.seed)
    energy = [np.square(np.abs(swing(link, device))) for device in range(3)]
    for t, (_, d) in enumerate(kept):
        expected = gdp.epsilon(2 * math.sqrt(max(e[: t + 1].sum() for e in energy) / 0.005), 1e-3)
        assert d["epsilon_spent"] == pytest.approx(expected, rel=2e-5)
    assert whole["epsilon_spent"] == kept[-1][1]["epsilon_spent"] <= 4.0
    assert whole["epsilon_spent"] > 3.99
    assert whole["epsilon_gdp"] == pytest.approx(whole["epsilon_spent"], rel=1e-5)  # announced a little dearer
    assert lines.spendings == [d["epsilon_spent"] for _, d in kept]
    assert all(abs(estimate) <= 8.0 for estimate, _ in kept if estimate is not None)
    assert any(estimate != d["raw_estimate"] for estimate, d in kept)
    assert load(tmp_path / "whole" / "scenario.toml") == scenario  # the plan is derived, and not in it
    with pytest.raises(KeyboardInterrupt):
        run_quietly(scenario, RunFolder(tmp_path / "cut"), watcher=Stop(5))
    resumed = run_quietly(scenario, RunFolder(tmp_path / "cut"), resume=True).summary
    assert rows(tmp_path / "cut") == kept
    for key in (*KEYS, "weights_sha256"):
        assert resumed[key] == whole[key]
    longer = private(link=ROUGH, privacy={"csi_gain": "realised", "estimate": "wiener"}, federation={"rounds": 13})
    with pytest.raises(RunFolderError, match=r"spreads its privacy over 12 rounds.*federation\.rounds=12"):
        run_quietly(longer, RunFolder(tmp_path / "cut"), resume=True)
    assert load(tmp_path / "cut" / "scenario.toml") == scenario


def test_the_page_names_every_key():
    page = (Path(__file__).resolve().parents[2] / "docs" / "run-folder.md").read_text()
    assert [key for key in KEYS if f"`{key}`" not in page] == []


def test_without_privacy_nothing_changes(tmp_path):
    scenario = build({key: value for key, value in BASE.items() if key != "privacy"}, "test")
    summary = run_quietly(scenario, RunFolder(tmp_path / "run")).summary
    assert all(summary[key] is None for key in KEYS)
    with sqlite3.connect(tmp_path / "run" / "journal.sqlite") as db:
        meta = {key for (key,) in db.execute("SELECT key FROM meta")}
    assert not meta & {"sampling", "planned_rounds", "privacy_plan_sha256", "privacy_estimate", "privacy"}
    assert not any({"epsilon_spent", "privacy_mu", "raw_estimate"} & d.keys() for _, d in rows(tmp_path / "run"))
    data, make = prepare(scenario, Watcher())
    parts: Any = (make(), data, scenario.federation, scenario.zeroth_order, None)
    with (
        Journal(tmp_path / "run" / "journal.sqlite") as journal,
        pytest.raises(JournalError, match="planned_rounds"),  # nor can it be switched on half way
    ):
        Federation(*parts, journal, guard_of(planned(), 3))


LOUD = {"schedule": "full_power", "epsilon": 600.0}


def test_the_filter_stops_before_the_budget_and_ignore_only_counts(tmp_path):
    lines = Stop(0)
    stopped = run_quietly(private(privacy=LOUD), RunFolder(tmp_path / "stop"), watcher=lines).summary
    kept = rows(tmp_path / "stop")
    assert 0 < stopped["privacy_stopped_at_round"] == len(kept) < 12
    assert stopped["epsilon_spent"] <= 600.0 < stopped["epsilon_planned"]
    assert any("stops the run before round" in line for line in lines.lines)
    gains = planned(privacy=LOUD).mu[: len(kept) + 1]
    assert gdp.epsilon(float(np.sqrt(np.square(gains).sum())), 1e-3) > 600.0  # one more would have passed
    again = run_quietly(private(privacy=LOUD), RunFolder(tmp_path / "stop"), resume=True).summary
    assert again["weights_sha256"] == stopped["weights_sha256"]
    ignored = run_quietly(private(privacy={**LOUD, "on_budget": "ignore"}), RunFolder(tmp_path / "ignore")).summary
    assert ignored["rounds"] == 12
    assert ignored["privacy_stopped_at_round"] is None
    assert ignored["epsilon_spent"] == pytest.approx(ignored["epsilon_planned"], rel=1e-4)
    assert rows(tmp_path / "ignore")[: len(kept)] == kept


FAULTS = {"miss_probability": 0.3, "late_probability": 0.2, "late_rounds": 2}


@settings(max_examples=12, deadline=None)
@given(
    epsilon=st.floats(0.5, 100.0),
    schedule=st.sampled_from(["solution", "static", "reversed", "online", "full_power"]),
    noise=st.sampled_from(["receiver", "artificial", "both"]),
    advantage=st.sampled_from([0.0, 15.0]),
    antennas=st.sampled_from([1, 3]),
    control=st.sampled_from(["weakest", "truncated", "mse_optimal"]),
    estimator=st.sampled_from(["perfect", "ls"]),
    margin=st.sampled_from([None, 1.0]),
    faulty=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_no_run_passes_its_budget(
    tmp_path_factory, epsilon, schedule, noise, advantage, antennas, control, estimator, margin, faulty, seed
):
    folder = tmp_path_factory.mktemp("budget")
    data = private(
        federation={"faults": FAULTS if faulty else {}},
        link={"receive_antennas": antennas, "csi": {"estimator": estimator}, "power": {"control": control}},
        privacy={
            "epsilon": epsilon,
            "schedule": schedule,
            "noise_source": noise,
            "adversary_advantage_db": advantage,
            "csi_gain": "realised",
            "gain_margin": margin,
        },
    ).plain()
    summary = run_quietly(build({**data, "seed": seed}, "test"), RunFolder(folder / "run")).summary
    assert summary["epsilon_spent"] <= epsilon
    assert summary["epsilon_gdp"] <= epsilon * (1 + 1e-9)


def test_sampled_records_run_and_resume(tmp_path, monkeypatch):
    monkeypatch.setattr(guarding, "_REFRESHES", 1)  # epsilon of sampled rounds takes seconds
    scenario = private(**RECORDS)
    summary = run_quietly(scenario, RunFolder(tmp_path / "run")).summary
    assert summary["rounds"] == 12
    assert summary["epsilon_spent"] <= 4.0
    assert summary["epsilon_spent"] == pytest.approx(summary["epsilon_planned"], rel=1e-3)
    assert summary["sampling_rate"] == pytest.approx(0.1)
    with pytest.raises(KeyboardInterrupt):
        run_quietly(scenario, RunFolder(tmp_path / "cut"), watcher=Stop(7))
    run_quietly(scenario, RunFolder(tmp_path / "cut"), resume=True)
    assert rows(tmp_path / "cut") == rows(tmp_path / "run")


def test_bursts_are_charged_as_their_symbols(tmp_path):
    link = {"fidelity": "waveform"}
    summary = run_quietly(private(link=link, federation={"rounds": 4}), RunFolder(tmp_path)).summary
    assert summary["epsilon_spent"] == pytest.approx(4.0, rel=1e-4)
    assert summary["epsilon_spent"] <= 4.0


def test_a_schedule_too_long_for_one_message_gives_the_same_bits(tmp_path, monkeypatch):
    run_quietly(private(), RunFolder(tmp_path / "one"))
    monkeypatch.setattr(uplinks, "_AMPLITUDE_BYTES", 10)
    monkeypatch.setattr(uplinks, "_HEADER_BYTES", 70)
    with pytest.raises(ScenarioError, match="a schedule can have"):
        run_quietly(private(), RunFolder(tmp_path / "none"))
    monkeypatch.setattr(uplinks, "_LEAST_TOLD", 1)
    run_quietly(private(), RunFolder(tmp_path / "pieces"))
    assert rows(tmp_path / "pieces") == rows(tmp_path / "one")


# ---- bad input


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"privacy": {"epsilon": 0.0}}, "privacy.epsilon: input should be greater than 0"),
        ({"privacy": {"delta": 1.0}}, "privacy.delta: input should be less than 1"),
        ({"privacy": {"epsilom": 1.0}}, r"no setting privacy.epsilom; did you mean privacy.epsilon\?"),
        ({"privacy": {"schedule": "solutoin"}}, r'no schedule "solutoin"; did you mean solution\?'),
        ({"privacy": {"schedule": "perfect"}}, 'set uplink.transport "none"'),
        ({"privacy": {"amplification": True}}, "does not hide a client's value"),
        ({"privacy": {"amplification": True, "sensitivity": "record_add_remove"}}, 'take accounting "pld"'),
        (
            {
                **RECORDS,
                "federation": {"sampling": "fixed"},
                "privacy": {**RECORDS["privacy"], "sensitivity": "record_replace_one"},
            },
            "batches of fixed size amplify nothing",
        ),
        ({**RECORDS, "federation": {"sampling": "fixed"}}, "another record takes the place"),
        ({**RECORDS, "zeroth_order": {"clip_scope": "device"}}, 'zeroth_order.clip_scope "sample"'),
        ({"link": {"scheme": "reed"}}, 'counts shifts of a mean, and "reed" shifts variances; take "renyi"'),
        ({"privacy": {"accounting": "renyi"}}, 'for the scheme "analog" take "gdp" or "pld"'),
        ({"link": {"scheme": "digital"}}, 'nobody can count what the scheme "digital" releases'),
        ({**ENERGY, "privacy": {"accounting": "renyi", "estimate": "wiener"}}, 'take estimate "clip"'),
        ({**ENERGY, "privacy": {"accounting": "renyi", "noise_source": "both"}}, 'set noise_source "receiver"'),
        ({"uplink": {"transport": "none"}}, "no noise to protect"),
        ({"link": {"power": {"caps": [1.0]}}}, "follow from"),
        ({"privacy": {"estimate": "wiener"}, "link": {"scheme": "sign", "decision": "hard"}}, "nothing to shrink"),
        ({"privacy": {"as_printed": True, "noise_source": "both"}}, "has no artificial noise"),
    ],
)
def test_what_cannot_be_promised_is_refused_in_one_sentence(changes, sentence):
    with pytest.raises(ScenarioError, match=sentence) as caught:
        private(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "examples", "sentence"),
    [
        (
            {"privacy": {"sensitivity": "record_replace_one"}, "zeroth_order": {"clip_scope": "sample"}},
            3,
            "lower federation.batch_size to at most 3",
        ),
        (
            {**RECORDS, "privacy": {**RECORDS["privacy"], "sensitivity": "record_replace_one"}},
            40,
            "take relation record_add_remove",
        ),
        ({"privacy": {"schedule_settings": {"sign_eror": 0.1}}}, 40, "its settings are"),
        (
            {"privacy": {"schedule": "theorem4"}, "link": {"scheme": "sign"}, "federation": {"rounds": 5000}},
            40,
            "water_filling",
        ),
        (
            {"link": {"fidelity": "waveform", "impairments": {"iq_imbalance": {"gain_db": {"law": "constant", "value": 1.0}}}}},
            40,
            "impairments.iq_imbalance changes",
        ),
    ],
)
def test_what_no_plan_can_promise_is_refused_in_one_sentence(changes, examples, sentence):
    with pytest.raises(PrivacyError, match=sentence) as caught:
        planned(examples, **changes)
    assert "\n" not in str(caught.value)


# ---- energy detection


def test_a_run_of_energy_detection_counts_stops_and_resumes(tmp_path):
    """The journal's epsilon is the accountant's; the run ends before the round that would pass, also when it is resumed."""
    one = EnergyRound("reed", 100.0)
    scenario = private(**{**ENERGY, "privacy": {"accounting": "renyi", "epsilon": one.epsilon(7, 1e-3) * 1.001}})
    lines = Stop(0)
    summary = run_quietly(scenario, RunFolder(tmp_path / "whole"), watcher=lines).summary
    kept = rows(tmp_path / "whole")
    assert [d["epsilon_spent"] for _, d in kept] == pytest.approx([one.epsilon(t + 1, 1e-3) for t in range(7)], rel=1e-9)
    assert summary["privacy_stopped_at_round"] == 7
    assert summary["epsilon_spent"] == pytest.approx(one.epsilon(7, 1e-3), rel=1e-9)
    assert summary["accounting"] == "renyi"
    assert summary["epsilon_gdp"] is None
    assert any("the budget admits 7 of 12 rounds" in line for line in lines.lines)
    with pytest.raises(KeyboardInterrupt):
        run_quietly(scenario, RunFolder(tmp_path / "cut"), watcher=Stop(3))
    run_quietly(scenario, RunFolder(tmp_path / "cut"), resume=True)
    assert rows(tmp_path / "cut") == kept


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fidelity": "waveform"}, "preamble tells how it fades"),
        ({"channel": {"model": "awgn"}}, "accounted for Rayleigh fading"),
        ({"snr_max_db": 30.0}, "a single round of reed spends"),
    ],
)
def test_energies_that_nobody_can_count_are_refused(changes, words):
    scenario = private(link={"scheme": "reed", "snr_max_db": -20.0, **changes}, privacy={"accounting": "renyi"})
    with pytest.raises((PrivacyError, TestbenchError), match=words):
        plan_run(scenario, 40)


def test_records_and_directions_of_energy_detection_are_charged_for():
    record = {"zeroth_order": {"clip_scope": "sample"}}
    whole = plan_run(private(**ENERGY), 40)
    few = {**ENERGY, "privacy": {"accounting": "renyi", "sensitivity": "record_replace_one"}}
    one_record = plan_run(private(**few, **record), 40)
    assert one_record.odometer.after(12) < 0.7 * whole.odometer.after(12)  # 2 / b = 1/2 of the energy
    several = plan_run(private(**ENERGY, zeroth_order={"directions": 3}), 40)
    expected = EnergyRound("reed", 100.0, scalars=3, sensitivity_ratio=2 * math.sqrt(3)).epsilon(12, 1e-3)
    assert several.odometer.after(12) == expected > whole.odometer.after(12)


# ---- several directions


def test_a_run_of_several_directions_charges_each_round_once_and_resumes(tmp_path):
    step = {"directions": 3, "clip_norm": "joint"}
    scenario = private(zeroth_order=step, privacy={"estimate": "wiener"})
    plain = planned()
    made = design(scenario, 40)
    assert made.mu == pytest.approx(plain.mu, rel=1e-9)  # as private as one direction, and as loud
    assert design(private(zeroth_order={"directions": 3}), 40).amplitudes == pytest.approx(
        plain.amplitudes / math.sqrt(3), rel=1e-5
    )
    summary = run_quietly(scenario, RunFolder(tmp_path / "whole")).summary
    assert summary["epsilon_spent"] == pytest.approx(4.0, rel=1e-3)
    assert summary["directions"] == 3
    kept = rows(tmp_path / "whole")
    for _, d in kept:
        assert {"raw_estimate", "raw_estimate_1", "raw_estimate_2"} <= set(d)
    with pytest.raises(KeyboardInterrupt):
        run_quietly(scenario, RunFolder(tmp_path / "cut"), watcher=Stop(5))
    again = run_quietly(scenario, RunFolder(tmp_path / "cut"), resume=True).summary
    assert again["weights_sha256"] == summary["weights_sha256"]
    assert rows(tmp_path / "cut") == kept
    with pytest.raises(PrivacyError, match="run into each other"):
        design(private(zeroth_order=step, link={"channel": {"model": "tdl"}}), 40)
    offsets = {"timing_s": {"law": "constant", "value": 1e-6}}
    late = {"fidelity": "waveform", "burst": {"air": "time_channel"}, "offsets": offsets}
    with pytest.raises(PrivacyError, match="distorts late bursts"):
        design(private(zeroth_order=step, link=late), 40)
    assert design(private(zeroth_order=step, link={**late, "burst": {"air": "emulated"}}), 40).mu.any()
