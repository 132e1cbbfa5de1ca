"""Addresses: which are read, which may be listened on, and private ones."""

from __future__ import annotations

import socket
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.endpoints import PrivateEndpoint, check_bind, check_told, parse_endpoint, private_ipc_endpoint
from bridge.errors import EndpointError

# A busy machine must not fail a test.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize(
    ("text", "back", "loopback"),
    [
        ("inproc://air", "inproc://air", True),
        ("ipc:///tmp/air", "ipc:///tmp/air", True),
        ("tcp://127.0.0.1:5757", "tcp://127.0.0.1:5757", True),
        ("tcp://127.0.0.1:0", "tcp://127.0.0.1:*", True),
        ("tcp://127.3.2.1:*", "tcp://127.3.2.1:*", True),
        ("tcp://[::1]:80", "tcp://[::1]:80", True),
        ("tcp://localhost:80", "tcp://localhost:80", True),
        ("tcp://0.0.0.0:80", "tcp://0.0.0.0:80", False),
        ("tcp://192.0.2.7:80", "tcp://192.0.2.7:80", False),
        ("tcp://radio.example:80", "tcp://radio.example:80", False),
    ],
)
def test_endpoints_that_are_read(text: str, back: str, loopback: bool) -> None:
    endpoint = parse_endpoint(text)
    assert str(endpoint) == back
    assert endpoint.loopback is loopback


@pytest.mark.parametrize(
    "text",
    [
        "",
        "air",
        "tcp://",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:99999",
        "tcp://*:80",
        "tcp://[zz]:80",
        "tcp://1.2.3.4:80\n",
        "udp://1.2.3.4:80",
        "ipc://@abstract",
        "ipc://*",
        "ipc://relative/air",
        "ipc:///" + "x" * 100,
    ],
)
def test_endpoints_that_are_refused(text: str) -> None:
    with pytest.raises(EndpointError):
        parse_endpoint(text)


@given(st.text(max_size=40) | st.text("tcp:/[]0.1*", max_size=30).map("tcp://".__add__))
@UNHURRIED
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        endpoint = parse_endpoint(text)
    except EndpointError:
        return
    assert str(parse_endpoint(str(endpoint))) == str(endpoint)


def test_what_may_be_bound() -> None:
    for text in ("tcp://0.0.0.0:80", "tcp://192.0.2.7:80", "tcp://[::]:80"):
        with pytest.raises(EndpointError, match="key"):
            check_bind(parse_endpoint(text), secured=False)
        assert str(check_bind(parse_endpoint(text), secured=True)) == text
    assert str(check_bind(parse_endpoint("tcp://localhost:80"), secured=False)) == "tcp://127.0.0.1:80"
    with pytest.raises(EndpointError, match="numeric"):
        check_bind(parse_endpoint("tcp://radio.example:80"), secured=True)
    with pytest.raises(EndpointError, match="takes no keys"):
        check_bind(parse_endpoint("inproc://air"), secured=True)


def test_a_private_endpoint_is_for_this_user_and_goes_away() -> None:
    with private_ipc_endpoint() as text:
        folder = Path(parse_endpoint(text).name).parent
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "air").touch()
    assert not folder.exists()


def test_a_private_endpoint_fits_where_temporary_paths_are_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("d" * 90)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    private = PrivateEndpoint()
    parse_endpoint(private.endpoint)
    assert list(deep.iterdir()) == []
    private.close()
    assert not private.folder.exists()


def test_what_a_peer_may_tell_to_connect_to(tmp_path: Path) -> None:
    path = tmp_path / "air"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        here = f"ipc://{path}"
        for told, by, secured in (
            (here, f"ipc://{tmp_path}/fleet", False),
            (here, "tcp://127.0.0.1:5757", False),
            (f"ipc://{tmp_path}/not-yet", "tcp://localhost:5757", False),
            ("tcp://127.0.0.1:5800", f"ipc://{tmp_path}/fleet", False),
            ("tcp://192.0.2.7:5800", "tcp://192.0.2.1:5757", True),
        ):
            assert check_told(told, by, secured=secured) == told
        (tmp_path / "plain").write_text("x")
        (tmp_path / "link").symlink_to(path)
        for told, by, secured, sentence in (
            (here, "tcp://192.0.2.1:5757", True, "is an address of this machine, and that peer is on another"),
            ("tcp://127.0.0.1:6379", "tcp://192.0.2.1:5757", True, "is an address of this machine"),
            ("tcp://[::1]:6379", "tcp://192.0.2.1:5757", True, "is an address of this machine"),
            ("tcp://192.0.2.7:5800", "tcp://192.0.2.1:5757", False, "nobody would prove its key"),
            ("tcp://air.example:5800", "tcp://127.0.0.1:5757", False, "nobody would prove its key"),
            ("tcp://0.0.0.0:5800", "tcp://127.0.0.1:5757", True, "is a wildcard"),
            ("tcp://[0:0::0]:5800", "tcp://127.0.0.1:5757", True, "is a wildcard"),
            ("tcp://[::ffff:0.0.0.0]:5800", "tcp://127.0.0.1:5757", True, "is a wildcard"),
            ("tcp://[::]:5800", "tcp://127.0.0.1:5757", True, "is a wildcard"),
            ("tcp://127.0.0.1:0", "tcp://127.0.0.1:5757", False, "no address that another process can connect to"),
            ("inproc://air", "tcp://127.0.0.1:5757", False, "no address that another process can connect to"),
            (f"ipc://{tmp_path}/x/../air", here, False, "takes detours"),
            (f"ipc://{tmp_path}//air", here, False, "takes detours"),
            (f"ipc://{tmp_path}/plain", here, False, "is no socket of this user's"),
            (f"ipc://{tmp_path}/link", here, False, "is no socket of this user's"),
            ("ipc://@abstract", here, False, "no file permissions"),
            ("ipc://air", here, False, "relative"),
            ("file:///etc/passwd", here, False, "names the transport"),
        ):
            with pytest.raises(EndpointError, match=sentence):
                check_told(told, by, secured=secured)
