"""The fleet's codec: whatever is written is read back, and whatever else comes can only raise FrameError."""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bridge.errors import FrameError
from bridge.fleet.frames import FleetCodec
from bridge.fleet.messages import (
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
from bridge.frames import FrameCodec
from bridge.messages import Limits, Ping
from tests.bridge.test_frames import FINITE, PLAIN, SEQ, TEXT

HEX = "5c" * 32
INSTANCE = "0b" * 16
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
ROUND = st.integers(0, 2**61)
RATE = st.floats(0, 1e30)


@st.composite
def rows(draw: st.DrawFn) -> Rows:
    count, n = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    estimates = draw(hnp.arrays(np.float64, (count, n), elements=FINITE))
    estimates[draw(hnp.arrays(np.bool_, (count,)))] = np.nan
    return Rows(
        draw(ROUND),
        draw(hnp.arrays(np.int64, (count,), elements=st.integers(0, 2**63 - 1))),
        estimates,
        draw(hnp.arrays(np.float64, (count,), elements=RATE)),
    )


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    payloads = draw(hnp.arrays(np.float64, (draw(st.integers(1, 5)),)))
    return Answer(HEX, draw(ROUND), payloads, draw(st.floats()), draw(st.integers(0, 2**53)), draw(st.floats(0, 1)))


NUMBER = st.integers(0, 9_999)
MESSAGES: st.SearchStrategy[FleetMessage] = st.one_of(
    st.builds(Hello, number=st.none() | NUMBER, instance=st.just(INSTANCE), software=TEXT),
    st.builds(Welcome, run=st.just(HEX), number=NUMBER, settings=st.dictionaries(TEXT, PLAIN, max_size=4), software=TEXT),
    st.builds(
        Join,
        number=NUMBER,
        instance=st.just(INSTANCE),
        base_weights_sha256=st.just(HEX),
        identity=st.dictionaries(TEXT, TEXT, max_size=3),
        task_sha256=st.none() | st.just(HEX),
        examples=st.integers(0, 2**53),
        standing=ROUND,
        history=st.just(HEX),
    ),
    st.builds(Joined, session=st.just(HEX), restart=st.booleans()),
    st.builds(Next, session=st.just(HEX), standing=ROUND, measured=st.booleans()),
    st.builds(Slot, round=ROUND, seed=st.integers(0, 2**63 - 1), closes_in_s=st.floats(0, 1e9)),
    st.builds(Wait, reason=TEXT),
    st.builds(Receipt, taken=st.booleans()),
    st.builds(Prove, round=ROUND),
    st.builds(Proof, session=st.just(HEX), round=ROUND, weights_sha256=st.just(HEX)),
    st.builds(Verdict, agree=st.booleans()),
    st.builds(Done, rounds=ROUND, reason=TEXT),
    st.builds(Leave, number=NUMBER, instance=st.just(INSTANCE), reason=TEXT),
    st.just(Goodbye()),
    st.builds(ErrorReply, code=st.sampled_from(["refused", "internal"]), message=TEXT),
    answers(),
    rows(),
    st.builds(
        Seated,
        session=st.just(HEX),
        restart=st.booleans(),
        air=TEXT,
        server_key=st.none() | st.just("k" * 40),
        box=st.just(HEX),
        generation=st.integers(0, 2**31 - 1),
        token=st.just(HEX),
    ),
    st.builds(Deposited, session=st.just(HEX), round=ROUND, finite=st.booleans()),
)


def parts_of(message: FleetMessage, seq: int = 1) -> list[bytes]:
    return [bytes(part) for part in FleetCodec().encode(seq, message)]


def fault(parts: list[bytes]) -> str | None:
    try:
        FleetCodec().decode(parts)
    except FrameError as error:
        return str(error)
    return None


def bits(message: FleetMessage) -> object:
    if isinstance(message, Answer):
        report = struct.pack("<dqd", message.mean_loss, message.samples, message.clipped_fraction)
        return message.session, message.round, message.payloads.tobytes(), report
    if isinstance(message, Rows):
        arrays = (message.seeds, message.estimates, message.learning_rates)
        return message.first, [(a.dtype, a.shape, a.tobytes()) for a in arrays]
    return message


@given(SEQ, MESSAGES)
@UNHURRIED
def test_round_trip(seq: int, message: FleetMessage) -> None:
    frame = FleetCodec().decode(parts_of(message, seq))
    assert frame.seq == seq
    assert bits(frame.message) == bits(message)


@given(st.integers(0, 255), st.binary(max_size=200), st.lists(st.binary(max_size=40), max_size=4))
@UNHURRIED
def test_random_headers_raise_only_frame_errors(kind: int, header: bytes, buffers: list[bytes]) -> None:
    fault([struct.pack("<4sBBHQ", b"PZFL", 1, kind, 0, 5), header, *buffers])


@given(MESSAGES, st.data())
@settings(UNHURRIED, max_examples=300)
def test_mutated_messages_raise_only_frame_errors(message: FleetMessage, data: st.DataObject) -> None:
    """Flip a byte, cut or lengthen a part, drop or repeat parts."""
    parts = parts_of(message)
    for _ in range(data.draw(st.integers(1, 3))):
        which = data.draw(st.integers(0, len(parts) - 1))
        part = bytearray(parts[which])
        kind = data.draw(st.sampled_from(["flip", "cut", "add", "drop", "repeat"]))
        if kind == "flip" and part:
            part[data.draw(st.integers(0, len(part) - 1))] ^= data.draw(st.integers(1, 255))
            parts[which] = bytes(part)
        elif kind == "cut":
            parts[which] = bytes(part[: data.draw(st.integers(0, len(part)))])
        elif kind == "add":
            parts[which] = bytes(part) + data.draw(st.binary(max_size=9))
        elif kind == "drop" and len(parts) > 1:
            del parts[which]
        else:
            parts.insert(which, parts[which])
    try:
        frame = FleetCodec().decode(parts)
    except FrameError:
        return
    FleetCodec().encode(frame.seq, frame.message)  # what still passes is a valid message: it can be written again


def test_neither_protocol_takes_the_others_messages() -> None:
    air = [bytes(part) for part in FrameCodec(Limits()).encode(1, Ping())]
    assert "begins with PZFL" in str(fault(air))
    with pytest.raises(FrameError, match="begins with PZRO"):
        FrameCodec(Limits()).decode(parts_of(Goodbye()))


def _answer(**changes: Any) -> list[bytes]:
    fields: dict[str, Any] = {
        "session": HEX,
        "round": 3,
        "mean_loss": 0.5,
        "samples": 2,
        "clipped_fraction": 0.0,
        "buffers": [{"name": "payloads", "dtype": "f8_le", "shape": [2]}],
    }
    return [struct.pack("<4sBBHQ", b"PZFL", 1, 8, 0, 5), msgspec.msgpack.encode({**fields, **changes}), bytes(16)]


def _rows(shapes: tuple[list[int], list[int], list[int]], *buffers: bytes, first: int = 0) -> list[bytes]:
    names = (("seeds", "i8_le"), ("estimates", "f8_le"), ("learning_rates", "f8_le"))
    described = [{"name": n, "dtype": d, "shape": s} for (n, d), s in zip(names, shapes, strict=True)]
    header = msgspec.msgpack.encode({"first": first, "buffers": described})
    return [struct.pack("<4sBBHQ", b"PZFL", 1, 10, 0, 5), header, *buffers]


def _doubles(*values: float) -> bytes:
    return np.array(values, dtype="<f8").tobytes()


def test_a_sound_answer_and_sound_rows_pass() -> None:
    assert fault(_answer()) is None
    assert fault(_rows(([1], [1, 2], [1]), bytes(8), _doubles(1, 2), _doubles(0.1))) is None


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        (_answer(extra=1), "cannot be read"),
        (_answer(session=HEX.upper()), "cannot be read"),
        (_answer(round=-1), "cannot be read"),
        (_answer(round=2**63), "rounds end"),
        (_answer(clipped_fraction=1.5), "between 0 and 1"),
        (_answer(clipped_fraction=float("nan")), "between 0 and 1"),
        (_answer(buffers=[{"name": "payloads", "dtype": "f8_le", "shape": [1, 2]}]), "the shape"),
        (_answer(buffers=[{"name": "payloads", "dtype": "f8_le", "shape": [3]}]), "needs 24"),
        (_answer(buffers=[{"name": "payload", "dtype": "f8_le", "shape": [2]}]), "in this order"),
        (_answer(buffers=[{"name": "payloads", "dtype": "f8_le", "shape": [MAX_SCALARS + 1]}]), "more than"),
        (_rows(([1], [1, 2], [1]), bytes(8), _doubles(1, np.nan), _doubles(0.1)), "NaN throughout a lost round"),
        (_rows(([1], [1, 2], [1]), bytes(8), _doubles(1, np.inf), _doubles(0.1)), "NaN throughout a lost round"),
        (_rows(([1], [1, 2], [1]), bytes(8), _doubles(1, 2), _doubles(-0.1)), "learning rates"),
        (_rows(([1], [1, 2], [1]), bytes(8), _doubles(1, 2), _doubles(np.nan)), "learning rates"),
        (_rows(([1], [1, 2], [1]), b"\xff" * 8, _doubles(1, 2), _doubles(0.1)), "seeds are not negative"),
        (_rows(([2], [1, 2], [1]), bytes(16), _doubles(1, 2), _doubles(0.1)), "fits the message"),
        (_rows(([1], [1, 2], [1]), bytes(8), _doubles(1, 2), _doubles(0.1), first=2**62), "rounds end"),
        (_rows(([1], [1, 2], [1]), bytes(8), _doubles(1, 2)), "3 buffers, 2 came"),
    ],
)
def test_what_is_refused(parts: list[bytes], sentence: str) -> None:
    assert sentence in str(fault(parts))


def test_what_the_other_side_would_refuse_is_not_sent() -> None:
    for message in (
        Answer(HEX, 1, np.zeros((2, 2)), 0.0, 1, 0.0),
        Rows(0, np.array([1]), np.array([[np.nan, 1.0]]), np.array([0.1])),
        Slot(round=1, seed=2**63, closes_in_s=1.0),
        Welcome(run="nonsense", number=0, settings={}, software=""),
        Welcome(run=HEX, number=0, settings={"file": b"bytes"}, software=""),
    ):
        with pytest.raises(FrameError):
            FleetCodec().encode(1, message)
