"""Export to the channel emulator of NVIDIA's Sionna Research Kit: ``config.json`` and ``cirs.bin``.

Its file mode reads one impulse response per OFDM symbol, one antenna and one device, and loops over slots of
``symbols_per_slot`` symbols. An entry of ``cirs.bin``, little-endian: float32 norm ||h||, float32 taps (I, Q) x num_taps,
uint16 index x num_taps in samples, zeros up to a multiple of 4 bytes. ``config.json`` has num_taps, num_cirs, sigma_scaling and
sigma_max in a section ``channel_emulation``. After the kit's own reader (plugin channel_emulation, cir_file.c, 2026);
not run against it.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from bridge.captures.errors import CaptureError
from bridge.captures.recording import read_json
from bridge.captures.sounding import Sounding
from bridge.captures.writing import write_json

_LARGEST_INDEX = np.iinfo(np.uint16).max


def export_sionna_rk(
    sounding: Sounding,
    folder: str | Path,
    *,
    device: int = 0,
    antenna: int = 0,
    sample_rate_hz: float | None = None,
    symbols_per_slot: int = 14,
    sigma_scaling: float = 0.0,
    sigma_max: float = 0.0,
) -> Path:
    """Write one device's channel at one antenna, an instant per slot, and return the folder.

    Delays are rounded to samples of ``sample_rate_hz`` (none: the sounding's), taps that meet are added. The noise settings are
    the kit's own; 0 adds none. Raises :class:`bridge.captures.errors.CaptureError` where the channel does not fit the format.
    """
    folder = Path(folder)
    instants, antennas, devices, _ = sounding.coefficients.shape
    if not (0 <= device < devices and 0 <= antenna < antennas) or symbols_per_slot < 1:
        raise CaptureError(
            f"{sounding.path} has devices 0 .. {devices - 1} and antennas 0 .. {antennas - 1}; choose among them"
        )
    rate = sounding.sample_rate_hz if sample_rate_hz is None else sample_rate_hz
    index = np.rint(sounding.delays_s[device] * rate).astype(np.int64)
    if index.max() > _LARGEST_INDEX:
        raise CaptureError(
            f"{sounding.path} has a delay of {index.max()} samples at {rate:g} Hz; the format ends at {_LARGEST_INDEX}"
        )
    places, where = np.unique(index, return_inverse=True)
    taps = np.zeros((instants, len(places)), np.complex128)
    np.add.at(taps.T, where, sounding.coefficients[:, antenna, device].T)
    entries = np.zeros(instants, _entry(len(places)))
    entries["norm"] = np.sqrt(np.square(np.abs(taps)).sum(axis=1))
    entries["taps"] = taps.astype("<c8").view("<f4")
    entries["index"] = places
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cirs.bin").write_bytes(np.repeat(entries, symbols_per_slot).tobytes())
    except OSError as error:
        raise CaptureError(f"{folder} cannot be written: {error.strerror}") from error
    section = {
        "num_taps": len(places),
        "num_cirs": instants * symbols_per_slot,
        "sigma_scaling": sigma_scaling,
        "sigma_max": sigma_max,
    }
    write_json(folder / "config.json", {"channel_emulation": section})
    return folder


def read_sionna_rk(folder: str | Path) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.complex64], npt.NDArray[np.uint16]]:
    """Norms [C], taps [C, T] and indices [C, T] of such a folder; raises :class:`CaptureError` where it is malformed."""
    folder = Path(folder)
    section = read_json(folder / "config.json").get("channel_emulation")
    try:
        count, taps = int(section["num_cirs"]), int(section["num_taps"])  # type: ignore[index]
        raw = (folder / "cirs.bin").read_bytes()
        entries = np.frombuffer(raw, _entry(taps))
        if len(entries) != count:
            raise ValueError(f"{len(entries)} entries instead of {count}")
    except (OSError, TypeError, KeyError, ValueError) as error:
        raise CaptureError(f"{folder} is no folder of impulse responses for the Sionna Research Kit: {error}") from error
    values = np.ascontiguousarray(entries["taps"]).view(np.complex64)
    return entries["norm"].copy(), values.reshape(count, taps), entries["index"].copy()


def _entry(taps: int) -> np.dtype[np.void]:
    raw = 4 + 8 * taps + 2 * taps
    return np.dtype(
        {
            "names": ["norm", "taps", "index"],
            "formats": ["<f4", ("<f4", (2 * taps,)), ("<u2", (taps,))],
            "offsets": [0, 4, 4 + 8 * taps],
            "itemsize": raw + -raw % 4,
        }
    )
