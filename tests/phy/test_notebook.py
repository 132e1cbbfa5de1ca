"""The tutorial runs as it is written, at small settings, and shows what it claims."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "tutorials" / "clock_offsets_in_sionna.ipynb"
RESULTS = """
import json
print(json.dumps({"plain": plain, "zero": zero, "cfo": ber_cfo, "delay": ber_delay, "fault": ber_fault}))
"""


def code_cells() -> list[str]:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


@pytest.fixture(scope="module")
def results():
    settings = {"NOTEBOOK_BATCH": "8", "NOTEBOOK_POINTS": "3", "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-"],
        input="\n".join([*code_cells(), RESULTS]),
        env={**os.environ, **settings},
        cwd=NOTEBOOK.parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "refused: delay_s reaches" in done.stdout
    return json.loads(done.stdout.splitlines()[-1])


def test_zero_offsets_reproduce_plain_sionna(results):
    assert 0 < results["plain"] < 0.01
    assert results["zero"] == results["plain"]
    assert results["cfo"][0] == results["plain"]
    assert results["delay"][0] == results["plain"]


def test_errors_grow_with_the_offsets(results):
    assert np.all(np.diff(results["cfo"]) > 0)
    assert results["cfo"][-1] > 0.05
    assert np.all(np.diff(results["delay"]) > 0)
    assert results["delay"][-1] > 0.1


def test_hardware_costs_what_it_should(results):
    fault = results["fault"]
    assert fault["converter of 3 bits"] > fault["converter of 12 bits"]
    assert fault["phase noise, 200 Hz at one user"] > results["plain"]


def test_outputs_are_small():
    assert NOTEBOOK.stat().st_size < 100_000
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert all(len(json.dumps(output)) < 50_000 for cell in cells for output in cell.get("outputs", []))
