"""The fleet protocol's document and the codec say the same."""

from __future__ import annotations

import re
import typing
from pathlib import Path

import numpy as np

from bridge.deposits.messages import box_of, token_of
from bridge.fleet.client import FleetClient
from bridge.fleet.frames import _HEADERS, MAX_MESSAGE_BYTES, FleetCodec
from bridge.fleet.history import History
from bridge.fleet.messages import FLEET_VERSION, MAX_SCALARS, Answer, Deposited, ErrorCode, FleetMessage, Next, Rows, Seated
from bridge.fleet.server import HOLD_S

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "fleet.md").read_text(encoding="utf-8")
SESSION = "ab" * 32


def _example(name: str) -> list[bytes]:
    match = re.search(rf"```hex {name}\n(.*?)```", DOCUMENT, re.DOTALL)
    assert match is not None
    return [bytes.fromhex(part) for part in re.split(r"\n(?! )", match[1].strip())]


def _written(seq: int, message: FleetMessage) -> list[bytes]:
    return [bytes(part) for part in FleetCodec().encode(seq, message)]


def test_the_examples_are_what_the_codec_writes() -> None:
    assert _example("next") == _written(1, Next(session=SESSION, standing=7, measured=True))
    assert _example("answer") == _written(2, Answer(SESSION, 7, np.array([0.5, -0.25]), 0.625, 16, 0.0))
    assert _example("rows") == _written(3, Rows(7, np.array([1]), np.array([[0.125, -0.125]]), np.array([0.0002])))
    assert _example("deposited") == _written(4, Deposited(session=SESSION, round=7, finite=True))
    seal = "cd" * 32
    place = {"air": "ipc:///run/air", "server_key": None, "box": box_of(seal), "generation": 0, "token": token_of(seal, 1, 0)}
    assert _example("seated") == _written(5, Seated(session=SESSION, restart=False, **place))
    assert [_example(name)[0][4] for name in ("next", "answer", "rows", "deposited", "seated")] == [1, 1, 1, 2, 2]


def test_the_histories_are_those_of_the_code() -> None:
    history = History(SESSION)
    history.append(1, 0.0002, np.array([0.125, -0.125]))
    history.append(1, 0.0002, np.array([np.nan, np.nan]))
    assert history.at(1) in DOCUMENT
    assert history.at(2) in DOCUMENT


def test_every_type_field_and_code_is_there() -> None:
    assert f"fleet protocol, version {FLEET_VERSION}" in DOCUMENT
    for kind, header in _HEADERS.items():
        row = re.search(rf"^\| {kind} \| [A-Z]+ \|.*$", DOCUMENT, re.MULTILINE)
        assert row is not None, kind
        for field in header.__struct_fields__:
            assert f"`{field}`" in row[0], (kind, field)
    for code in typing.get_args(ErrorCode):
        assert f"| `{code}` |" in DOCUMENT
    assert f"at most {MAX_SCALARS:,}".replace(",", " ") in DOCUMENT
    assert f"longer than {MAX_MESSAGE_BYTES:,} bytes".replace(",", " ") in DOCUMENT
    assert f"for {HOLD_S:g} s at most" in DOCUMENT
    assert FleetClient.__init__.__kwdefaults__["timeout_s"] == 5.0
    assert FleetClient.__init__.__kwdefaults__["patience_s"] == 60.0
