"""What the wire protocols share: the prefix, buffers and how they are described, and the checks of both.

A message is `[prefix][header][buffer]...`. The prefix is 16 bytes, little-endian: magic, u8 version, u8 type, u16
flags (zero), u64 sequence number. The header is msgpack. Every size and type is checked before an array is made.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from bridge.errors import FrameError

__all__ = [
    "HEADER_BYTES",
    "MAX_BUFFERS",
    "PREFIX",
    "Buffer",
    "Buffers",
    "Plan",
    "check_buffers",
    "check_header",
    "check_plain",
    "check_shape",
    "describe",
    "pack",
    "plan",
    "read_arrays",
    "read_prefix",
]

HEADER_BYTES = 65_536
MAX_BUFFERS = 3
MAX_DEPTH = 16
PREFIX = struct.Struct("<4sBBHQ")

DType = Literal["f8_le", "i8_le", "u1"]
_DTYPES: dict[str, np.dtype[Any]] = {
    "f8_le": np.dtype("<f8"),
    "i8_le": np.dtype("<i8"),
    "u1": np.dtype("u1"),
}


class Buffer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A buffer as a header describes it."""

    name: Annotated[str, msgspec.Meta(max_length=16)]
    dtype: DType
    shape: Annotated[list[Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]], msgspec.Meta(min_length=1, max_length=3)]


Buffers = Annotated[list[Buffer], msgspec.Meta(max_length=MAX_BUFFERS)]


class Plan(NamedTuple):
    """A buffer's shape and types, and how many bytes it must have."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    native: np.dtype[Any]
    nbytes: int
    flags: bool


def read_prefix(parts: Sequence[bytes], magic: bytes, versions: Mapping[int, int]) -> tuple[int, int]:
    """Return (type, sequence number) of a message whose prefix and number of parts are in order.

    Args:
        parts: of the message.
        magic: of the protocol.
        versions: the version that each type of message belongs to, and that it has to name.

    Raises:
        FrameError: they are not.
    """
    if not parts or len(parts[0]) != PREFIX.size:
        raise FrameError(f"a message begins with a prefix of {PREFIX.size} bytes, this one does not")
    found, spoken, kind, flags, seq = PREFIX.unpack(parts[0])
    if found != magic:
        raise FrameError(f"a message begins with {magic.decode()}, this one does not")
    if versions.get(kind) != spoken:
        if spoken not in versions.values():
            known = " and ".join(str(version) for version in sorted(set(versions.values())))
            raise FrameError(f"this side speaks version {known}, the message has version {spoken}", seq=seq)
        raise FrameError(f"version {spoken} has no message of type {kind}", seq=seq)
    if flags != 0:
        raise FrameError(f"version {spoken} has no flags, the message has {flags:#06x}", seq=seq)
    if not 2 <= len(parts) <= 2 + MAX_BUFFERS:
        raise FrameError(f"a message has 2 to {2 + MAX_BUFFERS} parts, this one has {len(parts)}", seq=seq)
    return kind, seq


def check_header(header: bytes, seq: int | None) -> None:
    """Refuse a header that is too long."""
    if len(header) > HEADER_BYTES:
        raise FrameError(
            f"the header has {len(header)} bytes and may have {HEADER_BYTES}; send less", code="too_large", seq=seq
        )


def pack(encoder: msgspec.msgpack.Encoder, header: object) -> bytes:
    """Return a header's bytes.

    Raises:
        FrameError: it cannot be written.
    """
    try:
        return encoder.encode(header)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise FrameError(f"the message cannot be written: {error}") from None


def describe(expected: Sequence[tuple[str, str]], arrays: Sequence[npt.NDArray[Any]]) -> list[Buffer]:
    """Return the descriptions of `arrays` under the names and types expected."""
    # zip stops at the shorter: the last buffer of either kind is optional
    return [
        Buffer(name, dtype, list(array.shape))  # type: ignore[arg-type]
        for (name, dtype), array in zip(expected, arrays, strict=False)
    ]


def check_buffers(seq: int | None, found: Sequence[Buffer], expected: Sequence[tuple[str, str]]) -> None:
    """Refuse buffers of other names, types or order than expected."""
    if [(buffer.name, buffer.dtype) for buffer in found] != list(expected):
        want = ", ".join(f"{name} ({dtype})" for name, dtype in expected)
        raise FrameError(f"the buffers of this message are {want}, in this order", seq=seq)


def check_shape(seq: int | None, buffer: Buffer, shape: list[int]) -> None:
    """Refuse a buffer of another shape."""
    if buffer.shape != shape:
        raise FrameError(f"buffer {buffer.name} has shape {buffer.shape}, {shape} fits the message", seq=seq)


def plan(buffer: Buffer) -> Plan:
    """Return how a described buffer is read."""
    dtype = _DTYPES[buffer.dtype]
    flags = buffer.dtype == "u1"
    return Plan(
        name=buffer.name,
        shape=tuple(buffer.shape),
        dtype=dtype,
        native=np.dtype(np.bool_) if flags else dtype.newbyteorder("="),
        nbytes=math.prod(buffer.shape) * dtype.itemsize,
        flags=flags,
    )


def read_arrays(seq: int, plans: Sequence[Plan], parts: Sequence[bytes]) -> list[npt.NDArray[Any]]:
    """Make arrays of the buffers, whose shapes are within the limits; aligned, native, writeable and the caller's own.

    Raises:
        FrameError: the buffers are not those that the plans describe.
    """
    if len(parts) != len(plans):
        raise FrameError(f"the header describes {len(plans)} buffers, {len(parts)} came", seq=seq)
    arrays = []
    for item, part in zip(plans, parts, strict=True):
        if item.nbytes != len(part):
            raise FrameError(
                f"buffer {item.name} has {len(part)} bytes, its shape {list(item.shape)} needs {item.nbytes}", seq=seq
            )
        if item.flags and part.translate(None, b"\0\1"):
            raise FrameError(f"buffer {item.name} holds other bytes than 0 and 1", seq=seq)
        # the copy is aligned, native and writeable whatever memory the socket handed over
        arrays.append(np.ndarray(item.shape, item.dtype, part).astype(item.native))
    return arrays


def check_plain(value: object, where: str, seq: int | None, depth: int = 0) -> None:
    """Refuse what has no twin in every language: bytes, dates, extension types, keys that are not text."""
    if depth > MAX_DEPTH:
        raise FrameError(f"{where} is nested deeper than {MAX_DEPTH} levels", seq=seq)
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise FrameError(f"{where} has the key {str(key)[:40]}, which is not text", seq=seq)
            check_plain(item, where, seq, depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            check_plain(item, where, seq, depth + 1)
    elif value is not None and not isinstance(value, str | int | float):
        raise FrameError(f"{where} holds a {type(value).__name__}; give text, numbers, booleans, lists and tables", seq=seq)
