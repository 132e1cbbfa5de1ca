"""The emulated air on samples: its speed, against GNU Radio's channel model, and Sionna's own time channel.

GNU Radio runs where a Python with it is found (``/usr/bin/python3``, Debian's package ``gnuradio``, or what the environment
variable ``GNURADIO_PYTHON`` names); without one its row is missing.
"""

import multiprocessing
import os
import subprocess
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from phy.ambiguity import BurstPulse
from phy.config import LinkConfig
from phy.draws import CachedDraws, KeyedDraws
from phy.propagation import Propagation
from phy.waveform_airs.emulated import Part

CORES = 2
SLOTS = 128


class ThreeTaps:
    """A channel of three Rayleigh paths, as a part of the kind ``channels``."""

    flat = False
    _delays_s = np.array([0.0, 1e-6, 2.3e-6])

    def __init__(self, config: LinkConfig, draws: CachedDraws) -> None:
        del config
        self._draws = draws

    def max_delay_s(self, devices: int) -> float:
        """The last path's delay."""
        del devices
        return float(self._delays_s[-1])

    def paths(
        self, devices: int, first_round: int, rounds: int, antennas: int, steps: int, rate_hz: float, start_s: float
    ) -> tuple[NDArray[np.complex64], NDArray[np.float64]]:
        """Coefficients [B, M, K, 3, 1] and delays [B, K, 3]."""
        del steps, rate_hz, start_s
        drawn = self._draws.complex_normal("fading", devices, first_round, rounds, 3 * antennas) * np.float32(3**-0.5)
        a = drawn.reshape(rounds, antennas, 3, devices).transpose(0, 1, 3, 2)[..., None]
        return a, np.broadcast_to(self._delays_s, (rounds, devices, 3))


def emulated(channel: dict[str, object], seed: int = 1) -> Part:
    """An air of its own, with timing and frequency offsets and noise."""
    config = LinkConfig.model_validate(
        {
            "fidelity": "waveform",
            "snr_max_db": 20.0,
            "channel": channel,
            "offsets": {
                "timing_s": {"law": "uniform", "value": 3e-6},
                "frequency_hz": {"law": "uniform", "value": 100.0},
            },
        }
    )
    draws = KeyedDraws(seed)
    cached = CachedDraws(draws)
    return Part(config, draws, cached, Propagation(config, cached, BurstPulse(config.burst)))


def bursts(devices: int, samples: int) -> NDArray[np.complex64]:
    """Random samples for every device."""
    rng = np.random.default_rng(0)
    return (rng.standard_normal((devices, samples)) + 1j * rng.standard_normal((devices, samples))).astype(np.complex64)


_KEPT: dict[str, Any] = {}


def _prepare(devices: int, samples: int) -> None:
    """Make a worker's air."""
    import torch

    torch.set_num_threads(1)
    channel: dict[str, object] = {"model": f"{ThreeTaps.__module__}:ThreeTaps"}
    _KEPT.update(air=emulated(channel), x=bursts(devices, samples), sounded=np.zeros((1, devices), np.complex64))


def _slots(worker: int) -> None:
    """A worker's share of the slots."""
    for i in range(worker * SLOTS, (worker + 1) * SLOTS):
        _KEPT["air"].transmit(_KEPT["x"], i, _KEPT["sounded"], 300)


def gnuradio(devices: int, samples: int, repeats: int) -> float | None:
    """Device-samples per second of GNU Radio's chain, or None where there is none."""
    python = os.environ.get("GNURADIO_PYTHON", "/usr/bin/python3")
    script = Path(__file__).with_name("gnuradio_subject.py")
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "OMP_NUM_THREADS")}
    try:
        done = subprocess.run(
            [python, str(script), str(devices), str(samples), str(repeats)],
            capture_output=True, text=True, timeout=300, check=True, env=environment,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return float(done.stdout.split()[-1])


def bench_waveform_air(benchmark: Any, record: Any, interleaved: Any) -> None:
    """K = 8 devices of 4096 samples: 3 taps, frequency and timing offset, noise; in a process per core."""
    devices, samples = 8, 4096
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(CORES, mp_context=context, initializer=_prepare, initargs=(devices, samples)) as pool:

        def both() -> None:
            list(pool.map(_slots, range(CORES)))

        theirs = [gnuradio(devices, samples, 400)]
        (seconds,) = interleaved(both)
        theirs.append(gnuradio(devices, samples, 400))
        ours = CORES * SLOTS * devices * samples / seconds
        record("waveform air, K = 8 x 4096: million device-samples/s", ours / 1e6, 50.0, "high")
        known = [t for t in theirs if t is not None]
        if known:
            record("waveform air: speed over GNU Radio's channel_model", ours / max(known), 2.0, "high")
        benchmark.pedantic(both, rounds=10, warmup_rounds=1)


def bench_tdl(benchmark: Any, record: Any, interleaved: Any) -> None:
    """TDL-A held over a burst, K = 100, 512 samples, 10 rounds, against its transforms alone and Sionna's time channel."""
    devices, samples, rounds = 100, 512, 10
    x = bursts(devices, samples)
    air = emulated({"model": "tdl", "tdl": "A"})
    nothing = np.zeros((1, devices), np.complex64)
    response = bursts(devices, 2 * samples)

    def ours() -> None:
        for i in range(rounds):
            air.transmit(x, i, nothing, 100)

    def transforms() -> None:
        import torch

        padded = torch.zeros(rounds, devices, 2 * samples, dtype=torch.complex64)
        padded[:, :, :samples] = torch.from_numpy(x)
        spectra = torch.fft.fft(padded) * torch.from_numpy(response)
        torch.fft.ifft(spectra.sum(dim=1))

    whole_s, transforms_s = interleaved(ours, transforms)
    record("TDL-A, K = 100 x 512 x 10 rounds: ms", whole_s * 1e3, 33.0)
    record("TDL-A: time over FFT, product and sum alone", whole_s / transforms_s, 3.0)
    sionna_s = _sionna_tdl(devices, samples)
    record("TDL-A: speed over Sionna's TDL through its TimeChannel (per round)", sionna_s / (whole_s / rounds), None, "high")
    benchmark.pedantic(ours, rounds=10, warmup_rounds=1)


def _sionna_tdl(devices: int, samples: int) -> float:
    """Seconds per round of Sionna's own TDL: links as a batch, applied by its time channel, then summed."""
    import time

    import torch
    from sionna.phy.channel import TimeChannel
    from sionna.phy.channel.tr38901 import TDL

    tdl = TDL("A", 100e-9, 3.5e9, device="cpu")
    channel = TimeChannel(tdl, 1e6, samples, maximum_delay_spread=3e-6, device="cpu")
    x = torch.from_numpy(bursts(devices, samples))[:, None, None, :]
    channel(x).sum(dim=0)
    began = time.perf_counter()
    channel(x).sum(dim=0)
    return time.perf_counter() - began


@pytest.mark.parametrize("what", ["K", "N"])
def bench_waveform_memory(benchmark: Any, record: Any, what: str) -> None:
    """Peak of Python-visible allocations when K or N is doubled: linear means twice."""
    peaks = []
    for factor in (1, 2):
        devices, samples = (64 * factor, 4096) if what == "K" else (64, 4096 * factor)
        air, x = emulated({"model": "tdl", "tdl": "A"}), bursts(devices, samples)
        nothing = np.zeros((1, devices), np.complex64)
        air.transmit(x, 0, nothing, 100)
        peaks.append(_torch_peak(lambda air=air, x=x, nothing=nothing: air.transmit(x, 1, nothing, 100)))
    record(f"waveform air: memory when {what} doubles", peaks[1] / peaks[0], 2.2)
    benchmark.pedantic(lambda: None, rounds=1)


def _torch_peak(function: Any) -> float:
    """Peak bytes of tensors (torch's own profiler) and arrays during a call."""
    from torch.profiler import ProfilerActivity, profile

    tracemalloc.start()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        function()
    arrays = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    held = peak = 0
    for event in recorded.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return float(peak + arrays)
