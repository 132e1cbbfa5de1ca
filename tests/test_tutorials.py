"""The tutorial notebooks run as they are written, at small settings, and print what they say."""

import json
import re

import pytest

from testbench.sdr.gnuradio import NoGnuRadio, gnuradio_python
from tests.notebooks import FOLDER, execute

SMALL = {"TUTORIAL_ROUNDS": "8", "TUTORIAL_BATCH": "400", "TUTORIAL_TRIALS": "4000"}


def test_first_run(tmp_path):
    text = execute("first_run", tmp_path, SMALL)
    assert "did you mean link.snr_max_db?" in text
    assert "the same weights: True" in text
    assert "went on at round 8 to 28" in text
    assert re.search(r"link.scheme +\{'first': 'analog', 'votes': 'sign'\}", text)


def test_break_the_synchronisation(tmp_path):
    text = execute("break_synchronisation", tmp_path, SMALL)
    analog, reed = ([float(x) for x in line.partition("|")[0].split()[3:]] for line in text.splitlines()[:2])
    assert analog[0] < -14
    assert analog[-1] > 0
    assert max(reed) - min(reed) < 4
    accuracies = [float(x) for x in re.findall(r"-> ([\d.]+) %", text)]
    assert len(accuracies) == 3
    assert accuracies[0] > accuracies[2]


def test_privacy(tmp_path):
    text = execute("privacy", tmp_path, SMALL)
    assert re.search(r"solution, as printed +epsilon by paper 7\.\d+, gdp 6\.4", text)
    assert re.search(r"paper, as printed +claims 5\.00, at least 5\.\d+ leaks: violated", text)
    assert re.search(r"gdp +claims 5\.00, at least [34]\.\d+ leaks: holds", text)
    assert re.search(r"epsilon 0\.\d+ of 5 at delta 1e-05", text)


def test_gnu_radio_in_the_loop(tmp_path):
    try:
        gnuradio_python()
    except NoGnuRadio as error:
        pytest.skip(str(error))
    text = execute("gnu_radio", tmp_path, SMALL)
    assert "8 rounds, 0 lost" in text
    difference_db = float(re.search(r"difference of the estimates (-[\d.]+) dB", text).group(1))
    assert difference_db < -50


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda p: p.stem)
def test_what_is_committed_is_small_whole_and_of_no_machine(path):
    assert path.stat().st_size < 100_000
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"/(?:work|home|tmp|root)/", text)
    cells = json.loads(text)["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert any(cell["outputs"] for cell in code), "a notebook is committed with its outputs"
    assert all(output["output_type"] != "error" for cell in code for output in cell["outputs"])
