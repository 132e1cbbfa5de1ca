"""The tutorial runs as it is written, at small settings, and shows what it claims."""

import json

import numpy as np
import pytest

from tests.notebooks import execute

NAME = "clock_offsets_in_sionna"
SMALL = {"NOTEBOOK_BATCH": "8", "NOTEBOOK_POINTS": "3"}
RESULTS = """
import json
print(json.dumps({"plain": plain, "zero": zero, "cfo": ber_cfo, "delay": ber_delay, "fault": ber_fault}))
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    text = execute(NAME, tmp_path_factory.mktemp("notebook"), SMALL, RESULTS)
    assert "refused: delay_s reaches" in text
    return json.loads(text.splitlines()[-1])


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
