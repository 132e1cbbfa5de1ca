"""The wire codec of the fleet protocol, and the only place that touches its frames. docs/fleet.md has it all.

The framing is that of the air protocol (`bridge.framing`) under another magic, so that neither can be taken for the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from bridge.errors import FrameError
from bridge.fleet.messages import (
    MAX_ROUND,
    MAX_SCALARS,
    Answer,
    Deposited,
    Done,
    ErrorReply,
    FleetMessage,
    Goodbye,
    Hello,
    Join,
    Joined,
    Leave,
    Next,
    Proof,
    Prove,
    Receipt,
    Rows,
    Seated,
    Slot,
    Verdict,
    Wait,
    Welcome,
)
from bridge.framing import (
    HEADER_BYTES,
    PREFIX,
    Buffers,
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

__all__ = ["FLEET_MAGIC", "MAX_MESSAGE_BYTES", "FleetCodec", "FleetFrame"]

FLEET_MAGIC = b"PZFL"
#: The largest legal part of a message.
MAX_MESSAGE_BYTES = max(HEADER_BYTES, 8 * MAX_SCALARS)

_Hex64 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$", max_length=64)]
_ANSWER_BUFFERS = (("payloads", "f8_le"),)
_ROWS_BUFFERS = (("seeds", "i8_le"), ("estimates", "f8_le"), ("learning_rates", "f8_le"))


class _AnswerHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    session: _Hex64
    round: Annotated[int, msgspec.Meta(ge=0)]
    mean_loss: float
    samples: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    clipped_fraction: float
    buffers: Buffers


class _RowsHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    first: Annotated[int, msgspec.Meta(ge=0)]
    buffers: Buffers


_ANSWER, _ROWS = 8, 10
_HEADERS: dict[int, type[msgspec.Struct]] = {
    1: Hello,
    2: Welcome,
    3: Join,
    4: Joined,
    5: Next,
    6: Slot,
    7: Wait,
    _ANSWER: _AnswerHeader,
    9: Receipt,
    _ROWS: _RowsHeader,
    11: Prove,
    12: Proof,
    13: Verdict,
    14: Done,
    15: Leave,
    16: Goodbye,
    17: ErrorReply,
    18: Seated,
    19: Deposited,
}
_VERSIONS = {kind: 1 if kind < 18 else 2 for kind in _HEADERS}
_KINDS = {header: kind for kind, header in _HEADERS.items()}
_ROUNDS = ("round", "rounds", "standing", "first")


class FleetFrame(NamedTuple):
    """A decoded message and its sequence number."""

    seq: int
    message: FleetMessage


class FleetCodec:
    """Encode and decode messages; one per socket, used by one thread at a time."""

    def __init__(self) -> None:
        self._encoder = msgspec.msgpack.Encoder()
        self._decoders: dict[int, msgspec.msgpack.Decoder[Any]] = {
            kind: msgspec.msgpack.Decoder(header) for kind, header in _HEADERS.items()
        }

    def encode(self, seq: int, message: FleetMessage) -> list[bytes | memoryview]:
        """Return the parts of `message`.

        Raises:
            FrameError: the message breaks the protocol or the limits.
        """
        arrays: list[npt.NDArray[Any]] = []
        fields: Any
        if isinstance(message, Answer):
            arrays = [np.ascontiguousarray(message.payloads, dtype="<f8")]
            fields = _AnswerHeader(
                message.session,
                message.round,
                float(message.mean_loss),
                message.samples,
                float(message.clipped_fraction),
                describe(_ANSWER_BUFFERS, arrays),
            )
        elif isinstance(message, Rows):
            arrays = [
                np.ascontiguousarray(message.seeds, dtype="<i8"),
                np.ascontiguousarray(message.estimates, dtype="<f8"),
                np.ascontiguousarray(message.learning_rates, dtype="<f8"),
            ]
            fields = _RowsHeader(message.first, describe(_ROWS_BUFFERS, arrays))
        else:
            fields = message
        kind = _KINDS[type(fields)]
        header = pack(self._encoder, fields)
        check_header(header, None)
        # What is written is read back at once: no message leaves that the other side would refuse.
        self._checked(None, kind, header)
        _check_values(None, fields, arrays)
        return [PREFIX.pack(FLEET_MAGIC, _VERSIONS[kind], kind, 0, seq), header, *(array.data for array in arrays)]

    def decode(self, parts: Sequence[bytes]) -> FleetFrame:
        """Return the message in `parts`; its arrays are the caller's own.

        Raises:
            FrameError: anything at all is wrong with it; nothing else is ever raised.
        """
        kind, seq = read_prefix(parts, FLEET_MAGIC, _VERSIONS)
        check_header(parts[1], seq)
        fields = self._checked(seq, kind, parts[1])
        plans = [plan(buffer) for buffer in getattr(fields, "buffers", ())]
        arrays = read_arrays(seq, plans, parts[2:])
        _check_values(seq, fields, arrays)
        if isinstance(fields, _AnswerHeader):
            answer = Answer(fields.session, fields.round, arrays[0], fields.mean_loss, fields.samples, fields.clipped_fraction)
            return FleetFrame(seq, answer)
        if isinstance(fields, _RowsHeader):
            return FleetFrame(seq, Rows(fields.first, *arrays))
        return FleetFrame(seq, fields)

    def _checked(self, seq: int | None, kind: int, header: bytes) -> Any:
        """The header's fields, once everything but the buffers' values is checked."""
        try:
            fields = self._decoders[kind].decode(header)
        except (msgspec.DecodeError, ValueError, TypeError, RecursionError) as error:
            raise FrameError(f"the header of a type {kind} message cannot be read: {error}", seq=seq) from None
        for name in _ROUNDS:
            if getattr(fields, name, 0) > MAX_ROUND:
                raise FrameError(f"{name} is {getattr(fields, name)}; rounds end at 2^62", seq=seq)
        if isinstance(fields, Welcome):
            check_plain(fields.settings, "the settings", seq)
        elif isinstance(fields, Slot):
            if fields.seed >= 2**63 or not 0.0 <= fields.closes_in_s < float("inf"):
                raise FrameError("a slot needs a seed below 2^63 and a time that is not negative", seq=seq)
        elif isinstance(fields, _AnswerHeader):
            self._check_answer(seq, fields)
        elif isinstance(fields, _RowsHeader):
            self._check_rows(seq, fields)
        return fields

    @staticmethod
    def _check_answer(seq: int | None, fields: _AnswerHeader) -> None:
        check_buffers(seq, fields.buffers, _ANSWER_BUFFERS)
        shape = fields.buffers[0].shape
        if len(shape) != 1:
            raise FrameError("payloads need the shape [n]", seq=seq)
        if shape[0] > MAX_SCALARS:
            raise FrameError(f"{shape[0]} scalars are more than {MAX_SCALARS}", code="too_large", seq=seq)
        if not 0.0 <= fields.clipped_fraction <= 1.0:
            raise FrameError("clipped_fraction must lie between 0 and 1", seq=seq)

    @staticmethod
    def _check_rows(seq: int | None, fields: _RowsHeader) -> None:
        found = fields.buffers
        check_buffers(seq, found, _ROWS_BUFFERS)
        if len(found[1].shape) != 2:
            raise FrameError("estimates need the shape [rounds, n]", seq=seq)
        rounds, n = found[1].shape
        if rounds * n > MAX_SCALARS:
            raise FrameError(f"{rounds} rounds of {n} are more than {MAX_SCALARS} scalars", code="too_large", seq=seq)
        check_shape(seq, found[0], [rounds])
        check_shape(seq, found[2], [rounds])
        if fields.first + rounds > MAX_ROUND:
            raise FrameError("rounds end at 2^62", seq=seq)


def _check_values(seq: int | None, fields: Any, arrays: Sequence[npt.NDArray[Any]]) -> None:
    if not isinstance(fields, _RowsHeader):
        return  # an answer's payloads may be anything: what is no number skips the round
    seeds, estimates, rates = arrays
    if seeds.min() < 0:
        raise FrameError("seeds are not negative", seq=seq)
    lost = np.isnan(estimates).all(axis=1)
    if not np.isfinite(estimates[~lost]).all():
        raise FrameError("estimates must be NaN throughout a lost round and finite in every other", seq=seq)
    if not (np.isfinite(rates).all() and (rates >= 0.0).all()):
        raise FrameError("learning rates must be finite and not negative", seq=seq)
