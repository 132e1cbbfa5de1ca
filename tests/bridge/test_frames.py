"""The codec: whatever is written is read back, and whatever else comes can only raise FrameError."""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bridge.deposits.messages import Close, Closed, Collect, Deposit, Open, Opened, Receipt
from bridge.errors import FrameError
from bridge.frames import FrameCodec, max_message_bytes
from bridge.messages import AggregateRequest, ErrorReply, Hello, Limits, Message, Ping, Pong, Result, Welcome

SESSION = "0f" * 32
# A busy machine must not fail a test.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
SEQ = st.integers(0, 2**64 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | FINITE | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def requests(draw: st.DrawFn) -> AggregateRequest:
    batch, devices, n = (draw(st.integers(1, 4)) for _ in range(3))
    return AggregateRequest(
        SESSION,
        draw(hnp.arrays(np.int64, (batch,), elements=st.integers(0, 2**62))),
        draw(hnp.arrays(np.float64, (batch, devices, n), elements=FINITE)),
        draw(st.none() | hnp.arrays(np.bool_, (batch, devices))),
    )


@st.composite
def results(draw: st.DrawFn) -> Result:
    batch, n = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    estimates = draw(hnp.arrays(np.float64, (batch, n), elements=FINITE))
    lost = draw(hnp.arrays(np.bool_, (batch,)))
    estimates[lost] = np.nan
    names = draw(st.lists(TEXT.filter(bool), max_size=3, unique=True))
    return Result(estimates, lost, {name: draw(hnp.arrays(np.float64, (batch,))) for name in names})


ROUND, INDEX = st.integers(0, 2**62), st.integers(0, 2**31 - 1)
PRESENT = st.integers(1, 5).flatmap(lambda k: hnp.arrays(np.bool_, (k,)))
DEPOSITS: st.SearchStrategy[Message] = st.one_of(
    st.builds(
        Open,
        session=st.just(SESSION),
        seal=st.just(SESSION),
        round=ROUND,
        devices=st.integers(1, 4096),
        n=st.integers(1, 2048),
    ),
    st.builds(Opened, box=st.just(SESSION)),
    st.builds(
        Deposit,
        st.just(SESSION),
        INDEX,
        INDEX,
        st.just(SESSION),
        ROUND,
        st.integers(1, 4).flatmap(lambda n: hnp.arrays(np.float64, (n,), elements=FINITE)),
    ),
    st.builds(Receipt, taken=st.booleans()),
    st.builds(Close, seal=st.just(SESSION), round=ROUND),
    st.builds(Closed, PRESENT),
    st.builds(Collect, st.just(SESSION), st.just(SESSION), ROUND, PRESENT),
)
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(Hello, config=st.dictionaries(TEXT, PLAIN, max_size=4), seed=st.integers(0, 2**64 - 1)),
    st.builds(
        Welcome,
        session=st.just(SESSION),
        description=st.dictionaries(TEXT, st.integers(-(2**63), 2**63) | FINITE | TEXT, max_size=4),
        limits=st.builds(Limits, rounds=st.integers(1, 2**31 - 1)),
        server=TEXT,
    ),
    st.builds(ErrorReply, code=st.sampled_from(["bad_frame", "internal"]), message=TEXT),
    st.just(Ping()),
    st.just(Pong()),
    requests(),
    results(),
    DEPOSITS,
)


def codec(**limits: int) -> FrameCodec:
    return FrameCodec(Limits(**limits))


def parts_of(message: Message, seq: int = 1) -> list[bytes]:
    return [bytes(part) for part in codec().encode(seq, message)]


def fault(parts: list[bytes]) -> int | None:
    """The sequence number that decoding fails with, None if it does not; any error but FrameError passes through."""
    try:
        codec().decode(parts)
    except FrameError as error:
        return -1 if error.seq is None else error.seq
    return None


def bits(message: Message) -> object:
    """All of a message as something that compares by bits."""
    if isinstance(message, AggregateRequest):
        arrays: list[Any] = [message.rounds, message.payloads, message.present]
        return message.session, [None if a is None else (a.dtype, a.shape, a.tobytes()) for a in arrays]
    if isinstance(message, Result):
        arrays = [message.estimates, message.lost, *message.diagnostics.values()]
        return list(message.diagnostics), [(a.dtype, a.shape, a.tobytes()) for a in arrays]
    if isinstance(message, Deposit | Closed | Collect):
        values = [getattr(message, name) for name in type(message).__slots__]
        return [(v.dtype, v.shape, v.tobytes()) if isinstance(v, np.ndarray) else v for v in values]
    return message


@given(SEQ, MESSAGES)
@UNHURRIED
def test_round_trip(seq: int, message: Message) -> None:
    frame = codec().decode(parts_of(message, seq))
    assert frame.seq == seq
    assert bits(frame.message) == bits(message)


@given(st.lists(st.binary(max_size=80), max_size=6))
@UNHURRIED
def test_random_bytes_raise_only_frame_errors(parts: list[bytes]) -> None:
    with pytest.raises(FrameError):
        codec().decode(parts)


@given(st.integers(1, 14), st.binary(max_size=200), st.lists(st.binary(max_size=40), max_size=3))
@UNHURRIED
def test_random_headers_raise_only_frame_errors(kind: int, header: bytes, buffers: list[bytes]) -> None:
    prefix = struct.pack("<4sBBHQ", b"PZRO", 1 if kind < 8 else 2, kind, 0, 5)
    assert fault([prefix, header, *buffers]) in (None, 5)


@given(MESSAGES, st.data())
@settings(UNHURRIED, max_examples=400)
def test_mutated_messages_raise_only_frame_errors(message: Message, data: st.DataObject) -> None:
    """Flip a byte, cut or lengthen a part, drop, repeat or swap parts; the codec has seen the original."""
    one = codec()
    parts = [bytes(part) for part in one.encode(1, message)]
    one.decode(parts)
    for _ in range(data.draw(st.integers(1, 3))):
        which = data.draw(st.integers(0, len(parts) - 1))
        part = bytearray(parts[which])
        kind = data.draw(st.sampled_from(["flip", "cut", "add", "drop", "repeat", "swap"]))
        if kind == "flip" and part:
            part[data.draw(st.integers(0, len(part) - 1))] ^= data.draw(st.integers(1, 255))
            parts[which] = bytes(part)
        elif kind == "cut":
            parts[which] = bytes(part[: data.draw(st.integers(0, len(part)))])
        elif kind == "add":
            parts[which] = bytes(part) + data.draw(st.binary(max_size=9))
        elif kind == "drop" and len(parts) > 1:
            del parts[which]
        elif kind == "repeat":
            parts.insert(which, parts[which])
        else:
            parts.reverse()
    try:
        frame = one.decode(parts)
    except FrameError:
        return
    # What still passes is a valid message: it can be written again.
    one.encode(frame.seq, frame.message)


@given(PLAIN)
@UNHURRIED
def test_a_header_of_any_plain_value_raises_only_frame_errors(value: object) -> None:
    header = msgspec.msgpack.encode({"config": value, "seed": 1})
    prefix = struct.pack("<4sBBHQ", b"PZRO", 1, 1, 0, 5)
    assert fault([prefix, header]) in (None, 5)


def _request(**changes: Any) -> AggregateRequest:
    fields: dict[str, Any] = {
        "session": SESSION,
        "rounds": np.arange(2),
        "payloads": np.ones((2, 3, 1)),
        "present": np.ones((2, 3), dtype=bool),
    }
    return AggregateRequest(**{**fields, **changes})


def _header(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "session": SESSION,
        "devices": 3,
        "n": 1,
        "buffers": [
            {"name": "rounds", "dtype": "i8_le", "shape": [2]},
            {"name": "payloads", "dtype": "f8_le", "shape": [2, 3, 1]},
            {"name": "present", "dtype": "u1", "shape": [2, 3]},
        ],
    }
    return msgspec.msgpack.encode({**fields, **changes})


def _buffers(index: int, **changes: Any) -> list[dict[str, Any]]:
    described: list[dict[str, Any]] = msgspec.msgpack.decode(_header())["buffers"]
    described[index] = {**described[index], **changes}
    return described


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        (_header(extra=1), "cannot be read"),
        (_header(session="x" * 64), "cannot be read"),
        (_header(buffers=_buffers(0, dtype="f4_le")), "cannot be read"),
        (_header(buffers=_buffers(0, dtype="i8_le", name="round")), "in this order"),
        (_header(buffers=_buffers(1, shape=[2, 1, 3])), "fits the message"),
        (_header(buffers=_buffers(1, shape=[3, 2])), "fits the message"),
        (_header(buffers=_buffers(1, shape=[1, 1, 1, 6])), "cannot be read"),
        (_header(buffers=_buffers(1, shape=[2, -3, -1])), "cannot be read"),
        (_header(buffers=_buffers(2, shape=[6])), "fits the message"),
        (_header(buffers=_buffers(0)[:1]), "in this order"),
        (_header(devices=0), "at least one"),
        (_header(devices=2**40), "may have"),
    ],
)
def test_headers_that_do_not_fit(header: bytes, sentence: str) -> None:
    parts = parts_of(_request())
    with pytest.raises(FrameError, match=sentence):
        codec().decode([parts[0], header, *parts[2:]])


def test_the_header_bomb_and_the_long_header() -> None:
    prefix = parts_of(Ping())[0]
    with pytest.raises(FrameError, match="cannot be read"):
        codec().decode([struct.pack("<4sBBHQ", b"PZRO", 1, 1, 0, 5), b"\x82\xa6config\x81\xa1a" + b"\x91" * 60_000])
    with pytest.raises(FrameError, match="65537 bytes") as caught:
        codec().decode([prefix, bytes(65_537)])
    assert caught.value.code == "too_large"


@pytest.mark.parametrize(
    ("prefix", "sentence", "seq"),
    [
        (b"PZRO", "begins with a prefix", None),
        (struct.pack("<4sBBHQ", b"PZRX", 1, 5, 0, 9), "begins with PZRO", None),
        (struct.pack("<4sBBHQ", b"PZRO", 3, 5, 0, 9), "speaks version 1 and 2, the message has version 3", 9),
        (struct.pack("<4sBBHQ", b"PZRO", 2, 5, 0, 9), "version 2 has no message of type 5", 9),
        (struct.pack("<4sBBHQ", b"PZRO", 1, 8, 0, 9), "version 1 has no message of type 8", 9),
        (struct.pack("<4sBBHQ", b"PZRO", 2, 99, 0, 9), "type 99", 9),
        (struct.pack("<4sBBHQ", b"PZRO", 1, 5, 1, 9), "no flags", 9),
    ],
)
def test_prefixes(prefix: bytes, sentence: str, seq: int | None) -> None:
    with pytest.raises(FrameError, match=sentence) as caught:
        codec().decode([prefix, b"\x80"])
    assert caught.value.seq == seq


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"payloads": np.full((2, 3, 1), np.nan)}, "NaN or infinite"),
        ({"payloads": np.full((2, 3, 1), np.inf)}, "NaN or infinite"),
        ({"rounds": np.array([0, -1])}, "2\\^62"),
        ({"rounds": np.array([0, 2**62 + 1])}, "2\\^62"),
    ],
)
def test_values_are_checked_on_both_sides(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(FrameError, match=sentence):
        codec().encode(1, _request(**changes))
    parts = parts_of(_request())
    for index, name in ((2, "rounds"), (3, "payloads")):
        if name in changes:
            parts[index] = changes[name].tobytes()
    with pytest.raises(FrameError, match=sentence):
        codec().decode(parts)


def test_presence_is_zero_or_one() -> None:
    parts = parts_of(_request())
    parts[4] = b"\0\1\2\0\1\0"
    with pytest.raises(FrameError, match="0 and 1"):
        codec().decode(parts)


@pytest.mark.parametrize(("estimate", "lost"), [(np.nan, False), (np.inf, False), (1.0, True), (np.inf, True)], ids=str)
def test_estimates_are_nan_exactly_where_lost(estimate: float, lost: bool) -> None:
    good = Result(np.zeros((1, 1)), np.array([False]), {})
    parts = parts_of(good)
    parts[2:] = [np.array([[estimate]]).tobytes(), bytes([lost])]
    with pytest.raises(FrameError, match="NaN throughout"):
        codec().decode(parts)


@pytest.mark.parametrize(
    ("limits", "what"),
    [({"rounds": 1}, "rounds"), ({"devices": 2}, "devices"), ({"scalars": 5}, "scalars in all")],
)
def test_limits(limits: dict[str, int], what: str) -> None:
    for use in (lambda: codec(**limits).encode(1, _request()), lambda: codec(**limits).decode(parts_of(_request()))):
        with pytest.raises(FrameError, match=what) as caught:
            use()
        assert caught.value.code == "too_large"
    # lowering the limits of a codec in use holds for messages it has seen before
    one = codec()
    one.decode(parts_of(_request()))
    one.limits = Limits(**limits)
    with pytest.raises(FrameError, match=what):
        one.decode(parts_of(_request()))


def test_arrays_are_ours_whatever_memory_they_came_in() -> None:
    parts = parts_of(_request())
    room = bytearray(b"x" + parts[3])
    message = codec().decode([parts[0], parts[1], parts[2], memoryview(room)[1:].tobytes(), parts[4]]).message
    assert isinstance(message, AggregateRequest)
    for array in (message.rounds, message.payloads, message.present):
        assert array is not None
        assert array.flags.aligned
        assert array.flags.writeable
        assert array.flags.c_contiguous
    strided = np.asfortranarray(np.arange(24.0).reshape(2, 3, 4))
    sent = codec().decode(parts_of(_request(payloads=strided))).message
    assert isinstance(sent, AggregateRequest)
    assert np.array_equal(sent.payloads, strided)


@pytest.mark.parametrize("value", [b"bytes", {1: "one"}, {"deep": [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]}, 2**70, object()])
def test_configurations_are_plain_data(value: object) -> None:
    with pytest.raises(FrameError):
        codec().encode(1, Hello(config={"key": value}, seed=0))


def test_the_largest_message_covers_requests_and_results() -> None:
    assert max_message_bytes(Limits()) == 8 * 2**23
    assert max_message_bytes(Limits(rounds=1, scalars=1)) == 65_536
    assert max_message_bytes(Limits(rounds=1000, scalars=1000)) == 8 * 64 * 1000
