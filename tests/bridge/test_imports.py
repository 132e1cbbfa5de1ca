"""Importing the bridge is light: what an edge device or a flowgraph host can afford."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import bridge

SCRIPT = """
import importlib, pkgutil, sys, threading
import bridge
names = [module.name for module in pkgutil.walk_packages(bridge.__path__, "bridge.")]
assert "bridge.client" in names and "bridge.server" in names, names
for name in names:
    importlib.import_module(name)
heavy = {"torch", "sionna", "tensorflow", "transformers", "scipy", "phy", "learning", "testbench", "pickle5"}
print(sorted(heavy & set(sys.modules)), threading.active_count())
"""


def test_no_module_of_the_bridge_brings_in_a_heavy_library() -> None:
    root = str(Path(bridge.__file__).resolve().parent.parent)
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=root, capture_output=True, text=True, check=False, timeout=120)
    assert (done.stdout.strip(), done.returncode) == ("[] 1", 0), done.stderr
