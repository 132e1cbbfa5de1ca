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
"""

import importlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bridge.captures.errors import CaptureError

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
        if not (np.isfinite(self.delays_s).all() and (self.delays_s >= 0).all()):
            raise CaptureError(f"{self.path}: delays must be finite and not negative")
        if not (np.isfinite(self.times_s).all() and (np.diff(self.times_s) > 0).all()):
            raise CaptureError(f"{self.path}: times_s must be finite and increase")
        if not self.sample_rate_hz > 0:
            raise CaptureError(f"{self.path}: the sample rate must be positive, got {self.sample_rate_hz}")
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

    def scaled_to_unit_gain(self) -> "Sounding":
        """The same with a mean energy of 1 over instants, devices and antennas; ratios stay, and the factor is noted."""
        energy = float(np.square(np.abs(self.coefficients.astype(np.complex128))).sum(axis=3).mean())
        if not energy > 0:
            raise CaptureError(f"{self.path}: all channels are zero; there is no gain to scale by")
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values["coefficients"] = (self.coefficients.astype(np.complex128) / np.sqrt(energy)).astype(np.complex64)
        values["gain_reference_db"] = self.gain_reference_db + 10.0 * float(np.log10(energy))
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
        try:
            with _h5py(path).File(path, "r") as file:
                attributes = dict(file.attrs)
                if attributes.get("format") != FORMAT or int(attributes.get("version", 0)) != VERSION:
                    raise CaptureError(f"{path} is no sounding of version {VERSION}; import it, or measure it again")
                return cls(
                    coefficients=_array(file, "coefficients", np.complex64),
                    delays_s=_array(file, "delays_s", np.float64),
                    times_s=_array(file, "times_s", np.float64),
                    sample_rate_hz=float(attributes["sample_rate_hz"]),
                    frequency_offset_hz=_array(file, "frequency_hz", np.float64),
                    timing_s=_array(file, "timing_s", np.float64),
                    noise_variance=_array(file, "noise_variance", np.float64),
                    found=_array(file, "found", np.bool_),
                    carrier_hz=float(attributes["frequency_hz"]),
                    gain_reference_db=float(attributes["gain_reference_db"]),
                    source=str(attributes["source"]),
                    path=str(path),
                )
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise CaptureError(f"{path} cannot be read as a sounding: {error}") from error


def _array(file: Any, name: str, kind: type) -> Any:
    values = file[name]
    if values.size > _MAX_ELEMENTS:
        raise CaptureError(f"{file.filename} has {values.size} elements in {name}; cut it into parts")
    return np.asarray(values[()], kind)


def _h5py(path: Path) -> Any:
    try:
        return importlib.import_module("h5py")
    except ImportError as error:
        raise CaptureError(
            f"{path} is an HDF5 file and h5py is missing; install it with: pip install 'pairzero[sdr]'"
        ) from error
