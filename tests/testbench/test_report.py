"""Reports hold what the run folder holds, need no network, and say so where something is missing."""

import base64
import csv
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

from learning.journal import Journal
from testbench.errors import TestbenchError
from testbench.report import report
from testbench.reports.runs import read_run
from testbench.reports.slot import compute_slot
from testbench.run_folder import RunFolder
from testbench.runner import run_scenario
from testbench.scenario import load
from tests import drawings

SHORT = [
    "federation.rounds=4",
    "federation.devices=3",
    "evaluation.every=2",
    "evaluation.noise_free=false",
    "task.train_examples=64",
]
SHORT += ["task.train_examples=64", "task.validation_examples=40", "uplink.transport=inproc"]


@pytest.fixture(scope="module", autouse=True)
def _rendered():
    with drawings.sharp():
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A run with waveforms and one without."""
    base = tmp_path_factory.mktemp("runs")
    for name, more in (("waves", ["link.fidelity=waveform", "link.snr_max_db=40"]), ("symbols", ["seed=7"])):
        run_scenario(load("demo", SHORT + more), RunFolder(base / name))
    return base


class Page(HTMLParser):
    """Tags with their addresses, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)
        self.addresses += [value for key, value in attrs if key in ("src", "href", "srcset", "action")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text += data + " "


def read(path) -> Page:
    page = Page(path.read_text())
    assert page.open == []
    return page


def test_a_page_needs_no_network_and_repeats_the_summary(folders):
    page = read(folders / "waves" / "report.html")
    assert page.addresses
    assert all(re.match(r"data:|#", address) for address in page.addresses)
    assert "<script" not in (folders / "waves" / "report.html").read_text()
    assert "url(" not in (folders / "waves" / "report.html").read_text()
    summary = json.loads((folders / "waves" / "summary.json").read_text())
    for value in (f"{100 * summary['accuracy_final']:.1f} %", f"{summary['nmse_db']:.1f} dB", summary["versions"]["torch"]):
        assert value in page.text
    assert summary["weights_sha256"] in page.text


def test_the_page_holds_the_scenario_that_repeats_the_run(folders, tmp_path):
    page = read(folders / "symbols" / "report.html")
    uri = next(a for a in page.addresses if a.startswith("data:text/plain"))
    (tmp_path / "again.toml").write_bytes(base64.b64decode(uri.partition(",")[2]))
    assert load(tmp_path / "again.toml") == RunFolder(folders / "symbols").load_scenario()


def test_runs_side_by_side_show_where_they_differ(folders, tmp_path):
    path = report([folders / "waves", folders / "symbols"], tmp_path / "both.html")
    text = " ".join(read(path).text.split())
    assert "link.snr_max_db 40.0 5.0" in text, text[:3000]
    assert "link.fidelity waveform symbol" in text
    assert "seed 1 7" in text
    assert "link.scheme" not in text.partition("Settings in which they differ")[2].partition("3 devices")[0]
    with pytest.raises(TestbenchError, match="at least one"):
        report([])


def test_a_slot_is_the_runs_own_and_its_parts_add_up(folders):
    run = read_run(folders / "waves")
    slot = compute_slot(run, 3)
    with Journal(run.folder.journal, read_only=True) as journal:
        row = list(journal.rows())[3]
    assert slot.same is True
    assert slot.estimates == row.estimates
    # At 40 dB the sum of what devices add alone is what was received, to the noise (std 0.01, 5 of them).
    assert slot.heard is not None
    total = slot.alone.sum(axis=0)
    assert np.abs(slot.heard - total).max() < 5 * np.sqrt(slot.n0)
    assert np.abs(total).max() > 20 * np.sqrt(slot.n0)
    assert slot.sent.shape[0] == 3


def test_a_slot_of_a_symbol_run_is_called_a_twin(folders, tmp_path):
    path = report([folders / "symbols"], tmp_path / "s.html", slot=1)
    text = read(path).text
    assert "its twin at waveform fidelity" in text
    assert {"Constellation", "Spectrum", "Slot in time"} <= {name.strip() for name in re.findall(r"[A-Z][a-z ]+", text)}


def test_a_private_run_keeps_its_slots(tmp_path):
    settings = ["federation.rounds=3", "task.train_examples=64", "task.validation_examples=20", "uplink.transport=inproc"]
    run_scenario(load("tight", settings), RunFolder(tmp_path / "p"))
    text = read(tmp_path / "p" / "report.html").text
    assert "Privacy odometer" in text
    assert "epsilon promised" in text
    with pytest.raises(TestbenchError, match="privacy"):
        report([tmp_path / "p"], slot=0)


def test_a_run_that_was_cut_off_is_reported_as_far_as_it_came(folders, tmp_path):
    shutil.copytree(folders / "symbols", tmp_path / "cut")
    (tmp_path / "cut" / "summary.json").unlink()
    text = read(report([tmp_path / "cut"])).text
    assert "has not come to its end" in text
    assert "4 rounds" in text
    (tmp_path / "cut" / "summary.json").write_text('{"rounds": ')
    with pytest.raises(TestbenchError, match=r"damaged.*--resume"):
        report([tmp_path / "cut"])


def test_a_folder_of_tables(tmp_path):
    rows = [("a", snr, seed, 0.5 + snr / 100 + seed / 1000) for snr in (0, 10, 20) for seed in (1, 2)]
    with (tmp_path / "results.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("scenario_hash", "link.snr_max_db", "seed", "accuracy_final"), *rows])
    text = read(report([tmp_path], tmp_path / "t.html")).text
    assert "results.csv: 6 rows" in text
    assert "Mean over seeds" in text
    (tmp_path / "results.csv").write_text("a,b\n1\n")
    with pytest.raises(TestbenchError, match="2 columns and 1 values in row 1"):
        report([tmp_path], tmp_path / "t.html")


def test_a_sweep_shows_its_bands_and_is_refused_from_another_version(tmp_path):
    from testbench.sweep.campaign import run_sweep
    from testbench.sweep.file import load_sweep
    from testbench.sweep.store import SweepFolder

    (tmp_path / "s.toml").write_text(
        'measure = "link"\nseeds = 2\n[axes]\n"link.snr_max_db" = [0, 20]\n"link.scheme" = ["analog", "sign"]\n'
        "[measurement]\nrounds = 60\n"
    )
    folder = SweepFolder(tmp_path / "out")
    run_sweep(load_sweep(tmp_path / "s.toml"), folder, workers=1)
    text = " ".join(read(report([folder.path], tmp_path / "t.html")).text.split())
    assert "results.csv: 8 rows" in text
    assert "Mean over seeds, shaded its 95 % t band." in text
    assert "sweep.toml" in text
    table = (folder.path / "results.csv").read_text().splitlines()
    (folder.path / "results.csv").write_text("\n".join([table[0], *(line.rpartition(",")[0] + ",99" for line in table[1:])]))
    with pytest.raises(TestbenchError, match="has format 99"):
        report([folder.path], tmp_path / "t.html")


def test_what_is_no_run(tmp_path, folders):
    with pytest.raises(TestbenchError, match="there is no"):
        report([tmp_path / "nowhere"])
    with pytest.raises(TestbenchError, match="neither a run folder"):
        report([tmp_path])
    with pytest.raises(TestbenchError, match="has rounds 0 to 3, not 4"):
        report([folders / "waves"], slot=4)
