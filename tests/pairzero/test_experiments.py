"""Comparisons, memory, figures and fleets from Python return what the command line prints."""

import threading
from pathlib import Path

import pytest

import pairzero
from testbench.errors import FleetError, TestbenchError

SHORT = {
    "seed": 3, "task.train_examples": 60, "task.validation_examples": 20, "federation.devices": 2, "federation.batch_size": 2,
    "federation.rounds": 2, "uplink.transport": "none", "evaluation.noise_free": False,
}  # fmt: skip


def test_compare_returns_what_each_method_came_to(tmp_path: Path) -> None:
    scenario = pairzero.load("demo", SHORT | {"uplink.transport": "inproc", "link.air": "numpy"})
    facts = pairzero.compare(scenario, tmp_path / "c", methods=["feedsign"], seeds=[1, 2])
    assert [(one["method"], one["seed"]) for one in facts] == [("feedsign", 1), ("feedsign", 2)]
    assert (tmp_path / "c" / "figures" / "convergence.png").is_file()
    with pytest.raises(TestbenchError, match="--resume"):
        pairzero.compare(scenario, tmp_path / "c", methods=["feedsign"])


def test_settings_change_a_loaded_scenario_too(tmp_path: Path) -> None:
    scenario = pairzero.load("demo", SHORT)
    result = pairzero.compare(scenario, tmp_path, methods=["mezo"], settings={"federation.rounds": 1})
    assert result[0]["rounds"] == 1


def test_figures_are_listed_and_drawn_again_only_from_what_is_there(tmp_path: Path) -> None:
    assert len(pairzero.figure()) == 13
    with pytest.raises(TestbenchError, match="lacks what F11 is drawn from"):
        pairzero.figure("F11", tmp_path, redraw=True)
    with pytest.raises(TestbenchError, match="give it as out"):
        pairzero.figure("F11", redraw=True)
    with pytest.raises(TestbenchError, match="there is no figure F99"):
        pairzero.figure("F99", tmp_path)


def test_a_fleet_of_functions_is_a_run(tmp_path: Path) -> None:
    with pytest.raises(FleetError, match="give an address"):
        pairzero.fleet.serve("demo", settings=SHORT)
    address, served = f"ipc://{tmp_path}/f", []
    settings = SHORT | {"federation.devices": 1}
    thread = threading.Thread(
        target=lambda: served.append(pairzero.fleet.serve("demo", address, tmp_path / "r", settings=settings))
    )
    thread.start()
    device = pairzero.device.join(address, patience_s=60.0)
    thread.join(60)
    assert device.next_round == served[0].summary["rounds"] == 2
