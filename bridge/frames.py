"""The wire codec: messages to frames and back, and the only place that touches frames.

A message is `[prefix][header][buffer]...` (a ROUTER sees its route id in front, which is not the codec's
business). The prefix is 16 bytes, little-endian: magic "PZRO", u8 version, u8 type, u16 flags (zero), u64
sequence number. The header is msgpack. Every size, type and range is checked before an array is made of a
buffer. docs/protocol.md has it all.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from bridge.errors import FrameError
from bridge.messages import (
    PROTOCOL_VERSION,
    AggregateRequest,
    ErrorReply,
    Hello,
    Limits,
    Message,
    Ping,
    Pong,
    Result,
    SessionId,
    Welcome,
)

__all__ = [
    "HEADER_BYTES",
    "MAGIC",
    "MAX_DIAGNOSTICS",
    "ROUND_MAX",
    "Frame",
    "FrameCodec",
    "max_message_bytes",
]

MAGIC = b"PZRO"
HEADER_BYTES = 65_536
MAX_DIAGNOSTICS = 64
MAX_BUFFERS = 3
MAX_DEPTH = 16
ROUND_MAX = 2**62

_PREFIX = struct.Struct("<4sBBHQ")
_HELLO, _WELCOME, _AGGREGATE, _RESULT, _PING, _PONG, _ERROR = range(1, 8)

# The array methods of these names do the same by way of Python; a round is small enough for that to matter.
_least, _most = np.minimum.reduce, np.maximum.reduce
_every, _some = np.logical_and.reduce, np.logical_or.reduce

_DType = Literal["f8_le", "i8_le", "u1"]
_DTYPES: dict[str, np.dtype[Any]] = {
    "f8_le": np.dtype("<f8"),
    "i8_le": np.dtype("<i8"),
    "u1": np.dtype("u1"),
}


class _Buffer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(max_length=16)]
    dtype: _DType
    shape: Annotated[list[Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]], msgspec.Meta(min_length=1, max_length=3)]


_Buffers = Annotated[list[_Buffer], msgspec.Meta(max_length=MAX_BUFFERS)]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class _AggregateHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    session: SessionId
    devices: int
    n: int
    buffers: _Buffers


class _ResultHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    diagnostics: Annotated[list[_Name], msgspec.Meta(max_length=MAX_DIAGNOSTICS)]
    buffers: _Buffers


_HEADERS: dict[int, type[msgspec.Struct]] = {
    _HELLO: Hello,
    _WELCOME: Welcome,
    _AGGREGATE: _AggregateHeader,
    _RESULT: _ResultHeader,
    _PING: Ping,
    _PONG: Pong,
    _ERROR: ErrorReply,
}
_PLAIN = {Hello: _HELLO, Welcome: _WELCOME, Ping: _PING, Pong: _PONG, ErrorReply: _ERROR}
_REQUEST_BUFFERS = (("rounds", "i8_le"), ("payloads", "f8_le"), ("present", "u1"))
_RESULT_BUFFERS = (("estimates", "f8_le"), ("lost", "u1"), ("diagnostics", "f8_le"))


class _Plan(NamedTuple):
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    native: np.dtype[Any]
    nbytes: int
    flags: bool


class _Layout(NamedTuple):
    """A header that was read and checked, and what its buffers must look like."""

    header: bytes
    fields: _AggregateHeader | _ResultHeader
    plans: list[_Plan]


class Frame(NamedTuple):
    """A decoded message and its sequence number."""

    seq: int
    message: Message


def max_message_bytes(limits: Limits) -> int:
    """Return the largest legal part of a message within `limits`, in bytes (for the socket's MAXMSGSIZE)."""
    return max(HEADER_BYTES, 8 * limits.scalars, 8 * limits.rounds * MAX_DIAGNOSTICS)


class FrameCodec:
    """Encode and decode messages within `limits`; one per socket, used by one thread at a time."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._encoder = msgspec.msgpack.Encoder()
        self._decoders: dict[int, msgspec.msgpack.Decoder[Any]] = {
            kind: msgspec.msgpack.Decoder(header) for kind, header in _HEADERS.items()
        }
        # A round is usually shaped like the one before it: the last header of each kind, written and read, is
        # kept.
        self._last: dict[int, tuple[object, bytes]] = {}
        self._known: dict[int, _Layout] = {}

    @property
    def limits(self) -> Limits:
        """The largest messages written and read."""
        return self._limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._limits = limits
        self._last.clear()  # what was checked against the old limits
        self._known.clear()

    def encode(self, seq: int, message: Message) -> list[bytes | memoryview]:
        """Return the parts of `message`.

        Arrays are not copied: the caller sends them with `copy=True`.

        Raises:
            FrameError: the message breaks the protocol or the limits.
        """
        if isinstance(message, AggregateRequest):
            kind, header, buffers = self._encode_request(message)
        elif isinstance(message, Result):
            kind, header, buffers = self._encode_result(message)
        else:
            if isinstance(message, Hello):
                _check_plain(message.config, "the configuration", None)
            kind, header, buffers = _PLAIN[type(message)], self._pack(message), []
        if len(header) > HEADER_BYTES:
            raise FrameError(f"the header has {len(header)} bytes and may have {HEADER_BYTES}; send less", code="too_large")
        return [_PREFIX.pack(MAGIC, PROTOCOL_VERSION, kind, 0, seq), header, *buffers]

    def decode(self, parts: Sequence[bytes]) -> Frame:
        """Return the message in `parts`; its arrays are aligned, native, writeable and the caller's own.

        Raises:
            FrameError: anything at all is wrong with it; nothing else is ever raised.
        """
        kind, seq = _read_prefix(parts)
        header = parts[1]
        if len(header) > HEADER_BYTES:
            raise FrameError(
                f"the header has {len(header)} bytes and may have {HEADER_BYTES}; send less",
                code="too_large",
                seq=seq,
            )
        known = self._known.get(kind)
        if known is not None and known.header == header:
            return Frame(seq, self._unpack(seq, known, parts[2:]))
        try:
            fields = self._decoders[kind].decode(header)
        except (msgspec.DecodeError, ValueError, TypeError, RecursionError) as error:
            raise FrameError(f"the header of a type {kind} message cannot be read: {error}", seq=seq) from None
        if isinstance(fields, _AggregateHeader | _ResultHeader):
            if isinstance(fields, _AggregateHeader):
                self._check_request(seq, fields)
            else:
                self._check_result(seq, fields)
            layout = _Layout(header, fields, [_plan(buffer) for buffer in fields.buffers])
            message: Message = self._unpack(seq, layout, parts[2:])
            self._known[kind] = layout
            return Frame(seq, message)
        if len(parts) != 2:
            raise FrameError(f"a type {kind} message has 2 parts, this one has {len(parts)}", seq=seq)
        if isinstance(fields, Hello):
            _check_plain(fields.config, "the configuration", seq)
        message = fields
        return Frame(seq, message)

    def _pack(self, header: object) -> bytes:
        try:
            return self._encoder.encode(header)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise FrameError(f"the message cannot be written: {error}") from None

    def _encode_request(self, message: AggregateRequest) -> tuple[int, bytes, list[memoryview]]:
        rounds = np.ascontiguousarray(message.rounds, dtype="<i8")
        payloads = np.ascontiguousarray(message.payloads, dtype="<f8")
        arrays: list[npt.NDArray[Any]] = [rounds, payloads]
        if message.present is not None:
            arrays.append(np.ascontiguousarray(message.present, dtype="u1"))
        if payloads.ndim != 3:
            raise FrameError(f"payloads have {payloads.ndim} axes; give [rounds, devices, entries]")
        key = (message.session, *(array.shape for array in arrays))
        header = self._cached(_AGGREGATE, key)
        if header is None:
            _, devices, n = payloads.shape
            fields = _AggregateHeader(message.session, devices, n, _describe(_REQUEST_BUFFERS, arrays))
            self._check_request(None, fields)
            header = self._keep(_AGGREGATE, key, fields)
        _check_request_values(None, rounds, payloads)
        return _AGGREGATE, header, [array.data for array in arrays]

    def _unpack(self, seq: int, layout: _Layout, parts: Sequence[bytes]) -> AggregateRequest | Result:
        """Make arrays of the buffers, whose shapes are within the limits and fit each other."""
        if len(parts) != len(layout.plans):
            raise FrameError(f"the header describes {len(layout.plans)} buffers, {len(parts)} came", seq=seq)
        arrays = []
        for plan, part in zip(layout.plans, parts, strict=True):
            if plan.nbytes != len(part):
                raise FrameError(
                    f"buffer {plan.name} has {len(part)} bytes, its shape {list(plan.shape)} needs {plan.nbytes}", seq=seq
                )
            if plan.flags and part.translate(None, b"\0\1"):
                raise FrameError(f"buffer {plan.name} holds other bytes than 0 and 1", seq=seq)
            # the copy is aligned, native and writeable whatever memory the socket handed over
            arrays.append(np.ndarray(plan.shape, plan.dtype, part).astype(plan.native))
        fields = layout.fields
        if isinstance(fields, _AggregateHeader):
            _check_request_values(seq, arrays[0], arrays[1])
            return AggregateRequest(fields.session, arrays[0], arrays[1], arrays[2] if len(arrays) == 3 else None)
        _check_lost_rounds(seq, arrays[0], arrays[1])
        return Result(arrays[0], arrays[1], dict(zip(fields.diagnostics, arrays[2], strict=True)) if fields.diagnostics else {})

    def _check_request(self, seq: int | None, header: _AggregateHeader) -> None:
        found = header.buffers
        _check_buffers(seq, found, _REQUEST_BUFFERS[: max(2, len(found))])
        batch, limits = found[0].shape[0], self._limits
        for value, limit, what in (
            (batch, limits.rounds, "rounds"),
            (header.devices, limits.devices, "devices"),
            (header.n, limits.entries, "scalars per device"),
            (batch * header.devices * header.n, limits.scalars, "scalars in all"),
        ):
            if value < 1:
                raise FrameError(f"the message has {value} {what}; give at least one", seq=seq)
            if value > limit:
                raise FrameError(
                    f"the message has {value} {what} and may have {limit}; send it in pieces, or raise the server's limit",
                    code="too_large",
                    seq=seq,
                )
        _check_shape(seq, found[0], [batch])
        _check_shape(seq, found[1], [batch, header.devices, header.n])
        if len(found) == 3:
            _check_shape(seq, found[2], [batch, header.devices])

    def _encode_result(self, message: Result) -> tuple[int, bytes, list[memoryview]]:
        estimates = np.ascontiguousarray(message.estimates, dtype="<f8")
        lost = np.ascontiguousarray(message.lost, dtype=np.bool_)
        arrays: list[npt.NDArray[Any]] = [estimates, lost.view("u1")]
        names = list(message.diagnostics)
        for name in names:
            if np.shape(message.diagnostics[name]) != lost.shape:
                raise FrameError(f"diagnostic {name!r} has not one value for each round")
        if names:
            arrays.append(np.array([message.diagnostics[name] for name in names], dtype="<f8"))
        key = (tuple(names), *(array.shape for array in arrays))
        header = self._cached(_RESULT, key)
        if header is None:
            fields = _ResultHeader(names, _describe(_RESULT_BUFFERS, arrays))
            self._check_result(None, fields)
            header = self._keep(_RESULT, key, fields)
        _check_lost_rounds(None, estimates, lost)
        return _RESULT, header, [array.data for array in arrays]

    def _check_result(self, seq: int | None, header: _ResultHeader) -> None:
        names, found = header.diagnostics, header.buffers
        _check_buffers(seq, found, _RESULT_BUFFERS if names else _RESULT_BUFFERS[:2])
        if len(names) > MAX_DIAGNOSTICS or len(set(names)) != len(names) or not all(0 < len(x) <= 64 for x in names):
            raise FrameError(f"diagnostics need different names of 1 to 64 characters, {MAX_DIAGNOSTICS} at most", seq=seq)
        if len(found[0].shape) != 2:
            raise FrameError("estimates need the shape [rounds, entries]", seq=seq)
        batch, n = found[0].shape
        if batch > self._limits.rounds or n > self._limits.entries or batch * n > self._limits.scalars:
            raise FrameError(f"the result of {batch} rounds of {n} is over the limits", code="too_large", seq=seq)
        _check_shape(seq, found[1], [batch])
        if names:
            _check_shape(seq, found[2], [len(names), batch])

    def _cached(self, kind: int, key: object) -> bytes | None:
        last = self._last.get(kind)
        return last[1] if last is not None and last[0] == key else None

    def _keep(self, kind: int, key: object, fields: object) -> bytes:
        header = self._pack(fields)
        self._last[kind] = (key, header)
        return header


def _read_prefix(parts: Sequence[bytes]) -> tuple[int, int]:
    if not parts or len(parts[0]) != _PREFIX.size:
        raise FrameError(f"a message begins with a prefix of {_PREFIX.size} bytes, this one does not")
    magic, version, kind, flags, seq = _PREFIX.unpack(parts[0])
    if magic != MAGIC:
        raise FrameError(f"a message begins with {MAGIC.decode()}, this one does not")
    if version != PROTOCOL_VERSION:
        raise FrameError(f"this side speaks version {PROTOCOL_VERSION}, the message has version {version}", seq=seq)
    if kind not in _HEADERS:
        raise FrameError(f"version {PROTOCOL_VERSION} has no message of type {kind}", seq=seq)
    if flags != 0:
        raise FrameError(f"version {PROTOCOL_VERSION} has no flags, the message has {flags:#06x}", seq=seq)
    if not 2 <= len(parts) <= 2 + MAX_BUFFERS:
        raise FrameError(f"a message has 2 to {2 + MAX_BUFFERS} parts, this one has {len(parts)}", seq=seq)
    return kind, seq


def _describe(expected: Sequence[tuple[str, str]], arrays: Sequence[npt.NDArray[Any]]) -> list[_Buffer]:
    # zip stops at the shorter: the last buffer of either kind is optional
    return [
        _Buffer(name, dtype, list(array.shape))  # type: ignore[arg-type]
        for (name, dtype), array in zip(expected, arrays, strict=False)
    ]


def _check_buffers(seq: int | None, found: Sequence[_Buffer], expected: Sequence[tuple[str, str]]) -> None:
    if [(buffer.name, buffer.dtype) for buffer in found] != list(expected):
        want = ", ".join(f"{name} ({dtype})" for name, dtype in expected)
        raise FrameError(f"the buffers of this message are {want}, in this order", seq=seq)


def _check_shape(seq: int | None, buffer: _Buffer, shape: list[int]) -> None:
    if buffer.shape != shape:
        raise FrameError(f"buffer {buffer.name} has shape {buffer.shape}, {shape} fits the message", seq=seq)


def _plan(buffer: _Buffer) -> _Plan:
    dtype = _DTYPES[buffer.dtype]
    flags = buffer.dtype == "u1"
    return _Plan(
        name=buffer.name,
        shape=tuple(buffer.shape),
        dtype=dtype,
        native=np.dtype(np.bool_) if flags else dtype.newbyteorder("="),
        nbytes=math.prod(buffer.shape) * dtype.itemsize,
        flags=flags,
    )


def _check_request_values(seq: int | None, rounds: npt.NDArray[np.int64], payloads: npt.NDArray[np.float64]) -> None:
    first, last = int(_least(rounds)), int(_most(rounds))
    if first < 0 or last > ROUND_MAX:
        raise FrameError(f"rounds run from {first} to {last}; they may from 0 to 2^62", seq=seq)
    if not _every(np.isfinite(payloads), axis=None):
        raise FrameError("a payload is NaN or infinite; clip before sending", seq=seq)


def _check_lost_rounds(seq: int | None, estimates: npt.NDArray[np.float64], lost: npt.NDArray[np.bool_]) -> None:
    finite = np.isfinite(estimates)
    if _every(finite, axis=None) and not _some(lost):
        return
    if not finite[~lost].all() or not np.isnan(estimates[lost]).all():
        raise FrameError("estimates must be NaN throughout each lost round and finite in every other", seq=seq)


def _check_plain(value: object, where: str, seq: int | None, depth: int = 0) -> None:
    """Refuse what has no twin in every language: bytes, dates, extension types, keys that are not text."""
    if depth > MAX_DEPTH:
        raise FrameError(f"{where} is nested deeper than {MAX_DEPTH} levels", seq=seq)
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise FrameError(f"{where} has the key {str(key)[:40]}, which is not text", seq=seq)
            _check_plain(item, where, seq, depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_plain(item, where, seq, depth + 1)
    elif value is not None and not isinstance(value, str | int | float):
        raise FrameError(f"{where} holds a {type(value).__name__}; give text, numbers, booleans, lists and tables", seq=seq)
