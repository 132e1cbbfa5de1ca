"""The broker between GNU Radio's REQ/REP blocks, which ask with four bytes, as a command of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from bridge.streams.flowgraph import clean_environment
from testbench.sdr.gnuradio import gnuradio_python
from tests.bridge.gnuradio_needed import needs_gnuradio

pytestmark = needs_gnuradio


def test_gnu_radio_s_blocks_meet_in_the_command_and_the_sum_is_exact(tmp_path):
    count = 400_000
    rng = np.random.default_rng(5)
    sent = (rng.standard_normal((2, count)) + 1j * rng.standard_normal((2, count))).astype(np.complex64)
    words: list[str] = []
    for k in range(2):
        sent[k].tofile(tmp_path / f"sent{k}")
        words += [f"ipc://{tmp_path}/tx{k}", str(tmp_path / f"sent{k}")]
    settings = tmp_path / "broker.toml"
    settings.write_text(
        f'[broker]\nrate_hz = 1e6\n[broker.station]\nreceive = ["ipc://{tmp_path}/rx"]\n'
        + "".join(f'[[broker.device]]\ntransmit = "ipc://{tmp_path}/tx{k}"\n' for k in range(2))
        + '[link.channel]\nmodel = "awgn"\n[link.offsets.phase_rad]\nlaw = "constant"\nvalue = 1.5707963267948966\n'
    )
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "testbench.cli", "air", "broker", str(settings), "--seconds", "40"]
    broker = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)
    # The last samples stay in the sink until more come: fewer are waited for.
    kept = count - 20_000
    program = [gnuradio_python(), str(Path(__file__).with_name("broker_gnuradio.py"))]
    flowgraph = subprocess.Popen(
        [*program, f"ipc://{tmp_path}/rx", str(tmp_path / "received"), str(kept), *words],
        stdin=subprocess.PIPE, env=clean_environment(),
    )  # fmt: skip
    try:
        until = time.monotonic() + 30
        received = tmp_path / "received"
        while not (received.exists() and received.stat().st_size >= 8 * kept):
            assert time.monotonic() < until, "the samples did not come through in time"
            time.sleep(0.1)
        heard = np.fromfile(received, np.complex64)[:kept]
        assert np.abs(heard - 1j * sent.sum(axis=0)[:kept]).max() < 2e-6
    finally:
        flowgraph.stdin.close()
        flowgraph.kill()
        flowgraph.wait()
        broker.terminate()
        said, _ = broker.communicate(timeout=20)
    assert broker.returncode == 0
    assert "device 1's transmitter" in said
