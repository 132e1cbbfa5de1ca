"""A machine draws whole scenarios, and an oracle of its own judges what is claimed of them.

PRIVACY_GATE_EXAMPLES=10000 python -m pytest tests/testbench/test_privacy_gate.py runs it for long.
"""

import os
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from learning.errors import LearningError
from phy.backends import in_process
from phy.errors import PhyError
from phy.link import Link
from testbench.errors import ScenarioError, TestbenchError
from testbench.privacy.design import design
from testbench.privacy.energy_design import energy_design
from testbench.privacy.guarding import PlannedCharges
from testbench.privacy.settings import ENERGY_SCHEMES
from testbench.privacy.verify import check_energies, check_plan, verify
from testbench.scenario import build
from tests.testbench.privacy_oracle import Oracle, epsilon_of

EXAMPLES = int(os.environ.get("PRIVACY_GATE_EXAMPLES", "300"))
REFUSED = (LearningError, PhyError, ScenarioError, TestbenchError)
seen: Counter[str] = Counter()


def law(draw: Any, value: float) -> dict[str, Any]:
    return {
        "law": draw(st.sampled_from(["constant", "uniform", "normal"])),
        "value": value * draw(st.floats(0.1, 1.0)),
        "per": draw(st.sampled_from(["round", "device"])),
    }


@st.composite
def scenarios(draw: Any) -> dict[str, Any]:
    """Plain data of a whole scenario: whatever a user may combine, sense or not."""
    pick = lambda *choices: draw(st.sampled_from(choices))  # noqa: E731
    maybe = lambda one_in: draw(st.integers(1, one_in)) == 1  # noqa: E731
    waveform = maybe(4)
    devices = draw(st.integers(1, 4))
    link: dict[str, Any] = {
        "fidelity": "waveform" if waveform else "symbol",
        "scheme": pick("analog", "analog", "analog", "sign", pick(*ENERGY_SCHEMES) if maybe(2) else "sign"),
        "snr_max_db": draw(st.floats(-15.0, 35.0)),
        "receive_antennas": pick(1, 1, 1, 2, 3),
        "combiner": pick("max_min", "equal"),
        "power": {
            "control": pick("weakest", "weakest", "truncated", "mse_optimal", "tests.testbench.uneven_power:Uneven"),
            "threshold": draw(st.floats(0.02, 1.0)),
        },
        "csi": {"estimator": pick("perfect", "perfect", "perfect", "ls", "mmse")},
        "channel": {"model": pick("rayleigh", "rayleigh", "rayleigh", "awgn", "tdl")},
    }
    if maybe(3):
        link["csi"] |= {"pilot_symbols": draw(st.integers(1, 8)), "pilot_snr_db": draw(st.floats(0.0, 30.0))}
    if maybe(4):
        link["csi"]["age_s"] = draw(st.floats(1e-4, 2e-2))
        link[pick("csi", "channel")]["doppler_hz"] = draw(st.floats(1.0, 20.0))
    if maybe(4):
        link["channel"]["placement"] = {"law": "disc", "radius_m": draw(st.floats(30.0, 150.0)), "shadowing_db": pick(0.0, 6.0)}
    if link["csi"]["estimator"] == "mmse":  # which knows Rayleigh fading of mean gain 1
        link["channel"]["placement"] = {"law": "none"}
        link["channel"]["model"] = pick("rayleigh", "tdl")
    if maybe(5):
        link["channel"]["antenna_correlation"] = draw(st.floats(0.0, 0.95))
    if link["channel"]["model"] == "tdl":
        link["channel"] |= {"tdl": pick(*"ABCDE"), "delay_spread_s": 10.0 ** draw(st.floats(-8.0, -6.0))}
    offsets = {
        name: law(draw, size)
        for name, size in (("timing_s", 2e-6), ("phase_rad", 1.5), ("phase_jitter_rad", 0.3), ("frequency_hz", 100.0))
        if maybe(6)
    }
    if offsets:
        link["offsets"] = offsets
    if maybe(8):
        link["clock"] = {"sampling_ppm": law(draw, 1000.0)}
    if waveform:
        link["burst"] = {
            **pick({"synchronisation": "slot", "preamble_symbols": 0}, {"preamble_symbols": 16}), "guard_symbols": pick(16, 24),
            "symbols_per_scalar": pick(1, 2, 4), "span_symbols": pick(4, 8), "rolloff": pick(0.05, 0.2, 0.35, 1.0),
            "pulse": pick("rrc", "rrc", "rect"), "payload": pick("repeated", "long", "spread"),
            "air": pick("emulated", "emulated", "time_channel"),
        }  # fmt: skip
        if maybe(6):
            link["impairments"] = pick({"converter": {}}, {"dc_offset": {}}, {"power_amplifier": {}}, {"iq_imbalance": {}})
    record = pick("client_value", "client_value", "record_replace_one", "record_add_remove")
    privacy: dict[str, Any] = {
        "epsilon": draw(st.floats(0.3, 20.0)), "delta": pick(1e-2, 1e-5), "sensitivity": record,
        "schedule": pick("solution", "static", "reversed", "online", "full_power", "water_filling"),
        "noise_source": pick("receiver", "receiver", "artificial", "both"),
        "accounting": pick("gdp", "gdp", "gdp", "paper", "pld"),
        "csi_gain": pick(*["realised"] * 8, "refuse", "tail"), "adversary_advantage_db": pick(0.0, 0.0, 10.0, -3.0),
    }  # fmt: skip
    if link["scheme"] in ENERGY_SCHEMES and not maybe(4):  # what their accounting covers
        link["channel"] = {"model": "rayleigh"}
        link |= {"fidelity": "symbol", "noncoherent": {"looks": pick(1, 3)}}
        link.pop("burst", None)
        link.pop("impairments", None)
    if link["scheme"] in ENERGY_SCHEMES:
        privacy |= {"accounting": "renyi", "noise_source": "receiver"}
        link["snr_max_db"] = draw(st.floats(-25.0, -5.0))
    if maybe(3):
        privacy["adversary"] = {"antennas": draw(st.integers(1, 4)), "channel": pick("same", "rayleigh")}
        if maybe(3) and link["channel"]["model"] != "tdl":
            privacy["adversary"]["correlation"] = draw(st.floats(0.0, 0.99))
        if maybe(3):
            privacy["adversary"]["distance_m"] = draw(st.floats(0.0, 200.0))
    if devices > 1 and maybe(5):
        privacy.setdefault("adversary", {})["colluders"] = [draw(st.integers(0, devices - 1))]
    sampled = record == "record_add_remove"
    if sampled and maybe(3) and link["scheme"] not in ENERGY_SCHEMES:
        privacy |= {"amplification": True, "accounting": "pld"}
    federation: dict[str, Any] = {
        "devices": devices, "rounds": draw(st.integers(1, 5 if waveform else 12)), "batch_size": pick(2, 8),
        "sampling": "poisson" if sampled else pick("fixed", "poisson"),
    }  # fmt: skip
    if maybe(5):
        federation["faults"] = {"miss_probability": 0.3}
    return {
        "seed": draw(st.integers(0, 10_000)),
        "federation": federation,
        "zeroth_order": {
            "clip": pick(0.5, 8.0, 100.0),
            "directions": 1 if link["channel"]["model"] == "tdl" else pick(1, 1, 1, 2, 3),
            "clip_norm": pick("direction", "joint"),
            "clip_scope": "sample" if record != "client_value" else pick("device", "sample"),
        },
        "link": link,
        "privacy": privacy,
        "fleet": {"bind": "ipc:///tmp/nobody"} if maybe(8) else {},
        "uplink": {"transport": "ipc"},
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(data=scenarios(), presence=st.integers(0, 2**30))
def test_no_claim_of_any_scenario_is_smaller_than_the_truth(data: dict[str, Any], presence: int) -> None:
    try:
        scenario = build(data, "drawn")
        if scenario.link.scheme in ENERGY_SCHEMES:
            check_energies(scenario, energy_design(scenario, 40))
            seen["energy"] += 1
            return
        made = design(scenario, 40)
    except REFUSED as refusal:
        sentence = str(refusal)
    else:
        sentence = ""
    if sentence:
        seen["refused"] += 1
        return
    seen["claimed"] += 1
    check_plan(scenario, made)  # what every run asks before its first round: must not refuse what the oracle admits
    found = verify(scenario, made)
    assert not found.refuted

    plain, rounds, devices = scenario.plain(), scenario.federation.rounds, scenario.federation.devices
    heard = Link(
        in_process(made.link.model_copy(update={"receiver": "matched", "impairments": {}})),
        scenario.seed,
        listener=made.listener,
    )
    oracle = Oracle(plain, heard, made.artificial_noise)
    truth = np.array([oracle.round(t) for t in range(rounds)])
    total = truth.sum(axis=0)
    # The claim, against the oracle's own conversion: exact without sampling, from below with it.
    worst = epsilon_of(float(np.sqrt(total.max())), scenario.privacy.delta)
    told = 3e-4 + oracle.doubt
    if made.sampling_rate is None:
        assert made.epsilon["gdp"] >= worst * (1 - told) - 1e-9
        assert made.planned_epsilon >= worst * (1 - told) - 1e-9
    else:
        # Rounds compose in any order: what is charged is no less than any device's own, both sorted.
        charged, own = np.sort(made.release.mu**2)[:, None], np.sort(truth, axis=0)
        assert (charged >= own * (1 - 2e-3 - oracle.doubt) - 1e-12).all()
    if made.settings.on_budget == "stop" and made.settings.schedule != "full_power":
        assert made.planned_epsilon <= made.settings.epsilon * (1 + 1e-9)
    # What verify computes is the truth, from both sides. (For a receiver without noise, as far as single precision tells.)
    computed = np.zeros(devices)
    for one in found.devices:
        computed[one.device] = one.computed_mu**2
    alike = oracle.doubt + (2e-3 if oracle.variance > 0 else 0.05)
    assert (computed <= total * (1 + alike) + 1e-10).all()
    if oracle.variance > 0:
        assert computed == pytest.approx(total, rel=alike, abs=1e-10)
    # Somebody is missing: costs, added up as the run adds them, stay above the most exposed device's truth.
    charges = PlannedCharges(made, scenario.seed)
    spent, partly = 0.0, np.zeros(devices)
    who = np.random.default_rng(presence)
    for t in range(min(rounds, 4)):
        present = who.random(devices) < 0.7
        if not present.any():
            continue
        if made.sampling_rate is not None and not present.all():
            continue
        spent += charges.bound(t, present) ** 2
        charges.commit(t, present)
        partly += oracle.round(t, present)
    assert spent >= partly.max() * (1 - 2e-3 - oracle.doubt) - 1e-10


def test_the_gate_lets_enough_through() -> None:
    """Scenarios that are refused test nothing: a good share of them must be claimed."""
    if not seen:
        pytest.skip("the gate ran in another process")
    assert seen["claimed"] >= 0.5 * sum(seen.values()), dict(seen)
    assert seen["energy"] >= 0.01 * sum(seen.values()), dict(seen)
