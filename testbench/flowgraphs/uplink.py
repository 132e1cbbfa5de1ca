"""K devices on the air: per device a delay, a carrier offset, paths and fading; then their sum, and noise.

    python3 uplink.py --uplink ipc:///tmp/up0 --uplink ipc:///tmp/up1 --received ipc:///tmp/down \\
        --delay 0.25,-1.5 --cfo 20,-35 --noise-power 0.01 --monitor tcp://127.0.0.1:5700

Delays in fractions of a sample are windowed sinc filters, which delay everybody by 64 samples more; the program says so when it
is READY, and whoever counts samples takes it into account.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

if not __package__:  # run as a program: last on the path, so that GNU Radio's Python keeps its own packages
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from testbench.flowgraphs import ports

# Half the length of an interpolation filter, and the shape of its Kaiser window: 90 dB up to 0.46 of the sample rate.
HALF = 64
_KAISER = 9.0


def kernel(delays: list[float], gains: list[complex]) -> np.ndarray[Any, np.dtype[np.complex128]]:
    """Taps of sum_p gains[p] x(n - HALF - delays[p]); delays in samples, from -HALF on."""
    last = max(0, math.ceil(max(delays)))
    n = np.arange(2 * HALF + 1 + last)
    taps = np.zeros(len(n), np.complex128)
    for delay, gain in zip(delays, gains, strict=True):
        at = n - HALF - delay
        inside = np.clip(1.0 - (at / (HALF + 1)) ** 2, 0.0, None)
        window = np.where(np.abs(at) <= HALF + 1, np.i0(_KAISER * np.sqrt(inside)) / np.i0(_KAISER), 0.0)
        taps += gain * np.sinc(at) * window
    return taps


def numbers(text: str, devices: int, name: str) -> list[float]:
    """One number per device from ``a,b,...``; a single one is everybody's."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) == 1:
        values *= devices
    if len(values) != devices or not all(math.isfinite(value) for value in values):
        ports.refuse(f"--{name} must be one finite number or {devices}, one per --uplink, got {text!r}")
    return values


def read_paths(path: str, devices: int) -> list[list[tuple[float, complex]]]:
    """Paths of every device from JSON, ``[[[delay_samples, re, im], ...], ...]``."""
    try:
        rows = json.loads(Path(path).read_text())
        found = [[(float(d), complex(re, im)) for d, re, im in row] for row in rows]
    except (OSError, ValueError, TypeError) as error:
        ports.refuse(f"--paths {path} must be JSON, for each device a list of [delay_samples, re, im]: {error}")
        return []
    if len(found) != devices or not all(row and all(-HALF <= d <= 65536 for d, _ in row) for row in found):
        ports.refuse(
            f"--paths {path} must have 1 path or more for each of {devices} devices, delays in -{HALF} .. 65536 samples"
        )
    return found


def main(words: list[str] | None = None) -> None:
    """Build the graph from arguments and run it."""
    arguments = ports.parser("K devices, each with delay, carrier offset, paths and fading; sum and noise.")
    arguments.add_argument("--delay", default="0", metavar="SAMPLES", help="per device, fractions allowed")
    arguments.add_argument("--cfo", default="0", metavar="HZ", help="carrier offset per device")
    arguments.add_argument("--paths", metavar="FILE", help="JSON: for each device a list of [delay_samples, re, im]")
    arguments.add_argument(
        "--doppler", type=float, default=0.0, metavar="HZ", help="Rayleigh fading by GNU Radio's fading_model"
    )
    arguments.add_argument("--noise-power", type=float, default=0.0, help="variance of a complex noise sample")
    arguments.add_argument("--seed", type=int, default=1, help="of noise and fading")
    arguments.add_argument("--monitor", metavar="ADDRESS", help="publish the sum there, for monitor.py")
    options = arguments.parse_args(words)
    devices = len(options.uplink)
    if devices < 1 or len(options.received) != 1:
        ports.refuse(f"give --uplink once per device and --received once, got {devices} and {len(options.received)}")
    delays = numbers(options.delay, devices, "delay")
    shifts = numbers(options.cfo, devices, "cfo")
    paths = read_paths(options.paths, devices) if options.paths else None
    if min(delays) < -HALF or max(delays) > 65536:
        ports.refuse(f"--delay must lie in -{HALF} .. 65536 samples, got {options.delay}")
    if not options.noise_power >= 0 or not math.isfinite(options.noise_power):
        ports.refuse(f"--noise-power must not be negative, got {options.noise_power}")

    from gnuradio import analog, blocks, channels, filter, gr

    whole = all(delay >= 0 and delay == int(delay) for delay in delays)
    latency = (0 if whole else HALF) + (0 if paths is None else HALF)
    top = gr.top_block("pairzero uplink")
    add = blocks.add_cc(1)
    every = [add]
    for k, address in enumerate(options.uplink):
        chain = [ports.source(options, address)]
        # Not blocks.delay: it puts its zeros in front of the stream, which then has more samples than were sent.
        if not whole:
            chain.append(filter.fir_filter_ccf(1, kernel([delays[k]], [1.0]).real.tolist()))
        elif delays[k]:
            chain.append(filter.fir_filter_ccf(1, [0.0] * int(delays[k]) + [1.0]))
        if shifts[k]:
            chain.append(blocks.rotator_cc(2.0 * math.pi * shifts[k] / options.rate))
        if paths is not None:
            chain.append(filter.fir_filter_ccc(1, kernel([d for d, _ in paths[k]], [a for _, a in paths[k]]).tolist()))
        if options.doppler:
            chain.append(channels.fading_model(8, options.doppler / options.rate, False, 4.0, options.seed + 1 + k))
        top.connect(*chain, (add, k))
        every += chain
    last: Any = add
    if options.noise_power:
        noisy = blocks.add_cc(1)
        noise = analog.noise_source_c(analog.GR_GAUSSIAN, math.sqrt(options.noise_power), options.seed)
        top.connect(add, (noisy, 0))
        top.connect(noise, (noisy, 1))
        last = noisy
        every += [noisy, noise]
    out = ports.sink(options, options.received[0])
    top.connect(last, out)
    every.append(out)
    if options.monitor:
        from gnuradio import zeromq

        top.connect(last, zeromq.pub_sink(gr.sizeof_gr_complex, 1, ports.local(options, options.monitor), 10, False, 16))
    ports.quicken(*every)
    ports.run(top, options, latency_samples=latency, withheld_samples=0, devices=devices)


if __name__ == "__main__":
    main()
