"""Claims held against an oracle where they are hard to make; ``privacy verify``; and planted faults, which must be found."""

import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from learning.privacy import gdp
from learning.privacy.errors import PrivacyError
from phy.backends import in_process
from phy.link import Link
from testbench.errors import ScenarioError, TestbenchError
from testbench.privacy import charging as charging_module
from testbench.privacy import run_plan
from testbench.privacy.audit_command import audit_phy
from testbench.privacy.design import Design, design
from testbench.privacy.energy_attack import attack_energies
from testbench.privacy.energy_design import energy_design
from testbench.privacy.verify import check_energies, check_plan, verify
from testbench.privacy.verify_command import run_verify
from testbench.run_folder import RunFolder
from testbench.runner import run_scenario
from testbench.scenario import Scenario, build
from tests.testbench.privacy_oracle import Oracle, epsilon_of

DISC = {"placement": {"law": "disc", "radius_m": 100.0, "inner_radius_m": 10.0}}
SHORT = {
    "symbols_per_scalar": 1, "span_symbols": 4, "rolloff": 0.05, "synchronisation": "slot", "preamble_symbols": 0,
}  # fmt: skip


def scenario(**sections: Any) -> Scenario:
    base: dict[str, Any] = {
        "name": "claim", "seed": 1, "task": {"train_examples": 120, "validation_examples": 40},
        "federation": {"devices": 4, "rounds": 30, "batch_size": 4}, "zeroth_order": {"clip": 8.0, "learning_rate": 1e-4},
        "link": {"scheme": "analog", "snr_max_db": 20.0, "power": {"control": "weakest"}},
        "privacy": {"epsilon": 5.0, "delta": 1e-2, "schedule": "static"}, "uplink": {"transport": "inproc"},
        "evaluation": {"every": 100},
    }  # fmt: skip
    return build({k: {**v, **sections.get(k, {})} if isinstance(v, dict) else v for k, v in base.items()}, "test")


def truth(spec: Scenario, made: Design) -> np.ndarray:
    """Epsilon of every device by the oracle."""
    link = Link(in_process(made.link), spec.seed, listener=made.listener)
    oracle = Oracle(spec.plain(), link, made.artificial_noise)
    total = np.sum([oracle.round(t) for t in range(spec.federation.rounds)], axis=0)
    return np.array([epsilon_of(float(np.sqrt(one)), spec.privacy.delta) for one in total])


CLAIMS: dict[str, dict[str, dict[str, Any]]] = {
    "devices that do not align, artificial noise": {
        "link": {"power": {"control": "mse_optimal"}, "channel": DISC, "snr_max_db": -10.0},
        "privacy": {"noise_source": "artificial"},
    },
    "devices that do not align, both noises": {
        "link": {"power": {"control": "mse_optimal"}, "channel": DISC, "snr_max_db": 0.0},
        "privacy": {"noise_source": "both", "adversary_advantage_db": 10.0},
    },
    "a power control of a user's": {
        "link": {"power": {"control": "tests.testbench.uneven_power:Uneven"}}, "privacy": {"noise_source": "artificial"},
    },
    "antennas elsewhere": {"privacy": {"adversary": {"antennas": 3, "channel": "rayleigh"}, "csi_gain": "realised"}},
    "antennas near the devices": {
        "link": {"channel": DISC},
        "privacy": {"adversary": {"antennas": 2, "channel": "same", "distance_m": 60.0}, "csi_gain": "realised"},
    },
    "antennas elsewhere, artificial noise": {
        "privacy": {"adversary": {"antennas": 1, "channel": "rayleigh"}, "csi_gain": "realised", "noise_source": "artificial"},
    },
    "colluders": {"privacy": {"adversary": {"colluders": [0, 2]}, "noise_source": "artificial"}},
    "symbols that overlap, clipped jointly": {
        "zeroth_order": {"directions": 5, "clip_norm": "joint"}, "federation": {"rounds": 3},
        "link": {"fidelity": "waveform", "burst": SHORT},
    },
    "symbols that overlap, clipped each": {
        "zeroth_order": {"directions": 5}, "federation": {"rounds": 3}, "link": {"fidelity": "waveform", "burst": SHORT},
    },
    "a clock that runs slow": {
        "federation": {"rounds": 3},
        "link": {"fidelity": "waveform", "clock": {"sampling_ppm": {"law": "constant", "value": -5000.0}}},
    },
    "echoes": {
        "federation": {"rounds": 6}, "privacy": {"csi_gain": "realised"},
        "link": {"fidelity": "waveform", "channel": {"model": "tdl", "delay_spread_s": 2e-6}},
    },
    "several antennas of the server": {"link": {"receive_antennas": 3}, "privacy": {"csi_gain": "realised"}},
}  # fmt: skip


@pytest.mark.parametrize("case", CLAIMS)
def test_the_claim_is_the_truth_of_the_most_exposed_device(case: str) -> None:
    """Not less, which would be a lie, and not more, which would give utility away: but for what no axis tells."""
    sections = {"federation": {"devices": 4, "rounds": 30, "batch_size": 4}}
    for name, values in CLAIMS[case].items():
        sections[name] = {**sections.get(name, {}), **values} if name == "federation" else values
    if "privacy" in sections:
        sections["privacy"] = {"epsilon": 5.0, "delta": 1e-2, "schedule": "static", **sections["privacy"]}
    spec = scenario(**sections)
    made = design(spec, 30)
    found = truth(spec, made)
    assert made.planned_epsilon == pytest.approx(5.0, rel=1e-3)
    assert found.max() == pytest.approx(5.0, rel=2e-3)
    result = verify(spec, made)
    assert not result.refuted
    assert max(one.epsilon for one in result.devices) == pytest.approx(found.max(), rel=2e-3)
    check_plan(spec, made)


def test_other_peoples_noise_covers_who_stands_beside_them() -> None:
    """Aligned on one axis all noise adds up; an antenna elsewhere separates devices, and colluders know their own."""

    def level(**adversary: Any) -> float:
        privacy = {"epsilon": 5.0, "delta": 1e-2, "schedule": "static", "noise_source": "artificial", "csi_gain": "realised"}
        return float(np.median(design(scenario(privacy={**privacy, "adversary": adversary}), 30).artificial_noise))

    alone, together = level(antennas=4, channel="rayleigh"), level()
    assert alone == pytest.approx(2.0 * together, rel=1e-3)  # sqrt(K) with K = 4
    assert level(colluders=[0, 1, 2]) == pytest.approx(alone, rel=1e-3)
    assert together < level(antennas=1, channel="rayleigh") < alone


# ---- an adversary that is not stated


@pytest.mark.parametrize(
    ("privacy", "sentence"),
    [
        ({"adversary_antennas": 4}, r"does not say which channels lead to them.*privacy\.adversary\.antennas = 3"),
        ({"adversary": {"antennas": 2}}, "no channels to them; set privacy.adversary.channel"),
        ({"adversary": {"antennas": 2, "channel": "rayleigh"}}, 'set privacy.csi_gain to "realised"'),
        ({"adversary": {"colluders": [9]}}, "names device 9 of 4"),
        ({"adversary": {"colluders": [0, 1, 2, 3]}}, "leaves nobody to protect"),
        ({"adversary": {"antennas": 1, "channel": "rayleigh"}, "csi_gain": "tail"}, "the server's; take csi_gain"),
    ],
)
def test_an_adversary_that_is_not_stated_is_refused(privacy: dict[str, Any], sentence: str) -> None:
    with pytest.raises(PrivacyError, match=sentence):
        design(scenario(privacy={"epsilon": 5.0, "delta": 1e-2, **privacy}), 30)


def test_a_device_that_colludes_twice_is_refused() -> None:
    with pytest.raises(ScenarioError, match="names a device twice"):
        scenario(privacy={"epsilon": 5.0, "adversary": {"colluders": [1, 1]}})


# ---- plants: faults in what is charged, which must be found


def plant_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Antennas as so much more SNR: every device is charged the mean energy of all."""
    real = charging_module.Charging.squares

    def squares(self: Any, *arguments: Any, **named: Any) -> np.ndarray:
        found = real(self, *arguments, **named)
        return np.broadcast_to(found.mean(axis=1, keepdims=True), found.shape).copy()

    monkeypatch.setattr(charging_module.Charging, "squares", squares)


def plant_half(monkeypatch: pytest.MonkeyPatch) -> None:
    """N0 where the real axis has N0/2."""
    real = charging_module.Charging.squares
    monkeypatch.setattr(charging_module.Charging, "squares", lambda self, *a, **n: 0.5 * real(self, *a, **n))


def plant_known_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody's noise covers, also that of devices in league with the adversary."""
    real = charging_module._covered
    monkeypatch.setattr(charging_module, "_covered", lambda axes, quiet, level, *rest: real(axes, level, level, *rest))


def plant_orthogonal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Symbols that overlap, charged as if they did not."""
    monkeypatch.setattr(charging_module, "overlap_of", lambda gram, joint: 1.0)


PLANTS: dict[str, tuple[Any, dict[str, dict[str, Any]]]] = {
    "N0/2 forgotten": (plant_half, {}),
    "antennas as SNR": (
        plant_energy, {"privacy": {"adversary": {"antennas": 3, "channel": "rayleigh"}, "csi_gain": "realised"}},
    ),
    "noise that the adversary knows": (
        plant_known_noise, {"privacy": {"adversary": {"colluders": [0, 1, 2]}, "noise_source": "artificial"}},
    ),
    "overlap forgotten": (
        plant_orthogonal,
        {"zeroth_order": {"directions": 5, "clip_norm": "joint"}, "federation": {"devices": 4, "rounds": 3, "batch_size": 4},
         "link": {"fidelity": "waveform", "burst": SHORT}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_fault_is_found_at_planning_time_by_verify_and_by_the_audit(
    plant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault, sections = PLANTS[plant]
    few = {"devices": 4, "rounds": 4, "batch_size": 4}
    privacy = {"epsilon": 5.0, "delta": 1e-2, "schedule": "static", **sections.get("privacy", {})}
    spec = scenario(**{"federation": few, **sections, "privacy": privacy})
    honest = design(spec, 30)
    check_plan(spec, honest)
    held = audit_phy(spec, honest, 4000, {})
    assert not held.violated
    assert held.epsilon_lower > 0.75 * honest.planned_epsilon  # the attack is worth something
    fault(monkeypatch)
    made = design(spec, 30)
    with pytest.raises(PrivacyError, match="is not true of this link"):
        check_plan(spec, made)
    with pytest.raises(PrivacyError, match="is not true of this link"):
        run_plan.plan_run(spec, 30)
    assert verify(spec, made).refuted
    trials = 6000 if spec.link.fidelity == "symbol" else 20_000
    assert audit_phy(spec, made, trials, {}).violated


def test_a_fault_in_some_rounds_alone_is_found() -> None:
    spec = scenario()
    made = design(spec, 30)
    few = made.squares.copy()
    few[11, 2] *= 0.9
    with pytest.raises(PrivacyError, match="device 2 arrives"):
        check_plan(spec, replace(made, squares=few))


# ---- energy detection


def test_energy_detection_is_attacked_and_its_loudness_measured() -> None:
    energies = {
        "link": {"scheme": "reed", "snr_max_db": -8.0},
        "privacy": {"epsilon": 4.0, "delta": 1e-2, "accounting": "renyi"},
    }
    spec = scenario(**energies)
    planned = energy_design(spec, 30)
    check_energies(spec, planned)
    found = attack_energies(spec, planned, 4000)
    assert not found.refuted
    assert 0.2 * found.epsilon < found.at_least < found.epsilon
    assert found.energy == pytest.approx(1.0, abs=5 * found.energy_error)
    # A link that is twice as loud as what was accounted for.
    loud = build({**spec.plain(), "link": {**spec.plain()["link"], "snr_max_db": -5.0}}, "test")
    louder = replace(planned, link=planned.link.model_copy(update={"snr_max_db": -3.0}))
    assert attack_energies(loud, louder, 4000).refuted
    # Antennas of the adversary's own count like the server's.
    own = {"privacy": {**energies["privacy"], "adversary": {"antennas": 3, "channel": "rayleigh"}}}
    more = scenario(**{**energies, **own})
    wide = energy_design(more, 30)
    assert wide.odometer.admitted < planned.odometer.admitted
    assert not attack_energies(more, wide, 2000).refuted
    elsewhere = {"antennas": 1, "channel": "same", "distance_m": 10.0}
    placed = scenario(**{**energies, "privacy": {**energies["privacy"], "adversary": elsewhere}})
    with pytest.raises(PrivacyError, match="independent over antennas"):
        energy_design(placed, 30)


# ---- the command


class Lines:
    """A console that keeps what it is told."""

    is_terminal = False

    def __init__(self) -> None:
        self.text = ""

    def print(self, *what: Any, **how: Any) -> None:
        from rich.console import Console

        console = Console(width=160, file=__import__("io").StringIO())
        console.print(*what, **how)
        self.text += console.file.getvalue()  # type: ignore[attr-defined]


def test_a_scenario_is_verified_by_name_and_what_is_refuted_ends_with_a_sentence(tmp_path: Path) -> None:
    lines = Lines()
    found = run_verify(lines, "tight", ["federation.rounds=20"], tmp_path)  # type: ignore[arg-type]
    assert not found.refuted
    assert "every round computed" in lines.text
    table = (tmp_path / "verify.csv").read_text().splitlines()
    assert table[0].startswith("device,claimed_epsilon,computed_epsilon,margin")
    assert len(table) == 6
    with pytest.raises(TestbenchError, match=r"epsilon = 5 at delta = 0.01 is not true of this link: device \d has 6.4"):
        run_verify(lines, "paper", ["federation.rounds=50"], None)  # type: ignore[arg-type]


def test_a_run_is_verified_from_its_journal_also_one_with_devices_missing(tmp_path: Path) -> None:
    spec = scenario(federation={"devices": 4, "rounds": 12, "batch_size": 4, "faults": {"miss_probability": 0.3}})
    run_scenario(spec, RunFolder(tmp_path / "run"), figures=False)
    lines = Lines()
    found = run_verify(lines, str(tmp_path / "run"), None, None)  # type: ignore[arg-type]
    assert not found.refuted
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert found.epsilon == pytest.approx(summary["epsilon_spent"])
    assert max(one.epsilon for one in found.devices) <= found.epsilon  # type: ignore[union-attr]
    assert found.devices[0].computed_mu < design(spec, 30).release.total_mu  # type: ignore[union-attr]
    with pytest.raises(TestbenchError, match="leave out --set"):
        run_verify(lines, str(tmp_path / "run"), ["seed=2"], None)  # type: ignore[arg-type]
    run_scenario(scenario(privacy={"epsilon": None}), RunFolder(tmp_path / "plain"), figures=False)
    with pytest.raises(TestbenchError, match="claims no privacy"):
        run_verify(lines, str(tmp_path / "plain"), None, None)  # type: ignore[arg-type]


def test_a_run_of_an_earlier_version_says_what_its_claim_was_worth(tmp_path: Path) -> None:
    """Its plan was made by other rules; amplitudes are in the journal, and antennas without channels are taken for some."""
    spec = scenario(privacy={"epsilon": 5.0, "delta": 1e-2, "schedule": "static"})
    folder = RunFolder(tmp_path / "run")
    run_scenario(spec, folder, figures=False)
    text = folder.scenario.read_text().replace("adversary_antennas = 1", "adversary_antennas = 4")
    folder.scenario.write_text(text)
    with sqlite3.connect(folder.journal) as db:
        db.execute("UPDATE meta SET value = '\"0\"' WHERE key = 'privacy_plan_sha256'")
    lines = Lines()
    with pytest.raises(TestbenchError, match=r"epsilon = 5 at delta = 0\.01 is not true of this link"):
        run_verify(lines, str(folder.path), None, None)  # type: ignore[arg-type]
    assert "planned by other rules than today's" in lines.text
    assert "did not say where they are" in lines.text
    # The same amplitudes against an adversary with three antennas of its own, by the oracle.
    stated = scenario(
        privacy={**spec.privacy.model_dump(), "adversary": {"antennas": 3, "channel": "same"}, "csi_gain": "realised"}
    )
    made = design(spec, 30)
    link = Link(in_process(made.link), stated.seed, listener=design(stated, 30).listener)
    oracle = Oracle(stated.plain(), link, 0.0)
    worst = np.sum([oracle.round(t) for t in range(30)], axis=0).max()
    assert f"{epsilon_of(float(np.sqrt(worst)), 0.01):.4g}" in lines.text
    assert gdp.epsilon(float(np.sqrt(worst)), 0.01) > 20.0
