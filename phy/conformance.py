"""Hold a backend to what was committed: ``python -m phy.conformance --backend tensorflow``, in the backend's environment.

Every deterministic part is computed by the backend from inputs that follow from a seed and compared with the golden vectors in
``golden.json``, which explicit sums in double precision wrote (``tests/phy/golden_parts.py``). Where a backend draws by itself,
as the channel models ``sionna_rayleigh`` and ``sionna_tdl`` and Sionna's AWGN do, ``--statistics`` compares moments with their
expectation, in standard errors. Prints one JSON object; the exit code is 1 where anything deviates.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phy.ambiguity import BurstPulse
from phy.backends import BACKENDS, require
from phy.blocks import symbol_air, waveform_air
from phy.channel import Channel
from phy.channels._profile import tdl_profile
from phy.config import LinkConfig
from phy.draws import CachedDraws, KeyedDraws
from phy.errors import PhyError
from phy.propagation import Propagation

GOLDEN = Path(__file__).with_name("golden.json")
SEED = 5
ROUND = 11
DEVICES, ANTENNAS, SAMPLES, REFERENCE = 3, 2, 96, 30
RATE_HZ = 1e6
# Largest deviation of a deterministic part, relative to the largest magnitude in it.
TOLERANCE = 1e-5
# Largest deviation of a moment, in standard errors; 40 of them stay below with probability 1 - 1e-5.
STANDARD_ERRORS = 5.5

_OFFSETS = {
    "timing_s": {"law": "uniform", "value": 6e-6},
    "phase_rad": {"law": "uniform", "value": 3.0},
    "frequency_hz": {"law": "uniform", "value": 3e3},
}
# Slots of the waveform airs: name -> (air, channel).
_CHANNELS: dict[str, dict[str, Any]] = {
    "rayleigh": {"model": "rayleigh"},
    "tdl held over the burst": {"model": "tdl", "tdl": "D", "delay_spread_s": 1e-6},
    "tdl by sample": {"model": "tdl", "tdl": "A", "delay_spread_s": 1e-6, "doppler_hz": 500.0, "variation": "sample"},
}
SLOTS = {f"{air}, {name}": (air, channel) for air in ("emulated", "time_channel") for name, channel in _CHANNELS.items()}


def slot_config(name: str, backend: str) -> LinkConfig:
    """The link of one of the :data:`SLOTS`."""
    air, channel = SLOTS[name]
    return LinkConfig.model_validate(
        {
            "backend": backend,
            "fidelity": "waveform",
            "snr_max_db": 10.0,
            "receive_antennas": ANTENNAS,
            "offsets": _OFFSETS,
            "channel": channel,
            "burst": {"air": air, "sample_rate_hz": RATE_HZ},
            "csi": {"age_s": 1e-4},
        }
    )


def symbols() -> NDArray[np.complex64]:
    """What devices send at symbol fidelity. Shape [5, K]."""
    return KeyedDraws(SEED).complex_normal("gold-x", DEVICES, 0, 5, 1)[:, 0].copy()


def bursts() -> NDArray[np.complex64]:
    """What devices send in a slot: band-limited noise in a quarter of the band. Shape [K, N]."""
    drawn = KeyedDraws(SEED).long_complex_normal("gold-b", 0, DEVICES, SAMPLES).astype(np.complex128)
    spectrum = np.fft.fft(drawn)
    spectrum[:, SAMPLES // 8 : -SAMPLES // 8] = 0
    return np.fft.ifft(spectrum).astype(np.complex64)


def parts(backend: str) -> dict[str, NDArray[Any]]:
    """Every deterministic part, computed by the backend."""
    draws = KeyedDraws(SEED)
    cached = CachedDraws(draws)
    config = LinkConfig.model_validate({"backend": backend, "receive_antennas": ANTENNAS})
    fades = Channel(config, cached).gains(DEVICES, ROUND, 5, ANTENNAS)
    air = symbol_air(config, cached)
    clean = air.superpose(np.ascontiguousarray(fades), symbols())
    thermal = draws.complex_normal("noise", 1, ROUND, 5, ANTENNAS)[..., 0]
    if hasattr(air, "add_noise"):
        noisy = air.add_noise(clean[:, None, None], thermal[:, None, None], config.n0)[:, 0, 0]
    else:  # the symbol carrier adds it
        noisy = clean + np.float32(np.sqrt(config.n0)) * thermal
    found: dict[str, NDArray[Any]] = {
        "draws of a group": draws.complex_normal("gold-g", DEVICES, 126, 4, 2),
        "draws of a long round": draws.long_complex_normal("gold-l", ROUND, 2, 8),
        "rayleigh": fades,
        "superposition": clean,
        "noise": noisy,
    }
    for letter in "ABCDE":
        profile = tdl_profile(letter, 1e-6, backend)
        found[f"tdl {letter}"] = np.array([*profile.delays_s * 1e6, *profile.powers, profile.los_power])
    for name in SLOTS:
        link = slot_config(name, backend)
        propagation = Propagation(link, cached, BurstPulse(link.burst))
        sounded = propagation.sounded(DEVICES, ROUND, 1)[0]
        found[name] = waveform_air(link, draws, cached, propagation).transmit(bursts(), ROUND, sounded, REFERENCE)
    return found


def moments(backend: str) -> dict[str, tuple[float, float, float]]:
    """Moments of what the backend draws by itself: name -> (measured, expected, standard error)."""
    if backend == "numpy":
        return {}
    out: dict[str, tuple[float, float, float]] = {}
    _describe(out, "sionna_rayleigh", _own("sionna_rayleigh", backend)[:, :, :, 0].reshape(-1), 1.0)
    profile = tdl_profile("D", 1e-6, backend)
    taps = _own("sionna_tdl", backend)
    for p, power in enumerate(profile.powers):
        total = power + (profile.los_power if p == 0 else 0.0)
        measured = np.square(np.abs(taps[..., p])).reshape(-1)
        out[f"sionna_tdl: power of path {p}"] = (measured.mean(), total, measured.std() / np.sqrt(measured.size))
    # |h|^2 of a Rice tap varies less than that of a Rayleigh tap: var = s^2 + 2 s L for scattered s and line of sight L.
    first = np.square(np.abs(taps[..., 0])).reshape(-1)
    expected = profile.powers[0] ** 2 + 2.0 * profile.powers[0] * profile.los_power
    deviations = np.square(first - first.mean())
    out["sionna_tdl: spread of the line of sight"] = (deviations.mean(), expected, deviations.std() / np.sqrt(first.size))
    noise = _own_noise(backend)
    _describe(out, "awgn", noise, 0.25)
    return out


def _describe(out: dict[str, tuple[float, float, float]], name: str, samples: NDArray[Any], power: float) -> None:
    """Moments of CN(0, power) samples: mean, power per real dimension, correlation of the two, and E|h|^4."""
    x, count = samples.astype(np.complex128), samples.size
    for part, values in (("real", x.real), ("imaginary", x.imag)):
        out[f"{name}: mean, {part} part"] = (values.mean(), 0.0, np.sqrt(power / 2 / count))
        out[f"{name}: power, {part} part"] = (np.square(values).mean(), power / 2, power / np.sqrt(2 * count))
    out[f"{name}: real times imaginary"] = ((x.real * x.imag).mean(), 0.0, power / 2 / np.sqrt(count))
    fourth = np.square(np.square(np.abs(x)))
    out[f"{name}: E|h|^4"] = (fourth.mean(), 2.0 * power**2, np.sqrt(20.0 / count) * power**2)
    out[f"{name}: neighbours"] = ((x[1:] * x[:-1].conj()).mean().real, 0.0, power / np.sqrt(2 * count))


def _own(model: str, backend: str, rounds: int = 300, devices: int = 20) -> NDArray[np.complex64]:
    """Coefficients [B, M, K, P] of a model of Sionna that draws for itself."""
    config = LinkConfig.model_validate(
        {
            "backend": backend,
            "fidelity": "waveform",
            "receive_antennas": ANTENNAS,
            "channel": {"model": model, "tdl": "D", "delay_spread_s": 1e-6},
        }
    )
    a, _ = Channel(config, CachedDraws(KeyedDraws(SEED))).paths(devices, 0, rounds, ANTENNAS)
    return np.asarray(a[..., 0])


def _own_noise(backend: str, count: int = 50_000) -> NDArray[np.complex64]:
    """Noise of variance 0.25 from Sionna's AWGN with its own generator, in the way the backend runs it."""
    zeros = np.zeros(count, np.complex64)
    if backend == "tensorflow":
        from phy.airs.tensorflow import own_noise

        return own_noise(zeros, 0.25, SEED)
    import torch
    from sionna.phy.channel import AWGN

    from phy.runtimes.torch import seeded

    with seeded(SEED):
        return np.asarray(AWGN(precision="single", device="cpu")(torch.from_numpy(zeros), 0.25).numpy())


def deviations(found: dict[str, NDArray[Any]], golden: dict[str, NDArray[Any]]) -> dict[str, float]:
    """Largest deviation of each part, relative to the largest magnitude in it; infinite where a part is lacking."""
    out = {}
    for name, wanted in golden.items():
        got = found.get(name)
        if got is None or got.shape != wanted.shape or not np.isfinite(got).all():
            out[name] = float("inf")
        else:
            out[name] = float(np.abs(got - wanted).max() / np.abs(wanted).max())
    return out


def read_golden() -> dict[str, NDArray[Any]]:
    """The committed vectors; complex ones are stored as pairs."""
    stored = json.loads(GOLDEN.read_text(encoding="utf-8"))
    out: dict[str, NDArray[Any]] = {}
    for name, entry in stored.items():
        values = np.array(entry["values"], np.float64)
        out[name] = (values[0::2] + 1j * values[1::2] if entry["complex"] else values).reshape(entry["shape"])
    return out


def main(arguments: Sequence[str] | None = None, write: Callable[[str], object] = print) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m phy.conformance", description="Compare a backend with golden vectors.")
    parser.add_argument("--backend", choices=BACKENDS, required=True)
    parser.add_argument("--statistics", action="store_true", help="also what the backend draws by itself; half a minute")
    given = parser.parse_args(arguments)
    try:
        require(given.backend)
    except PhyError as error:
        print(error, file=sys.stderr)
        return 1
    found = deviations(parts(given.backend), read_golden())
    drawn = moments(given.backend) if given.statistics else {}
    errors = {name: (measured - expected) / spread for name, (measured, expected, spread) in drawn.items()}
    failed = [name for name, value in found.items() if not value <= TOLERANCE]
    failed += [name for name, value in errors.items() if not abs(value) <= STANDARD_ERRORS]
    write(json.dumps({"backend": given.backend, "deviations": found, "standard_errors": errors, "failed": failed}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
