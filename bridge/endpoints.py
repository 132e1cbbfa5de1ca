"""Addresses: what they may look like, which are safe to listen on, and private ones of our own."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import shutil
import socket
import stat
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bridge.errors import EndpointError

__all__ = [
    "Endpoint",
    "PrivateEndpoint",
    "check_bind",
    "check_told",
    "clear_ipc_path",
    "leave_private_folder",
    "parse_endpoint",
    "private_ipc_endpoint",
]

# sun_path holds 108 bytes on Linux and 104 on macOS, the closing zero included.
IPC_PATH_BYTES = 100
# Private folders are called this and something random.
PREFIX = "pairzero-"

_TCP = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):(?P<port>[0-9]{1,5}|\*)")
_FORMS = "inproc://NAME, ipc:///PATH or tcp://127.0.0.1:PORT"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A checked address: its transport, and `host` and `port` (tcp) or `name` (inproc; ipc: the path)."""

    transport: Literal["inproc", "ipc", "tcp"]
    name: str = ""
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        if self.transport == "tcp":
            host = f"[{self.host}]" if ":" in self.host else self.host
            return f"tcp://{host}:{self.port or '*'}"
        return f"{self.transport}://{self.name}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.transport != "tcp" or ipaddress_of(self.host).is_loopback


def ipaddress_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the address that `host` spells; any name but localhost counts as 0.0.0.0."""
    try:
        return ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        return ipaddress.ip_address("0.0.0.0")


def parse_endpoint(text: str) -> Endpoint:
    """Parse an address.

    Port 0 (or `*`) stands for any free port, in a bind.

    Raises:
        EndpointError: it is malformed, a wildcard, an abstract ipc name, or an ipc path that is relative or
            too long.
    """
    transport, separator, rest = text.partition("://")
    if not separator or not rest or any(c.isspace() or not c.isprintable() for c in text):
        raise EndpointError(f"{text!r} is no endpoint; write {_FORMS}")
    if transport == "inproc":
        return Endpoint("inproc", name=rest)
    if transport == "ipc":
        return Endpoint("ipc", name=_checked_path(text, rest))
    if transport != "tcp":
        raise EndpointError(f"{text!r} names the transport {transport!r}; write {_FORMS}")
    match = _TCP.fullmatch(rest)
    if match is None:
        raise EndpointError(f"{text!r} is no tcp endpoint; name an address and a port, as in tcp://127.0.0.1:5757")
    port = 0 if match["port"] == "*" else int(match["port"])
    if port > 65535:
        raise EndpointError(f"{text!r} has port {port}; ports end at 65535")
    host = match["host"].strip("[]")
    if match["host"].startswith("["):
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise EndpointError(f"{text!r} has no valid IPv6 address between its brackets") from None
    return Endpoint("tcp", host=host, port=port)


def check_bind(endpoint: Endpoint, *, secured: bool) -> Endpoint:
    """Return `endpoint` as it can be bound.

    Raises:
        EndpointError: others could reach it and it is not `secured` by CURVE keys, or tcp names a host by
            name.
    """
    if endpoint.transport == "tcp" and endpoint.host == "localhost":
        endpoint = Endpoint("tcp", host="127.0.0.1", port=endpoint.port)
    if not endpoint.loopback and not secured:
        raise EndpointError(
            f"{endpoint} can be reached from other machines and nobody would be asked for a key; "
            "bind tcp://127.0.0.1:PORT, or make keys with `pairzero air keys DIR` and give --key-dir DIR"
        )
    if endpoint.transport == "tcp":
        try:
            ipaddress.ip_address(endpoint.host)
        except ValueError:
            raise EndpointError(f"{endpoint} names a host; bind to one of this machine's numeric addresses") from None
    if endpoint.transport == "inproc" and secured:
        raise EndpointError(f"{endpoint} never leaves its process and takes no keys; leave the key folder out")
    return endpoint


def check_told(told: str, by: str, *, secured: bool) -> str:
    """Return the address `told` by the peer at `by`, if it is one to connect to and no trick.

    This machine's own addresses are taken only from a peer on this machine, so that nobody elsewhere can point at what
    listens here; any other only where CURVE keys prove who answers.

    Raises:
        EndpointError: it is neither.
    """
    endpoint, teller = parse_endpoint(told), parse_endpoint(by)
    if endpoint.transport == "inproc" or (endpoint.transport == "tcp" and endpoint.port == 0):
        raise EndpointError(f"{told!r}, told by {by}, is no address that another process can connect to")
    if endpoint.transport == "tcp" and _unspecified(endpoint.host):
        raise EndpointError(f"{told!r}, told by {by}, is a wildcard; the other side has to name an address of its machine")
    if endpoint.loopback and not teller.loopback:
        raise EndpointError(
            f"{told!r}, told by {by}, is an address of this machine, and that peer is on another; have it name one that "
            "other machines reach"
        )
    if not endpoint.loopback and not secured:
        raise EndpointError(f"{told!r}, told by {by}, lies on another machine and nobody would prove its key; join with keys")
    if endpoint.transport == "ipc":
        path = endpoint.name
        if os.path.normpath(path) != path:
            raise EndpointError(f"{told!r}, told by {by}, takes detours; an address is the plain path of a socket")
        with suppress(FileNotFoundError):
            found = Path(path).lstat()
            if not stat.S_ISSOCK(found.st_mode) or found.st_uid not in (os.getuid(), 0):
                raise EndpointError(f"{told!r}, told by {by}, is no socket of this user's")
    return told


def _unspecified(host: str) -> bool:
    """Whether `host` spells the address of no machine, which connects to this one."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_unspecified or str(getattr(address, "ipv4_mapped", None)) == "0.0.0.0"


def clear_ipc_path(endpoint: Endpoint) -> None:
    """Make way for a bind to an ipc path: remove the socket that a dead server left behind.

    libzmq itself would silently take the path away from a server that is alive.

    Raises:
        EndpointError: a live server listens there, or the path cannot hold a socket.
    """
    path = Path(endpoint.name)
    if not path.parent.is_dir():
        raise EndpointError(f"{endpoint} lies in the folder {path.parent}, which does not exist; create it first")
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise EndpointError(f"{endpoint} cannot be used: {error.strerror}; choose another path") from None
    if not stat.S_ISSOCK(mode):
        raise EndpointError(f"{endpoint} is a file of another kind; choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        reached = probe.connect_ex(endpoint.name)
    # Anything but a refusal (connected, backlog full, no permission) means that somebody may be listening.
    if reached not in (errno.ECONNREFUSED, errno.ENOENT):
        raise EndpointError(f"{endpoint} is in use by a live server; stop it or choose another path")
    path.unlink(missing_ok=True)


class PrivateEndpoint:
    """An ipc address in a folder of its own that only this user may enter; `close` removes the folder."""

    def __init__(self) -> None:
        folder = tempfile.mkdtemp(prefix=PREFIX)  # mkdtemp makes it 0700
        if len(os.fsencode(folder)) + len("/air") > IPC_PATH_BYTES:
            os.rmdir(folder)
            folder = tempfile.mkdtemp(prefix=PREFIX, dir="/tmp")
        self.folder = Path(folder)
        self.endpoint = f"ipc://{folder}/air"
        self._remove = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)

    def close(self) -> None:
        """Remove the folder and what is in it; also done when the process ends."""
        self._remove()


def leave_private_folder(endpoint: Endpoint) -> None:
    """Remove a private endpoint's folder, once empty, on behalf of a process that was killed and could not."""
    folder = Path(endpoint.name).parent
    if endpoint.transport == "ipc" and folder.name.startswith(PREFIX):
        with suppress(OSError):
            folder.rmdir()


@contextmanager
def private_ipc_endpoint() -> Iterator[str]:
    """Give an ipc address in a new 0700 folder, and remove the folder afterwards."""
    private = PrivateEndpoint()
    try:
        yield private.endpoint
    finally:
        private.close()


def _checked_path(text: str, path: str) -> str:
    if path.startswith("@") or path == "*":
        raise EndpointError(f"{text!r} has no file permissions to protect it; name a path, as in ipc:///run/user/1000/air")
    if not path.startswith("/"):
        raise EndpointError(f"{text!r} is relative to wherever each process stands; name an absolute path")
    length = len(os.fsencode(path))
    if length > IPC_PATH_BYTES:
        raise EndpointError(f"{text!r} has a path of {length} bytes; sockets allow {IPC_PATH_BYTES}, choose a shorter one")
    return path
