"""The protocol's document and the codec say the same."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import typing
from pathlib import Path

import msgspec
import numpy as np

from bridge.deposits.frames import HEADERS
from bridge.deposits.messages import Collect, Deposit, box_of, token_of
from bridge.deposits.store import BOXES, PUBLIC_DIAGNOSTICS, RESERVED_SCALARS
from bridge.frames import HEADER_BYTES, MAX_DIAGNOSTICS, FrameCodec
from bridge.listening import HEARTBEAT_MS, HEARTBEAT_TIMEOUT_MS, HIGH_WATER_MARK
from bridge.messages import PROTOCOL_VERSION, AggregateRequest, ErrorCode, Limits, Message, Ping, Result
from bridge.sessions import session_id

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")


def _example(name: str) -> list[bytes]:
    match = re.search(rf"```hex {name}\n(.*?)```", DOCUMENT, re.DOTALL)
    assert match is not None
    return [bytes.fromhex(part) for part in re.split(r"\n(?! )", match[1].strip())]


def _written(seq: int, message: Message) -> list[bytes]:
    return [bytes(part) for part in FrameCodec(Limits()).encode(seq, message)]


def test_the_examples_are_what_the_codec_writes() -> None:
    request = AggregateRequest("ab" * 32, np.array([7]), np.array([[[0.5], [-0.25]]]))
    result = Result(np.array([[0.125]]), np.array([False]), {"active": np.array([2.0])})
    assert _example("ping") == _written(1, Ping())
    assert _example("aggregate") == _written(2, request)
    assert _example("result") == _written(2, result)
    header = re.search(r"```json aggregate\n(.*?)```", DOCUMENT, re.DOTALL)
    assert header is not None
    assert msgspec.msgpack.decode(_example("aggregate")[1]) == json.loads(header[1])


def test_deposits_are_those_of_the_document() -> None:
    seal = "cd" * 32
    box, token = hashlib.sha256(b"box " + seal.encode()).hexdigest(), hmac.new(b"\xcd" * 32, b"1 0", "sha256").hexdigest()
    assert (box_of(seal), token_of(seal, 1, 0)) == (box, token)
    assert _example("deposit") == _written(3, Deposit(box, 1, 0, token, 7, np.array([0.5, -0.25])))
    assert _example("collect") == _written(4, Collect("ab" * 32, seal, 7, np.array([True, False, True])))
    for kind, header in HEADERS.items():
        row = re.search(rf"^\| {kind} \| [A-Z]+ \|.*$", DOCUMENT, re.MULTILINE)
        assert row is not None, kind
        for field in header.__struct_fields__:
            assert f"`{field}`" in row[0], (kind, field)
    assert f"keeps {BOXES} boxes and {RESERVED_SCALARS:,} scalars".replace(",", " ") in DOCUMENT
    assert "`, `".join(PUBLIC_DIAGNOSTICS[:3]) in DOCUMENT
    # What was version 1 is so on the wire, to the bit.
    assert [_example(name)[0][4] for name in ("ping", "aggregate", "result", "deposit", "collect")] == [1, 1, 1, 2, 2]


def test_the_numbers_are_those_of_the_code() -> None:
    assert f"protocol, version {PROTOCOL_VERSION}" in DOCUMENT
    limits = Limits()
    for name in limits.__struct_fields__:
        assert f"| `{name}` | {getattr(limits, name):,} |".replace(",", " ") in DOCUMENT
    assert f"at most {HEADER_BYTES:,} bytes".replace(",", " ") in DOCUMENT
    assert f"at most {MAX_DIAGNOSTICS}," in DOCUMENT
    assert f"At most {HIGH_WATER_MARK} messages" in DOCUMENT
    assert f"every {HEARTBEAT_MS // 1000} s, dead after {HEARTBEAT_TIMEOUT_MS // 1000} s" in DOCUMENT
    for code in typing.get_args(ErrorCode):
        assert f"| `{code}` |" in DOCUMENT
    session = session_id({"snr_max_db": 20.0, "air": "numpy"}, 7)
    assert session in DOCUMENT
