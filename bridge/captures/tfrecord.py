"""Read TFRecord files without TensorFlow: records with their checksums, the features of an Example, and serialised tensors.

A record: uint64 length, uint32 masked CRC-32C of the length, the data, uint32 masked CRC-32C of the data; all little-endian.
Data are a protocol buffer ``tf.train.Example``, whose byte features hold what ``tf.io.serialize_tensor`` writes (a
``TensorProto``).
Sources: tensorflow/core/lib/io/record_writer.h, core/example/feature.proto, core/framework/tensor.proto.
"""

import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bridge.captures.errors import CaptureError

_LARGEST_RECORD = 1 << 28
_POLYNOMIAL = 0x82F63B78  # Castagnoli's, reflected
# TensorProto's numbers for element types.
_TYPES = {1: "<f4", 2: "<f8"}
_MAX_ELEMENTS = 1 << 26

Words = npt.NDArray[np.uint32]


def read_records(path: str | Path) -> Iterator[bytes]:
    """Yield the data of every record.

    Raises :class:`bridge.captures.errors.CaptureError` where the file cannot be read, is cut off, or a checksum fails.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            number = 0
            while head := file.read(12):
                if len(head) < 12:
                    raise CaptureError(f"{path} is cut off in the head of record {number}")
                length, check = struct.unpack("<QI", head)
                if _masked(crc32c(head[:8])) != check or length > _LARGEST_RECORD:
                    raise CaptureError(
                        f"{path} is no TFRecord file, or altered: the head of record {number} fails its checksum"
                    )
                body = file.read(length + 4)
                if len(body) < length + 4:
                    raise CaptureError(f"{path} is cut off in record {number}")
                data = body[:length]
                if _masked(crc32c(data)) != struct.unpack("<I", body[length:])[0]:
                    raise CaptureError(f"{path} was altered: record {number} fails its checksum")
                yield data
                number += 1
    except OSError as error:
        raise CaptureError(f"{path} cannot be read: {error.strerror}") from error


def features(record: bytes) -> dict[str, Any]:
    """Features of an Example: bytes, or an array of float32; the first value of a list of bytes.

    Raises :class:`bridge.captures.errors.CaptureError` where the record is none.
    """
    out: dict[str, Any] = {}
    for entry in _all(record, 1):  # Example.features, and in it a map of entries
        for pair in _all(entry, 1):
            key = next(_all(pair, 1), b"").decode("utf-8", "replace")
            for feature in _all(pair, 2):
                for values in _all(feature, 1):
                    out[key] = next(_all(values, 1), b"")
                for values in _all(feature, 2):
                    out[key] = np.frombuffer(b"".join(_all(values, 1)), "<f4")
    return out


def tensor(data: bytes, name: str) -> npt.NDArray[np.floating[Any]]:
    """A serialised tensor of float32 or float64; ``name`` stands in the error.

    Raises :class:`bridge.captures.errors.CaptureError` where it is none.
    """
    kind, content = 0, b""
    shape: list[int] = []
    for number, value in _fields(data):
        if number == 1 and isinstance(value, int):
            kind = value
        elif number == 2 and isinstance(value, bytes):
            dims = (dict(_fields(dim)) for dim in _all(value, 2))
            sizes = [dim.get(1, 0) for dim in dims]
            shape = [size if isinstance(size, int) else -1 for size in sizes]
        elif number == 4 and isinstance(value, bytes):
            content = value
    if kind not in _TYPES:
        raise CaptureError(f"the feature {name!r} is no tensor of floating-point numbers")
    count = 1
    for size in shape:
        count *= size if size >= 0 else _MAX_ELEMENTS + 1
    element = np.dtype(_TYPES[kind])
    if count > _MAX_ELEMENTS or len(content) != count * element.itemsize:
        raise CaptureError(f"the feature {name!r} has the shape {shape} and {len(content)} bytes, which do not fit together")
    return np.frombuffer(content, element).reshape(shape)


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli). Long data are worked on in lanes side by side, which are then joined: the register is linear."""
    table = _table()
    start = np.uint32(0xFFFFFFFF)
    if len(data) < 2048:
        register = int(start)
        for byte in data:
            register = (register >> 8) ^ int(table[(register ^ byte) & 0xFF])
        return register ^ 0xFFFFFFFF
    count = 512 if len(data) < 1 << 17 else 4096  # a power of two
    width = -(-len(data) // count)
    # Zeros in front leave an empty register empty.
    padded = np.zeros(count * width, np.uint8)
    padded[len(padded) - len(data) :] = np.frombuffer(data, np.uint8)
    columns = np.ascontiguousarray(padded.reshape(count, width).T)
    lanes: Words = np.zeros(count, np.uint32)
    for column in columns:
        lanes = (lanes >> np.uint32(8)) ^ table[(lanes ^ column) & np.uint32(0xFF)]
    while len(lanes) > 1:
        lanes = _shifted(lanes[0::2], width) ^ lanes[1::2]
        width *= 2
    begun = _shifted(np.array([start], np.uint32), len(data))
    return int(lanes[0] ^ begun[0]) ^ 0xFFFFFFFF


def _masked(crc: int) -> int:
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


@cache
def _table() -> Words:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & np.uint32(1), (table >> np.uint32(1)) ^ np.uint32(_POLYNOMIAL), table >> np.uint32(1))
    return table


def _shifted(registers: Words, zeros: int) -> Words:
    """Registers after ``zeros`` bytes of zero: a linear map, given by its images of the 32 bits."""
    images = _images(zeros)
    out = np.zeros_like(registers)
    for bit in range(32):
        out ^= np.where(registers >> np.uint32(bit) & np.uint32(1), images[bit], np.uint32(0))
    return out


@cache
def _images(zeros: int) -> Words:
    if zeros == 0:
        return np.uint32(1) << np.arange(32, dtype=np.uint32)
    half = _images(zeros // 2)
    twice = np.zeros(32, np.uint32)
    for bit in range(32):
        twice ^= np.where(half >> np.uint32(bit) & np.uint32(1), half[bit], np.uint32(0))
    return (twice >> np.uint32(8)) ^ _table()[twice & np.uint32(0xFF)] if zeros % 2 else twice


def _all(message: bytes, number: int) -> Iterator[bytes]:
    """Every field of a message with this number that holds bytes."""
    return (value for found, value in _fields(message) if found == number and isinstance(value, bytes))


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Fields (number, value) of a protocol buffer: integers, or bytes (also numbers of fixed size, as they are)."""
    at = 0
    while at < len(message):
        key, at = _integer(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _integer(message, at)
            yield key >> 3, value
            continue
        if kind == 2:
            size, at = _integer(message, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise CaptureError(f"a record is no protocol buffer: it has a field of kind {kind}")
        if size > len(message) - at:
            raise CaptureError("a record is cut off inside a field")
        yield key >> 3, message[at : at + size]
        at += size


def _integer(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise CaptureError("a record is cut off inside a number, or has one that is too long")
