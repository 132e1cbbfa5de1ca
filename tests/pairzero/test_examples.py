"""Examples in docstrings run, and print what they show."""

import doctest
import importlib
import pkgutil
import subprocess
import sys

import pytest

import bridge
import learning
import pairzero
import phy
import testbench
from tests.testbench.test_run import ROOT, environment

# Programs that GNU Radio's own Python runs, and benchmarks, are no modules to import here.
LEFT_OUT = ("testbench.flowgraphs", "testbench.benchmarks", "learning.embedded.pretrain")


def with_examples() -> list[str]:
    names = []
    for package in (pairzero, phy, learning, bridge, testbench):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.startswith(LEFT_OUT):
                names.append(module.name)
    files = {name: ROOT / (name.replace(".", "/") + ".py") for name in names}
    return ["pairzero", *(name for name, file in files.items() if file.is_file() and ">>> " in file.read_text())]


@pytest.mark.parametrize("name", with_examples())
def test_docstring_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 0
    assert result.failed == 0


def test_importing_the_package_is_light():
    heavy = "{'numpy', 'torch', 'zmq', 'pydantic', 'rich', 'typer', 'tomlkit', 'testbench', 'phy', 'learning'}"
    done = subprocess.run(
        [sys.executable, "-c", f"import pairzero, sys; print(sorted({heavy} & set(sys.modules)))"],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout == "[]\n"


def test_every_command_has_a_function_of_its_name():
    import typer.main

    from testbench.cli import app

    root = typer.main.get_command(app)
    for name, command in root.commands.items():
        place = getattr(pairzero, name.replace("-", "_"))
        assert callable(place) != hasattr(command, "commands"), name
        for inner in getattr(command, "commands", ()):
            known = getattr(place, inner.replace("-", "_") + "_" * (inner == "import"))
            assert callable(known), (name, inner)


def test_a_name_that_is_no_command():
    for place in (pairzero, pairzero.capture, pairzero.air):
        with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
            _ = place.nothing
    assert pairzero.capture.export.__doc__.startswith("Write one device's channel")


def test_a_value_that_no_file_can_hold():
    from testbench.errors import ScenarioError

    with pytest.raises(ScenarioError, match=r"link\.csi cannot be"):
        pairzero.load("demo", {"link.csi": object()})


def test_comparing_names_what_differs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    short = {"federation.rounds": 1, "uplink.transport": "none", "evaluation.noise_free": False, "task.validation_examples": 20}
    pairzero.run("demo", "a", settings=short)
    pairzero.run("demo", "b", settings={**short, "zeroth_order.learning_rate": 0.001})
    found = pairzero.differences("a", "b")
    assert found["zeroth_order.learning_rate"] == {"a": 0.0002, "b": 0.001}
    assert "weights_sha256" in found
    assert "federation.devices" not in found
    assert pairzero.read("a").rounds == 1
