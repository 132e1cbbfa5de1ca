"""The wire codec: messages to frames and back, and the only place that touches frames.

A message is `[prefix][header][buffer]...` (a ROUTER sees its route id in front, which is not the codec's
business). The prefix is 16 bytes, little-endian: magic "PZRO", u8 version, u8 type, u16 flags (zero), u64
sequence number. The header is msgpack. Every size, type and range is checked before an array is made of a
buffer. docs/protocol.md has it all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from bridge.deposits import frames as deposits
from bridge.deposits.messages import DEPOSITS_VERSION, DepositMessage
from bridge.errors import FrameError
from bridge.framing import (
    HEADER_BYTES,
    PREFIX,
    Buffers,
    Plan,
    check_buffers,
    check_header,
    check_plain,
    check_shape,
    describe,
    pack,
    plan,
    read_arrays,
    read_prefix,
)
from bridge.messages import (
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
MAX_DIAGNOSTICS = 64
ROUND_MAX = 2**62

_HELLO, _WELCOME, _AGGREGATE, _RESULT, _PING, _PONG, _ERROR = range(1, 8)

# The array methods of these names do the same by way of Python; a round is small enough for that to matter.
_least, _most = np.minimum.reduce, np.maximum.reduce
_every, _some = np.logical_and.reduce, np.logical_or.reduce

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class _AggregateHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    session: SessionId
    devices: int
    n: int
    buffers: Buffers


class _ResultHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    diagnostics: Annotated[list[_Name], msgspec.Meta(max_length=MAX_DIAGNOSTICS)]
    buffers: Buffers


_HEADERS: dict[int, type[msgspec.Struct]] = {
    _HELLO: Hello,
    _WELCOME: Welcome,
    _AGGREGATE: _AggregateHeader,
    _RESULT: _ResultHeader,
    _PING: Ping,
    _PONG: Pong,
    _ERROR: ErrorReply,
    **deposits.HEADERS,
}
_VERSIONS = {kind: DEPOSITS_VERSION if kind in deposits.HEADERS else 1 for kind in _HEADERS}
_DEPOSIT_KINDS = {header: kind for kind, header in deposits.HEADERS.items()}
_PLAIN = {Hello: _HELLO, Welcome: _WELCOME, Ping: _PING, Pong: _PONG, ErrorReply: _ERROR}
_REQUEST_BUFFERS = (("rounds", "i8_le"), ("payloads", "f8_le"), ("present", "u1"))
_RESULT_BUFFERS = (("estimates", "f8_le"), ("lost", "u1"), ("diagnostics", "f8_le"))


class _Layout(NamedTuple):
    """A header that was read and checked, and what its buffers must look like."""

    header: bytes
    fields: _AggregateHeader | _ResultHeader
    plans: list[Plan]


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
        elif isinstance(message, DepositMessage):
            kind, header, buffers = self._encode_deposits(message)
        else:
            if isinstance(message, Hello):
                check_plain(message.config, "the configuration", None)
            kind, header, buffers = _PLAIN[type(message)], pack(self._encoder, message), []
        check_header(header, None)
        return [PREFIX.pack(MAGIC, _VERSIONS[kind], kind, 0, seq), header, *buffers]

    def decode(self, parts: Sequence[bytes]) -> Frame:
        """Return the message in `parts`; its arrays are aligned, native, writeable and the caller's own.

        Raises:
            FrameError: anything at all is wrong with it; nothing else is ever raised.
        """
        kind, seq = read_prefix(parts, MAGIC, _VERSIONS)
        header = parts[1]
        check_header(header, seq)
        known = self._known.get(kind)
        if known is not None and known.header == header:
            return Frame(seq, self._unpack(seq, known, parts[2:]))
        fields = self._decoded(seq, kind, header)
        if isinstance(fields, _AggregateHeader | _ResultHeader):
            if isinstance(fields, _AggregateHeader):
                self._check_request(seq, fields)
            else:
                self._check_result(seq, fields)
            layout = _Layout(header, fields, [plan(buffer) for buffer in fields.buffers])
            message: Message = self._unpack(seq, layout, parts[2:])
            self._known[kind] = layout
            return Frame(seq, message)
        if kind in deposits.HEADERS:
            deposits.check_fields(seq, fields, self._limits, ROUND_MAX)
            plans = [plan(buffer) for buffer in getattr(fields, "buffers", ())]
            arrays = read_arrays(seq, plans, parts[2:])
            deposits.check_values(seq, fields, arrays)
            return Frame(seq, deposits.message_of(fields, arrays))
        if len(parts) != 2:
            raise FrameError(f"a type {kind} message has 2 parts, this one has {len(parts)}", seq=seq)
        if isinstance(fields, Hello):
            check_plain(fields.config, "the configuration", seq)
        return Frame(seq, fields)

    def _decoded(self, seq: int | None, kind: int, header: bytes) -> Any:
        try:
            return self._decoders[kind].decode(header)
        except (msgspec.DecodeError, ValueError, TypeError, RecursionError) as error:
            raise FrameError(f"the header of a type {kind} message cannot be read: {error}", seq=seq) from None

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
            fields = _AggregateHeader(message.session, devices, n, describe(_REQUEST_BUFFERS, arrays))
            self._check_request(None, fields)
            header = self._keep(_AGGREGATE, key, fields)
        _check_request_values(None, rounds, payloads)
        return _AGGREGATE, header, [array.data for array in arrays]

    def _encode_deposits(self, message: DepositMessage) -> tuple[int, bytes, list[memoryview]]:
        fields, arrays = deposits.fields_of(message)
        kind = _DEPOSIT_KINDS[type(fields)]
        header = pack(self._encoder, fields)
        # Read back at once: no message leaves that the other side would refuse.
        written = self._decoded(None, kind, header)
        deposits.check_fields(None, written, self._limits, ROUND_MAX)
        deposits.check_values(None, written, arrays)
        return kind, header, [array.data for array in arrays]

    def _unpack(self, seq: int, layout: _Layout, parts: Sequence[bytes]) -> AggregateRequest | Result:
        """Make arrays of the buffers, whose shapes are within the limits and fit each other."""
        arrays = read_arrays(seq, layout.plans, parts)
        fields = layout.fields
        if isinstance(fields, _AggregateHeader):
            _check_request_values(seq, arrays[0], arrays[1])
            return AggregateRequest(fields.session, arrays[0], arrays[1], arrays[2] if len(arrays) == 3 else None)
        _check_lost_rounds(seq, arrays[0], arrays[1])
        return Result(arrays[0], arrays[1], dict(zip(fields.diagnostics, arrays[2], strict=True)) if fields.diagnostics else {})

    def _check_request(self, seq: int | None, header: _AggregateHeader) -> None:
        found = header.buffers
        check_buffers(seq, found, _REQUEST_BUFFERS[: max(2, len(found))])
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
        check_shape(seq, found[0], [batch])
        check_shape(seq, found[1], [batch, header.devices, header.n])
        if len(found) == 3:
            check_shape(seq, found[2], [batch, header.devices])

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
            fields = _ResultHeader(names, describe(_RESULT_BUFFERS, arrays))
            self._check_result(None, fields)
            header = self._keep(_RESULT, key, fields)
        _check_lost_rounds(None, estimates, lost)
        return _RESULT, header, [array.data for array in arrays]

    def _check_result(self, seq: int | None, header: _ResultHeader) -> None:
        names, found = header.diagnostics, header.buffers
        check_buffers(seq, found, _RESULT_BUFFERS if names else _RESULT_BUFFERS[:2])
        if len(names) > MAX_DIAGNOSTICS or len(set(names)) != len(names) or not all(0 < len(x) <= 64 for x in names):
            raise FrameError(f"diagnostics need different names of 1 to 64 characters, {MAX_DIAGNOSTICS} at most", seq=seq)
        if len(found[0].shape) != 2:
            raise FrameError("estimates need the shape [rounds, entries]", seq=seq)
        batch, n = found[0].shape
        if batch > self._limits.rounds or n > self._limits.entries or batch * n > self._limits.scalars:
            raise FrameError(f"the result of {batch} rounds of {n} is over the limits", code="too_large", seq=seq)
        check_shape(seq, found[1], [batch])
        if names:
            check_shape(seq, found[2], [len(names), batch])

    def _cached(self, kind: int, key: object) -> bytes | None:
        last = self._last.get(kind)
        return last[1] if last is not None and last[0] == key else None

    def _keep(self, kind: int, key: object, fields: object) -> bytes:
        header = pack(self._encoder, fields)
        self._last[kind] = (key, header)
        return header


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
