"""How the messages of deposits lie in bytes: headers, buffers and their checks. `bridge.frames` adds prefix and framing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from bridge.deposits.messages import (
    Close,
    Closed,
    Collect,
    Count,
    Deposit,
    DepositMessage,
    Hex64,
    Index,
    Open,
    Opened,
    Receipt,
    Round,
)
from bridge.errors import FrameError
from bridge.framing import Buffers, check_buffers, check_shape, describe
from bridge.messages import Limits

__all__ = ["HEADERS", "check_fields", "check_values", "fields_of", "message_of"]

_PAYLOAD = (("payload", "f8_le"),)
_PRESENT = (("present", "u1"),)


class _DepositHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    box: Hex64
    device: Index
    generation: Index
    token: Hex64
    round: Round
    buffers: Buffers


class _ClosedHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    devices: Count
    buffers: Buffers


class _CollectHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    session: Hex64
    seal: Hex64
    round: Round
    devices: Count
    buffers: Buffers


#: Header by type of message; RESULT answers COLLECT.
HEADERS: dict[int, type[msgspec.Struct]] = {
    8: Open,
    9: Opened,
    10: _DepositHeader,
    11: Receipt,
    12: Close,
    13: _ClosedHeader,
    14: _CollectHeader,
}


def fields_of(message: DepositMessage) -> tuple[Any, list[npt.NDArray[Any]]]:
    """A message's header and the arrays that go into its buffers."""
    if isinstance(message, Deposit):
        arrays: list[npt.NDArray[Any]] = [np.ascontiguousarray(message.payload, dtype="<f8")]
        names = (message.box, message.device, message.generation, message.token, message.round)
        return _DepositHeader(*names, describe(_PAYLOAD, arrays)), arrays
    if isinstance(message, Closed | Collect):
        arrays = [np.ascontiguousarray(message.present, dtype="u1")]
        buffers = describe(_PRESENT, arrays)
        if isinstance(message, Closed):
            return _ClosedHeader(len(arrays[0]), buffers), arrays
        return _CollectHeader(message.session, message.seal, message.round, len(arrays[0]), buffers), arrays
    return message, []


def check_fields(seq: int | None, fields: Any, limits: Limits, last_round: int) -> None:
    """Refuse a header that is over the limits, or whose buffers are not those of its type.

    Raises:
        FrameError: it is, or they are not.
    """
    if getattr(fields, "round", 0) > last_round:
        raise FrameError(f"round is {fields.round}; rounds end at 2^62", seq=seq)
    if isinstance(fields, _DepositHeader):
        check_buffers(seq, fields.buffers, _PAYLOAD)
        if len(fields.buffers[0].shape) != 1:
            raise FrameError("a deposit needs the shape [entries]", seq=seq)
        _check_sizes(seq, limits, 1, fields.buffers[0].shape[0])
    elif isinstance(fields, _ClosedHeader | _CollectHeader):
        _check_sizes(seq, limits, fields.devices, 1)
        check_buffers(seq, fields.buffers, _PRESENT)
        check_shape(seq, fields.buffers[0], [fields.devices])
    elif isinstance(fields, Open):
        _check_sizes(seq, limits, fields.devices, fields.n)


def _check_sizes(seq: int | None, limits: Limits, devices: int, n: int) -> None:
    for value, limit, what in (
        (devices, limits.devices, "devices"),
        (n, limits.entries, "scalars per device"),
        (devices * n, limits.scalars, "scalars in all"),
    ):
        if value > limit:
            raise FrameError(
                f"the message has {value} {what} and may have {limit}; raise the server's limit", code="too_large", seq=seq
            )


def check_values(seq: int | None, fields: Any, arrays: Sequence[npt.NDArray[Any]]) -> None:
    """Refuse a deposit that is not finite; the sentence does not show it."""
    if isinstance(fields, _DepositHeader) and not np.isfinite(arrays[0]).all():
        raise FrameError("a scalar of the deposit is NaN or infinite; without a number to send, deposit nothing", seq=seq)


def message_of(fields: Any, arrays: Sequence[npt.NDArray[Any]]) -> DepositMessage:
    """The message of a header and its arrays, all checked."""
    if isinstance(fields, _DepositHeader):
        return Deposit(fields.box, fields.device, fields.generation, fields.token, fields.round, arrays[0])
    if isinstance(fields, _ClosedHeader):
        return Closed(arrays[0])
    if isinstance(fields, _CollectHeader):
        return Collect(fields.session, fields.seal, fields.round, arrays[0])
    found: Open | Opened | Receipt | Close = fields
    return found
