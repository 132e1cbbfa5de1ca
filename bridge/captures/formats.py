"""Sample formats: what the bytes of a recording mean, as SigMF names it, and as complex64."""

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bridge.captures.errors import CaptureError

Complexes = npt.NDArray[np.complex64]

# Names that other tools use for SigMF's, little-endian as on every machine that they run on.
_ALIASES = {"cf32": "cf32_le", "fc32": "cf32_le", "cf64": "cf64_le", "fc64": "cf64_le", "sc16": "ci16_le", "ci16": "ci16_le",
            "sc8": "ci8", "cs8": "ci8"}  # fmt: skip
_PATTERN = re.compile(r"(c|r)(f32|f64|i32|i24|i16|u32|u16|i8|u8)(_le|_be)?")
_KNOWN = "cf32_le, cf64_le, ci16_le, ci24_le, ci32_le, ci8 and cu8 (also cf32, sc16, cs8, and _be for the other byte order)"


@dataclass(frozen=True)
class SampleFormat:
    """How one complex sample lies in a file: I, then Q, both of ``component``.

    ``name``: SigMF's, which has no 24 bits: of those ``component`` is a void of three bytes and ``big_endian`` their order.
    Integers are scaled to full scale 1, unsigned ones about their middle (127.5 for 8 bits).
    """

    name: str
    component: np.dtype[np.generic]
    big_endian: bool = False

    @property
    def sample_bytes(self) -> int:
        """Bytes of one complex sample."""
        return 2 * self.component.itemsize

    def decode(self, data: bytes | memoryview) -> Complexes:
        """Bytes to samples [N]. Floats of 32 bits keep their bits; their number must be whole samples."""
        if self.component.kind == "V":
            wide = np.zeros((len(data) // 3, 4), np.uint8)
            wide[:, slice(0, 3) if self.big_endian else slice(1, 4)] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            parts = wide.view(">i4" if self.big_endian else "<i4")[:, 0]
            return (parts.astype(np.float64) / 2.0**31).astype(np.float32).view(np.complex64)
        parts = np.frombuffer(data, self.component)
        kind, bits = self.component.kind, 8 * self.component.itemsize
        if kind == "f":
            with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, which the caller refuses
                values = np.ascontiguousarray(parts, np.float32)
        elif kind == "i" and bits <= 16:  # exact, in little memory
            values = parts.astype(np.float32)
            values /= np.float32(2.0 ** (bits - 1))
        elif kind == "i":
            values = (parts.astype(np.float64) / 2.0 ** (bits - 1)).astype(np.float32)
        else:
            middle = (2.0**bits - 1.0) / 2.0
            values = ((parts.astype(np.float64) - middle) / middle).astype(np.float32)
        return values.view(np.complex64)


def sample_format(name: str, where: str) -> SampleFormat:
    """The format called ``name``; ``where`` names the file in the error.

    Raises :class:`bridge.captures.errors.CaptureError` for a name that does not exist, and for real samples.
    """
    wanted = _ALIASES.get(name, name) if isinstance(name, str) else ""
    match = _PATTERN.fullmatch(wanted)
    if match is None:
        raise CaptureError(f"{where} has the datatype {str(name)[:40]!r}, which is none of {_KNOWN}")
    real, kind, order = match[1] == "r", match[2], match[3]
    width = int(kind[1:])
    if real:
        raise CaptureError(
            f"{where} has real samples ({name}); baseband is complex: convert it to I and Q first, or, where pairs of channels "
            f"are I and Q, state the datatype {'c' + wanted[1:]} and half as many channels"
        )
    if (width > 8) != (order is not None):
        raise CaptureError(
            f"{where} has the datatype {name!r}, which needs {'a byte order, _le or _be' if width > 8 else 'none'}"
        )
    if width == 24:
        return SampleFormat(wanted, np.dtype("V3"), big_endian=order == "_be")
    return SampleFormat(wanted, np.dtype(f"{'>' if order == '_be' else '<'}{kind[0]}{width // 8}"))


def refuse_not_finite(samples: Complexes, where: str) -> None:
    """Raise :class:`bridge.captures.errors.CaptureError` that names the first sample which is not finite."""
    good = np.isfinite(samples)
    if not good.all():
        first = int(np.flatnonzero(~good)[0])
        raise CaptureError(
            f"{where} holds {int((~good).sum())} samples that are not finite, the first at {first}; repair it first"
        )
