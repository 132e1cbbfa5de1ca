"""Measured channels in HDF5: what devices' bursts went through, slot by slot.

Layout, version 1 (T instants, M receive antennas, K devices, P taps):

    attributes      format "pairzero-sounding", version, sample_rate_hz, frequency_hz (NaN: unknown), source, gain_reference_db
    coefficients    complex64 [T, M, K, P]   tap coefficients, phase at the slot's reference instant
    delays_s        float64   [K, P]         their delays, from the instant ``timing_s``; none negative
    times_s         float64   [T]            instants, increasing
    found           bool      [T, K]         whether the device was heard; where not, its coefficients are interpolated
    timing_s        float64   [T, K]         common delay against the slot clock, NaN where unknown
    frequency_hz    float64   [T, K]         carrier frequency offset, NaN where unknown
    noise_variance  float64   [T, K]         variance of a complex sample, NaN where unknown

Timing and carrier are kept beside the taps: a synchronised receiver removes what is common, and a run plays the taps alone.
A file may be written by hand: needed are ``format``, ``version``, ``sample_rate_hz``, ``coefficients``, ``delays_s`` and
``times_s``; what else is absent is unknown, a gain of 0 dB, and heard at every instant.
"""

import importlib
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bridge.captures.errors import CaptureError, first_line

FORMAT, VERSION = "pairzero-sounding", 1
_MAX_ELEMENTS = 1 << 28

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sounding:
    """Measured channels; the fields are those of the file, see the module. None stands for an array of NaN, ``found`` for True.

    Raises :class:`bridge.captures.errors.CaptureError` where shapes do not fit together or a number has no meaning.
    """

    coefficients: npt.NDArray[np.complex64]
    delays_s: Floats
    times_s: Floats
    sample_rate_hz: float
    frequency_offset_hz: Floats | None = None
    timing_s: Floats | None = None
    noise_variance: Floats | None = None
    found: npt.NDArray[np.bool_] | None = None
    carrier_hz: float = float("nan")
    gain_reference_db: float = 0.0
    source: str = ""
    path: str = field(default="sounding", compare=False)

    def __post_init__(self) -> None:
        shape = self.coefficients.shape
        if len(shape) != 4 or 0 in shape:
            raise CaptureError(f"{self.path}: coefficients must be [instants, antennas, devices, taps], got {shape}")
        instants, _, devices, taps = shape
        if self.delays_s.shape != (devices, taps) or self.times_s.shape != (instants,):
            raise CaptureError(
                f"{self.path}: delays {self.delays_s.shape} and times {self.times_s.shape} do not fit coefficients {shape}"
            )
        if not np.isfinite(self.coefficients).all():
            raise CaptureError(f"{self.path}: a coefficient is not finite")
        if not self.coefficients.any():
            raise CaptureError(f"{self.path}: all coefficients are zero, so that nobody would be heard; measure again")
        if not (np.isfinite(self.delays_s).all() and (self.delays_s >= 0).all()):
            raise CaptureError(f"{self.path}: delays must be finite and not negative")
        if not (np.isfinite(self.times_s).all() and (np.diff(self.times_s) > 0).all()):
            raise CaptureError(f"{self.path}: times_s must be finite and increase")
        if not (self.sample_rate_hz > 0 and math.isfinite(self.sample_rate_hz)):
            raise CaptureError(f"{self.path}: the sample rate must be positive and finite, got {self.sample_rate_hz}")
        if not math.isfinite(self.gain_reference_db):
            raise CaptureError(f"{self.path}: gain_reference_db must be finite, got {self.gain_reference_db}")
        for name in ("frequency_offset_hz", "timing_s", "noise_variance", "found"):
            value = getattr(self, name)
            if value is not None and value.shape != (instants, devices):
                raise CaptureError(f"{self.path}: {name} has shape {value.shape} instead of {(instants, devices)}")

    @property
    def gain_db(self) -> Floats:
        """Energy of all taps, mean over antennas, of every instant and device. [T, K]."""
        energy = np.square(np.abs(self.coefficients.astype(np.complex128))).sum(axis=3).mean(axis=1)
        with np.errstate(divide="ignore"):
            return np.asarray(10.0 * np.log10(energy))

    def mean_gain_db(self, devices: int | None = None) -> float:
        """Energy of all taps, mean over antennas, the first ``devices`` (none: all) and the instants at which they "
        "were heard."""
        energy = np.square(np.abs(self.coefficients[:, :, :devices].astype(np.complex128))).sum(axis=3).mean(axis=1)
        heard = np.ones(energy.shape, np.bool_) if self.found is None else self.found[:, :devices]
        mean = float(energy[heard].mean()) if heard.any() else 0.0
        return 10.0 * math.log10(mean) if mean > 0 else -math.inf

    def scaled_to_unit_gain(self) -> "Sounding":
        """The same with a mean energy of 1 over instants, devices and antennas; ratios stay, and the factor is noted."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values["coefficients"], gain_db = unit_gain(self.coefficients, self.path)
        values["gain_reference_db"] = self.gain_reference_db + gain_db
        return Sounding(**values)

    def save(self, path: str | Path) -> Path:
        """Write the HDF5 file; raises :class:`CaptureError` where that cannot be."""
        path = Path(path)
        instants, _, devices, _ = self.coefficients.shape
        unknown = np.full((instants, devices), np.nan)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _h5py(path).File(path, "w") as file:
                file.attrs.update(
                    format=FORMAT,
                    version=VERSION,
                    sample_rate_hz=self.sample_rate_hz,
                    frequency_hz=self.carrier_hz,
                    source=self.source,
                    gain_reference_db=self.gain_reference_db,
                )
                for name, values in (
                    ("coefficients", self.coefficients),
                    ("delays_s", self.delays_s),
                    ("times_s", self.times_s),
                    ("found", np.ones((instants, devices), np.bool_) if self.found is None else self.found),
                    ("timing_s", unknown if self.timing_s is None else self.timing_s),
                    ("frequency_hz", unknown if self.frequency_offset_hz is None else self.frequency_offset_hz),
                    ("noise_variance", unknown if self.noise_variance is None else self.noise_variance),
                ):
                    file.create_dataset(name, data=values)
        except OSError as error:
            raise CaptureError(f"{path} cannot be written: {error}") from error
        return path

    @classmethod
    def load(cls, path: str | Path) -> "Sounding":
        """Read the HDF5 file; raises :class:`CaptureError` where it is missing, damaged, or no sounding."""
        path = Path(path)
        if not path.is_file():
            raise CaptureError(f"there is no sounding {path}; make one with: pairzero capture sound")
        if path.stat().st_size == 0:
            raise CaptureError(f"{path} is empty; make a sounding with: pairzero capture sound")
        h5py = _h5py(path)
        if not h5py.is_hdf5(path):
            raise CaptureError(
                f"{path} is no HDF5 file, so it cannot be read as a sounding; bring a channel of another format into one with: "
                "pairzero capture import"
            )
        try:
            with h5py.File(path, "r") as file:
                return cls(**_fields(file, path))
        except (OSError, RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise CaptureError(f"{path} cannot be read as a sounding, it is damaged or cut off: {first_line(error)}") from error


def unit_gain(coefficients: npt.NDArray[np.complexfloating[Any, Any]], where: str | Path) -> tuple[Any, float]:
    """Coefficients [T, M, K, P] as complex64 with a mean energy of 1 over instants, antennas and devices; the gain removed, dB.

    Scaled before they become single precision: path losses of 150 dB and more are usual. Raises
    :class:`bridge.captures.errors.CaptureError`, which names the file ``where``, if all are zero or one is not finite.
    """
    wide = np.asarray(coefficients, np.complex128)
    if not np.isfinite(wide).all():
        raise CaptureError(f"{where} has a coefficient that is not finite; repair it first")
    largest = float(np.abs(wide).max()) if wide.size else 0.0
    if not largest > 0:
        raise CaptureError(f"{where} has no gain on any of the chosen links: all of their coefficients are zero")
    if not 1e-150 < largest < 1e150:
        raise CaptureError(f"{where} has a largest coefficient of {largest:g}, which is no channel's gain; check its units")
    energy = float(np.square(np.abs(wide)).sum(axis=3).mean())
    return (wide / math.sqrt(energy)).astype(np.complex64), 10.0 * math.log10(energy)


def _fields(file: Any, path: Path) -> dict[str, Any]:
    attributes = dict(file.attrs)
    kind = _text(attributes.get("format"))
    if kind is None:
        raise CaptureError(
            f"{path} lacks the attribute format, by which a sounding is known; if it has the layout of one, set format to "
            f'"{FORMAT}" and version to {VERSION}'
        )
    version = _number(attributes, "version", path)
    if kind != FORMAT or version != VERSION:
        raise CaptureError(
            f"{path} is no sounding of version {VERSION} but {kind[:40]!r}, version {version:g}; import it, or measure it again"
        )
    return {
        "coefficients": _array(file, "coefficients", np.complex64, path),
        "delays_s": _array(file, "delays_s", np.float64, path),
        "times_s": _array(file, "times_s", np.float64, path),
        "sample_rate_hz": _number(attributes, "sample_rate_hz", path),
        "frequency_offset_hz": _array(file, "frequency_hz", np.float64, path, needed=False),
        "timing_s": _array(file, "timing_s", np.float64, path, needed=False),
        "noise_variance": _array(file, "noise_variance", np.float64, path, needed=False),
        "found": _array(file, "found", np.bool_, path, needed=False),
        "carrier_hz": _number(attributes, "frequency_hz", path, math.nan),
        "gain_reference_db": _number(attributes, "gain_reference_db", path, 0.0),
        "source": _text(attributes.get("source", "")) or "",
        "path": str(path),
    }


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return None if value is None else str(value)


def _number(attributes: dict[str, Any], name: str, path: Path, otherwise: float | None = None) -> float:
    if name not in attributes:
        if otherwise is None:
            raise CaptureError(f"{path} lacks the attribute {name}, a number; a sounding needs it")
        return otherwise
    value = np.asarray(attributes[name])
    if value.size != 1 or value.dtype.kind not in "iuf":
        raise CaptureError(f"{path} has the attribute {name} of {value.dtype} and shape {value.shape}; it must be one number")
    return float(value.reshape(()))


def _array(file: Any, name: str, kind: type[np.generic], path: Path, needed: bool = True) -> Any:
    if name not in file:
        if needed:
            raise CaptureError(f"{path} lacks the array {name}; it has {', '.join(file) or 'none'}")
        return None
    values = file[name]
    dtype = getattr(values, "dtype", None)
    if dtype is None or getattr(values, "shape", None) is None:
        raise CaptureError(f"{path} has {name}, which is no array")
    if dtype.kind not in {"c": "cfiu", "f": "fiu", "b": "biu"}[np.dtype(kind).kind]:
        raise CaptureError(
            f"{path} has {name} of the type {dtype}; it must be {np.dtype(kind).name}"
            + (", which h5py writes of a complex array" if kind is np.complex64 else "")
        )
    if values.size > _MAX_ELEMENTS:
        raise CaptureError(f"{path} has {values.size} elements in {name}; cut it into parts")
    with np.errstate(over="ignore"):  # what single precision cannot hold becomes infinite, which is refused
        return np.asarray(values[()]).astype(kind)


def _h5py(path: Path) -> Any:
    try:
        return importlib.import_module("h5py")
    except ImportError as error:
        raise CaptureError(
            f"{path} is an HDF5 file and h5py is missing; install it with: pip install 'pairzero[sdr]'"
        ) from error
