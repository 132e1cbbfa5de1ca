"""Secrets: who may read them, what is derived, and that noise keyed by one is out of a client's reach."""

import os
import stat
from pathlib import Path

import numpy as np
import pytest

from bridge.client import AirClient
from bridge.errors import BridgeError, KeysError
from bridge.frames import FrameCodec
from bridge.links import phy_link_factory
from bridge.messages import Hello, Limits
from bridge.process import AirServerProcess
from bridge.secrets import derive, destroy_secret, link_secret, make_secret, read_secret
from bridge.server import InprocAirServer
from bridge.sessions import SessionStore, session_id
from tests.bridge.fakes import FakeLink

CONFIG = {"backend": "numpy", "csi": {"estimator": "perfect"}}
ROUNDS, PAYLOADS = np.arange(4), np.full((4, 2, 1), 0.25)
SECRET, NONCE = b"s" * 32, "a" * 64


def test_a_secret_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "private" / "x.key"
    first = read_secret(path, make=True)
    assert len(first) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert read_secret(path, make=True) == first == read_secret(path)
    assert [entry.name for entry in path.parent.iterdir()] == ["x.key"]
    with pytest.raises(FileExistsError):
        make_secret(path)
    assert read_secret(tmp_path / "y.key", make=True) != first


def test_a_file_that_is_no_secret_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(KeysError, match="none cannot be read: No such file"):
        read_secret(tmp_path / "none")
    short = tmp_path / "short"
    short.write_bytes(b"0123")
    short.chmod(0o600)
    with pytest.raises(KeysError, match="holds 4 bytes, and a secret has 32 or more"):
        read_secret(short, make=True)
    read_secret(tmp_path / "open", make=True)
    (tmp_path / "open").chmod(0o640)
    with pytest.raises(KeysError, match="can be read by others and is no secret; make it yours alone with `chmod 600"):
        read_secret(tmp_path / "open")
    with pytest.raises(KeysError, match="cannot be read: Not a directory"):
        read_secret(short / "below", make=True)


def test_a_destroyed_secret_is_overwritten_and_gone(tmp_path: Path) -> None:
    path = tmp_path / "x.key"
    read_secret(path, make=True)
    os.link(path, tmp_path / "other-name")
    destroy_secret(path)
    assert not path.exists()
    assert (tmp_path / "other-name").read_bytes() == bytes(32)
    destroy_secret(path)  # nothing left to do


def test_what_is_derived_differs_by_label_and_by_secret() -> None:
    # HMAC-SHA-256 of RFC 4231, test case 2.
    known = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert derive(b"Jefe", "what do ya want for nothing?").hex() == known
    sessions = [session_id(CONFIG, seed, nonce) for seed in (0, 1) for nonce in ("", NONCE)]
    found = {link_secret(secret, session) for secret in (SECRET, b"t" * 32) for session in sessions}
    assert len(found) == 8
    assert all(0 <= value < 2**64 for value in found)
    assert max(found) > 2**60  # all 64 bits are in use


def test_the_session_id_is_that_of_the_question_alone() -> None:
    stores = [SessionStore(lambda *_: FakeLink({}, 0), 4, secret) for secret in (None, SECRET)]
    ids = [[store.open(CONFIG, 3)[0], store.open(CONFIG, 3, NONCE)[0]] for store in stores]
    assert ids[0] == ids[1] == [session_id(CONFIG, 3), session_id(CONFIG, 3, NONCE)]
    assert ids[0][0] != ids[0][1]


def estimates(secret: bytes | None, seed: int = 1, nonce: str = "", payloads: np.ndarray = PAYLOADS) -> np.ndarray:
    with (
        InprocAirServer(phy_link_factory(backend="numpy"), secret=secret) as server,
        AirClient(server.endpoint, CONFIG, seed, nonce=nonce, context=server.context) as client,
    ):
        assert client.description["noise"] == ("seed" if secret is None else "secret")
        return np.asarray(client.aggregate_rounds(ROUNDS, payloads).estimates)


def test_noise_follows_the_servers_secret_and_the_session() -> None:
    public, hidden = estimates(None), estimates(SECRET)
    assert np.array_equal(hidden, estimates(SECRET))
    others = [public, hidden, estimates(b"t" * 32), estimates(SECRET, nonce=NONCE), estimates(SECRET, nonce="b" * 64)]
    for i, one in enumerate(others):
        for other in others[:i]:
            assert np.abs(one - other).min() > 1e-4
    assert np.array_equal(public, estimates(None, nonce=NONCE))  # without a secret a nonce changes nothing
    # Other noise under the same fades: what stands between both does not depend on what was sent.
    more = estimates(SECRET, payloads=2 * PAYLOADS) - estimates(SECRET)
    assert more == pytest.approx(np.full((4, 1), 0.25), abs=1e-4)
    assert estimates(None, payloads=2 * PAYLOADS) - public == pytest.approx(np.full((4, 1), 0.25), abs=1e-4)


def test_a_nonce_is_checked_and_left_out_where_there_is_none() -> None:
    codec = FrameCodec(Limits())
    plain = codec.encode(1, Hello(config={}, seed=0))
    assert b"nonce" not in plain[1]
    assert codec.decode([bytes(part) for part in codec.encode(1, Hello(config={}, seed=0, nonce=NONCE))]).message.nonce == NONCE
    wrong = bytes(codec.encode(1, Hello(config={}, seed=0, nonce=NONCE))[1]).replace(b"a" * 64, b"A" * 64)
    with pytest.raises(BridgeError, match="nonce"):
        codec.decode([bytes(plain[0]), wrong])


def test_a_server_process_makes_its_secret_and_shows_nobody_its_content(tmp_path: Path) -> None:
    path = tmp_path / "air.key"
    found = []
    for _ in range(2):  # the second server has the file of the first
        with AirServerProcess(backend="numpy", secret=path) as server, server.client(CONFIG, 1) as client:
            found.append(client.aggregate_rounds(ROUNDS, PAYLOADS).estimates)
            assert client.description["noise"] == "secret"
            secret = path.read_bytes()
            told = Path(f"/proc/{server.pid}/cmdline").read_bytes() + Path(f"/proc/{server.pid}/environ").read_bytes()
            words = " ".join(server._command).encode()
            assert str(path).encode() in words
            for form in (secret, secret.hex().encode()):
                assert form not in told + words + repr(client.description).encode() + repr(client._opened).encode()
    assert np.array_equal(*found)
    assert np.array_equal(found[0], estimates(secret))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
