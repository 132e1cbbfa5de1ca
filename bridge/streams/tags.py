"""The header that GNU Radio's ZeroMQ blocks put before samples with ``pass_tags``, and the PMT values in it.

    uint16 0x5FF0, uint8 version 1, uint64 offset of the first item, uint64 number of tags      host byte order
    per tag: uint64 offset, PMT key, PMT value, PMT source                                      PMT bodies big-endian

Source: gr-zeromq/lib/tag_headers.cc and the serialisation of gnuradio-runtime's pmt.cc, GNU Radio 3.10.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bridge.streams.errors import StreamBroken

__all__ = ["HEADER_BYTES", "Header", "Tag", "carries_header", "decode_header", "encode_header"]

_FIXED = struct.Struct("=HBQQ")
_MAGIC, _VERSION = 0x5FF0, 1
HEADER_BYTES = _FIXED.size
_MOST_TAGS = 4096
_DEPTH = 16
# Uniform vectors: code -> bytes per element.
_ELEMENT_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 8, 7: 8, 8: 4, 9: 8, 10: 8, 11: 16}


@dataclass(frozen=True)
class Tag:
    """A tag on the sample with the absolute index `offset`.

    Values are None, bool, int, float, complex, str, tuples (PMT tuples and pairs) and bytes (uniform vectors, as they are).
    """

    offset: int
    key: str
    value: Any
    source: Any = False  # what GNU Radio writes where there is none


@dataclass(frozen=True)
class Header:
    """What stands before the samples; `size` in bytes."""

    offset: int
    tags: tuple[Tag, ...]
    size: int


def encode_header(offset: int, tags: Sequence[Tag] = ()) -> bytes:
    """Return the header of a message whose first item has the absolute index `offset`."""
    parts = [_FIXED.pack(_MAGIC, _VERSION, offset, len(tags))]
    for tag in tags:
        parts += [struct.pack("=Q", tag.offset), _encode(tag.key), _encode(tag.value), _encode(tag.source)]
    return b"".join(parts)


def decode_header(data: bytes | memoryview) -> Header:
    """Parse the header at the front of `data`.

    Raises:
        StreamBroken: there is none, or it is cut off or malformed.
    """
    if len(data) < HEADER_BYTES:
        raise StreamBroken(f"a message of {len(data)} bytes has no tag header; set pass_tags alike at both ends")
    magic, version, offset, count = _FIXED.unpack_from(data)
    if (magic, version) != (_MAGIC, _VERSION):
        raise StreamBroken("a message has no tag header where pass_tags agreed on one; set pass_tags alike at both ends")
    if count > _MOST_TAGS:
        raise StreamBroken(f"a tag header announces {count} tags; {_MOST_TAGS} are the most that is read")
    reader = _Reader(memoryview(data), HEADER_BYTES)
    tags = []
    for _ in range(count):
        (at,) = reader.take("=Q")
        key, value, source = reader.value(), reader.value(), reader.value()
        tags.append(Tag(at, str(key), value, source))
    return Header(offset, tuple(tags), reader.at)


def carries_header(data: bytes | memoryview) -> bool:
    """Whether a message whole begins with a well-formed tag header."""
    try:
        return decode_header(data).offset < 1 << 48
    except StreamBroken:
        return False


def _encode(value: Any) -> bytes:
    if value is None:
        return b"\x06"
    if isinstance(value, bool):
        return b"\x00" if value else b"\x01"
    if isinstance(value, str):
        raw = value.encode()
        return struct.pack(">BH", 2, len(raw)) + raw
    if isinstance(value, int):
        if -(1 << 31) <= value < 1 << 31:
            return struct.pack(">Bi", 3, value)
        return struct.pack(">BQ", 0x0B, value) if value >= 0 else struct.pack(">Bq", 0x0D, value)
    if isinstance(value, float):
        return struct.pack(">Bd", 4, value)
    if isinstance(value, complex):
        return struct.pack(">Bdd", 5, value.real, value.imag)
    if isinstance(value, tuple):
        return struct.pack(">BI", 0x0C, len(value)) + b"".join(_encode(item) for item in value)
    raise TypeError(f"a tag cannot carry a {type(value).__name__}")


class _Reader:
    """A cursor over PMT values; anything that does not fit raises StreamBroken."""

    def __init__(self, data: memoryview, at: int) -> None:
        self._data, self.at = data, at

    def take(self, form: str) -> tuple[Any, ...]:
        """The next fields."""
        size = struct.calcsize(form)
        if self.at + size > len(self._data):
            raise StreamBroken("a tag header is cut off in the middle of a tag")
        found = struct.unpack_from(form, self._data, self.at)
        self.at += size
        return found

    def raw(self, size: int) -> bytes:
        """The next bytes."""
        if size > len(self._data) - self.at:
            raise StreamBroken("a tag header is cut off in the middle of a tag")
        self.at += size
        return bytes(self._data[self.at - size : self.at])

    def value(self, depth: int = 0) -> Any:
        """The next PMT value."""
        if depth > _DEPTH:
            raise StreamBroken(f"a tag is nested deeper than {_DEPTH} levels")
        (code,) = self.take(">B")
        plain = {3: ">i", 4: ">d", 0x0B: ">Q", 0x0D: ">q"}.get(code)
        if plain is not None:
            return self.take(plain)[0]
        if code in (0, 1):
            return code == 0
        if code == 2:
            return self.raw(self.take(">H")[0]).decode("utf-8", "replace")
        if code == 5:
            return complex(*self.take(">dd"))
        if code == 6:
            return None
        if code in (7, 9):  # a pair; a dictionary is a list of pairs
            return (self.value(depth + 1), self.value(depth + 1))
        if code in (8, 0x0C):
            (count,) = self.take(">I")
            if count > len(self._data) - self.at:
                raise StreamBroken("a tag header is cut off in the middle of a tag")
            return tuple(self.value(depth + 1) for _ in range(count))
        if code == 0x0A:
            kind, count, padding = self.take(">BIB")
            self.raw(padding)
            return self.raw(count * _ELEMENT_BYTES.get(kind, 1 << 40))
        raise StreamBroken(f"a tag has a value of the unknown kind {code:#04x}")
