"""CURVE keys: the right key works, any other and none do not, and secrets stay secret."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pytest

from bridge.client import AirClient
from bridge.errors import BridgeError, KeysError, ServerRefused
from bridge.keys import ClientKeys, ServerKeys, add_client, generate_keys
from tests.bridge.fakes import running

ANYWHERE = "tcp://0.0.0.0:0"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generate_keys(tmp_path / "keys", clients=["alice", "bob"])
    return tmp_path / "keys"


def _local(endpoint: str) -> str:
    return endpoint.replace("0.0.0.0", "127.0.0.1")


def test_clients_on_the_list_are_let_in(folder: Path) -> None:
    with running(ANYWHERE, keys=ServerKeys.load(folder)) as server:
        for name in ("alice", "bob"):
            with AirClient(_local(server.endpoint), {}, 1, keys=ClientKeys.load(folder, name)) as client:
                assert client.aggregate(1, np.ones((2, 1))).lost is False


def test_an_unknown_key_is_refused_with_one_sentence(folder: Path) -> None:
    keys = ServerKeys.load(folder)
    add_client(folder, "carol")  # after the server read its list
    with running(ANYWHERE, keys=keys) as server:
        with pytest.raises(ServerRefused, match=r"does not know this client's key; put its public \.key") as caught:
            AirClient(_local(server.endpoint), {}, 1, keys=ClientKeys.load(folder, "carol"))
        assert caught.value.code == "key"
        assert server.counters["received"] == 0


def test_no_key_is_refused_with_one_sentence(folder: Path) -> None:
    with running(ANYWHERE, keys=ServerKeys.load(folder)) as server:
        with pytest.raises(ServerRefused, match="demands keys"):
            AirClient(_local(server.endpoint), {}, 1)
        assert server.counters["received"] == 0


def test_keys_for_a_server_without_any_are_refused_with_one_sentence(folder: Path) -> None:
    with running("tcp://127.0.0.1:0") as server, pytest.raises(ServerRefused, match="does not use keys"):
        AirClient(server.endpoint, {}, 1, keys=ClientKeys.load(folder, "alice"))


def test_a_client_does_not_talk_to_an_impostor(folder: Path, tmp_path: Path) -> None:
    generate_keys(tmp_path / "other", clients=["alice"])
    mine = ClientKeys.load(folder, "alice")
    # The impostor would let anybody in, and still cannot decrypt what this client says.
    impostor = ServerKeys.load(tmp_path / "other")
    impostor = ServerKeys(impostor.public, impostor.secret, frozenset({mine.public}))
    with running("tcp://127.0.0.1:0", keys=impostor) as server:
        with pytest.raises(BridgeError):
            AirClient(server.endpoint, {}, 1, keys=mine, timeout_s=0.2, attempts=2)
        assert server.counters["received"] == 0


def test_secret_files_are_private_and_checked(folder: Path) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in ("server", "alice"):
        assert stat.S_IMODE((folder / f"{name}.key_secret").stat().st_mode) == 0o600
        assert "secret" not in (folder / f"{name}.key").read_text()
    keys = ServerKeys.load(folder)
    assert keys.secret.decode() not in repr(keys)
    (folder / "server.key_secret").chmod(0o644)
    with pytest.raises(KeysError, match="chmod 600"):
        ServerKeys.load(folder)


def test_folders_that_will_not_do(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(KeysError, match="already holds"):
        generate_keys(folder)
    with pytest.raises(KeysError, match="already has keys for 'alice'"):
        add_client(folder, "alice")
    for name in ("../evil", "", "a/b", "server"):
        with pytest.raises(KeysError):
            add_client(folder, name)
    with pytest.raises(KeysError, match="is missing"):
        ServerKeys.load(tmp_path / "nowhere")
    with pytest.raises(KeysError, match="is missing"):
        ClientKeys.load(folder, "dave")
    generate_keys(tmp_path / "alone", clients=[])
    with pytest.raises(KeysError, match="nobody could connect"):
        ServerKeys.load(tmp_path / "alone")
    (folder / "alice.key_secret").write_text('public-key = "short"\nsecret-key = "short"\n')
    with pytest.raises(KeysError, match="40 characters"):
        ClientKeys.load(folder, "alice")
