"""Check the structure of a MATLAB file of version 5 to 7 before scipy reads it: on wrong tags its reader ends the process.

A file is a head of 128 bytes and elements: a tag (type and number of bytes, or both in four bytes with up to four of data),
data, and zeros up to a multiple of eight. An array is an element of elements: flags with its class, dimensions, name, and what
the class needs. Source: MAT-File Format, The MathWorks, version 5 and later.
"""

import math
import mmap
import struct
import zlib
from pathlib import Path

from bridge.captures.errors import CaptureError

_SIZES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}  # of numbers, by type
_TEXTS = {16: 1, 17: 2, 18: 4}
_ARRAY, _COMPRESSED = 14, 15
_CELL, _STRUCT, _OBJECT, _CHAR, _SPARSE, _NUMBERS = 1, 2, 3, 4, 5, range(6, 16)
_COMPLEX = 0x800
_LARGEST = 1 << 31
_DEEPEST = 16

Data = bytes | mmap.mmap


def refuse_damaged(path: Path) -> None:
    """Raise :class:`bridge.captures.errors.CaptureError` where types, lengths or dimensions do not fit together.

    Arrays of classes that hold no numbers (functions, opaque objects) are passed over: nobody reads them.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            _Walk(data, {b"IM": "<", b"MI": ">"}[data[126:128]]).file()
        except (_Damage, KeyError, IndexError, struct.error, zlib.error) as error:
            why = f": {error}" if isinstance(error, _Damage) else ""
            raise CaptureError(f"{path} cannot be read as a MATLAB file, it is damaged or cut off{why}") from error


class _Damage(Exception):
    """What does not fit."""


class _Walk:
    """Elements of ``data``, of the byte order ``order``."""

    def __init__(self, data: Data, order: str) -> None:
        self._data, self._order = data, order

    def file(self) -> None:
        """Every variable."""
        at = 128
        while at < len(self._data):
            kind, begin, end, _ = self._tag(at, len(self._data))
            if kind == _COMPRESSED:
                opener = zlib.decompressobj()
                content = opener.decompress(self._data[begin:end], _LARGEST)
                if opener.unconsumed_tail or not opener.eof:
                    raise _Damage("a compressed variable is cut off, or larger than 2 GiB")
                inner = _Walk(content, self._order)
                if inner._tag(0, len(content))[0] != _ARRAY:
                    raise _Damage("a compressed variable is no array")
                inner._array(0, len(content), 0)
                at = end  # without filling
            else:
                at = self._array(at, len(self._data), 0)

    def _tag(self, at: int, stop: int) -> tuple[int, int, int, int]:
        """Type, begin and end of the data, and where the next element begins."""
        if at + 8 > stop:
            raise _Damage("a tag is cut off")
        first, size = struct.unpack_from(f"{self._order}II", self._data, at)
        if first >> 16:
            kind, size = first & 0xFFFF, first >> 16
            if size > 4:
                raise _Damage(f"a short element has {size} bytes")
            return kind, at + 4, at + 4 + size, at + 8
        if at + 8 + size > stop:
            raise _Damage(f"an element of {size} bytes reaches beyond its end")
        return first, at + 8, at + 8 + size, at + 8 + size + -size % 8

    def _of(self, at: int, stop: int, kinds: dict[int, int]) -> tuple[int, int, int, int]:
        """Begin and end of numbers of one of these types, how many they are, and the next element's place."""
        kind, begin, end, following = self._tag(at, stop)
        if kind not in kinds or (end - begin) % kinds[kind]:
            raise _Damage(f"an element of type {kind} and {end - begin} bytes is in the wrong place")
        return begin, end, (end - begin) // kinds[kind], following

    def _array(self, at: int, stop: int, depth: int) -> int:
        """Check the array at ``at``; return where the next element begins."""
        kind, begin, end, following = self._tag(at, stop)
        if kind != _ARRAY or depth > _DEEPEST:
            raise _Damage(
                f"an element of type {kind} stands where an array belongs" if kind != _ARRAY else "arrays lie too deep"
            )
        if begin == end:  # an empty cell
            return following
        start, _, count, at = self._of(begin, end, {6: 4})
        if count != 2:
            raise _Damage("the flags of an array are malformed")
        (flags,) = struct.unpack_from(f"{self._order}I", self._data, start)
        group = flags & 0xFF
        if group not in (_CELL, _STRUCT, _OBJECT, _CHAR, _SPARSE, *_NUMBERS):
            return following
        start, _, count, at = self._of(at, end, {5: 4})
        shape = struct.unpack_from(f"{self._order}{count}i", self._data, start)
        if count < 2 or min(shape) < 0:
            raise _Damage(f"an array has the dimensions {shape[:8]}")
        elements = math.prod(shape)
        *_, at = self._of(at, end, {1: 1, 16: 1})  # the name
        if group in (_CELL, _STRUCT, _OBJECT):
            if group == _OBJECT:
                *_, at = self._of(at, end, {1: 1})
            fields = 1
            if group != _CELL:
                start, _, count, at = self._of(at, end, {5: 4})
                (length,) = struct.unpack_from(f"{self._order}i", self._data, start)
                *_, names, at = self._of(at, end, {1: 1})
                if count != 1 or length < 1 or names % length:
                    raise _Damage("the names of fields are malformed")
                fields = names // length
            for _ in range(elements * fields):
                at = self._array(at, end, depth + 1)
        elif group == _SPARSE:
            for _ in range(4 if flags & _COMPLEX else 3):
                *_, at = self._of(at, end, _SIZES)
        elif group == _CHAR:
            self._of(at, end, {**_SIZES, **_TEXTS})
        else:
            for _ in range(2 if flags & _COMPLEX else 1):
                *_, count, at = self._of(at, end, _SIZES)
                if count != elements:
                    raise _Damage(f"an array of {elements} elements has {count}")
        return following
