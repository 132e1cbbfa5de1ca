"""CURVE keys: who may talk to an air server that other machines can reach.

A key folder holds `server.key` and `server.key_secret`, a pair per client (`NAME.key`, `NAME.key_secret`),
and `clients/`, the allow-list: one public `.key` file per client that the server lets in. A client machine
needs `server.key` and its own pair, nothing else. Files have the certificate format of ZeroMQ, so its other
tools read them too. CURVE by itself only encrypts: without the allow-list, which a ZAP authenticator
enforces, any key would do.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import zmq

from bridge.errors import KeysError

if TYPE_CHECKING:
    from zmq.auth.thread import ThreadAuthenticator

__all__ = ["ClientKeys", "ServerKeys", "add_client", "generate_keys", "start_authenticator"]

ZAP_DOMAIN = "pairzero"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class ServerKeys:
    """A server's pair and the public keys it lets in, each 40 bytes of Z85."""

    public: bytes
    secret: bytes = field(repr=False)
    allowed: frozenset[bytes]

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> ServerKeys:
        """Read the server's side of a key folder.

        Raises:
            KeysError: a file is missing, malformed or readable by others, or nobody is on the allow-list.
        """
        root = Path(folder)
        public, secret = _read_pair(root / "server.key_secret")
        allowed = frozenset(_read_public(path) for path in sorted((root / "clients").glob("*.key")))
        if not allowed:
            raise KeysError(f"{root / 'clients'} holds no client's .key file, so nobody could connect; add one")
        return cls(public, secret, allowed)

    def apply(self, server: zmq.Socket[bytes]) -> None:
        """Make `server` demand keys; its context also needs `start_authenticator`."""
        server.curve_server = True
        server.curve_secretkey = self.secret
        server.curve_publickey = self.public
        server.zap_domain = ZAP_DOMAIN.encode()
        # Without a working authenticator nobody gets in, rather than everybody.
        server.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)


@dataclass(frozen=True, slots=True)
class ClientKeys:
    """A client's pair and the public key of the server it trusts, each 40 bytes of Z85."""

    public: bytes
    secret: bytes = field(repr=False)
    server: bytes

    @classmethod
    def load(cls, folder: str | os.PathLike[str], name: str = "client") -> ClientKeys:
        """Read the side of client `name`.

        Raises:
            KeysError: a file is missing, malformed or readable by others.
        """
        root = Path(folder)
        public, secret = _read_pair(root / f"{_checked_name(name)}.key_secret")
        return cls(public, secret, _read_public(root / "server.key"))

    def apply(self, client: zmq.Socket[bytes]) -> None:
        """Make `client` show its key and accept the one server."""
        client.curve_secretkey = self.secret
        client.curve_publickey = self.public
        client.curve_serverkey = self.server


def generate_keys(folder: str | os.PathLike[str], clients: Sequence[str] = ("client",)) -> None:
    """Make a key folder (0700): the server's pair, and one on the allow-list for each of `clients`.

    Raises:
        KeysError: the folder already holds keys, cannot be written, or a name will not do as a file name.
    """
    root = Path(folder)
    names = [_checked_name(name) for name in clients]
    if (root / "server.key_secret").exists():
        raise KeysError(f"{root} already holds a server's keys; choose another folder, or delete that one first")
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        (root / "clients").mkdir(mode=0o700, exist_ok=True)
        _write_pair(root, "server")
    except OSError as error:
        raise KeysError(f"keys cannot be written to {root}: {error.strerror}") from None
    for name in names:
        add_client(root, name)


def add_client(folder: str | os.PathLike[str], name: str) -> None:
    """Make a pair for one more client and put it on the allow-list, which a server reads when it starts.

    Raises:
        KeysError: the name is taken or will not do, or the folder cannot be written.
    """
    root = Path(folder)
    if _checked_name(name) == "server":
        raise KeysError("a client cannot be called server; that pair is the server's own")
    try:
        public = _write_pair(root, name)
        _write(root / "clients" / f"{name}.key", _certificate(public), 0o644)
    except FileExistsError:
        raise KeysError(f"{root} already has keys for {name!r}; choose another name") from None
    except OSError as error:
        raise KeysError(f"keys cannot be written to {root}: {error.strerror}") from None


def start_authenticator(context: zmq.Context[zmq.Socket[bytes]], keys: ServerKeys) -> ThreadAuthenticator:
    """Start the ZAP thread that enforces the allow-list; there can be one for each context."""
    from zmq.auth.thread import ThreadAuthenticator

    class _AllowList:
        def callback(self, domain: str, key: bytes) -> bool:
            return domain == ZAP_DOMAIN and key in keys.allowed

    authenticator = ThreadAuthenticator(context)
    authenticator.start()
    authenticator.configure_curve_callback(domain=ZAP_DOMAIN, credentials_provider=_AllowList())
    return authenticator


def _checked_name(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise KeysError(f"{name!r} will not do as a key's name; use letters, digits, dots and dashes")
    return name


def _write_pair(root: Path, name: str) -> bytes:
    public, secret = zmq.curve_keypair()
    _write(root / f"{name}.key_secret", _certificate(public, secret), 0o600)
    _write(root / f"{name}.key", _certificate(public), 0o644)
    return public


def _certificate(public: bytes, secret: bytes | None = None) -> str:
    lines = ["metadata", "curve", f'    public-key = "{public.decode()}"']
    if secret is not None:
        lines.append(f'    secret-key = "{secret.decode()}"')
    return "\n".join(lines) + "\n"


def _write(path: Path, text: str, mode: int) -> None:
    # The mode is given at creation, so that the secret is at no moment readable by others.
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(text)


def _read(path: Path) -> tuple[bytes, bytes | None]:
    from zmq.auth import load_certificate

    try:
        public, secret = load_certificate(path)
    except (OSError, ValueError):
        raise KeysError(f"{path} is missing or holds no key; make one with `pairzero air keys DIR`") from None
    if len(public) != 40 or (secret is not None and len(secret) != 40):
        raise KeysError(f"{path} holds a key that is not 40 characters long; make the pair anew")
    return public, secret


def _read_public(path: Path) -> bytes:
    return _read(path)[0]


def _read_pair(path: Path) -> tuple[bytes, bytes]:
    public, secret = _read(path)
    if secret is None:
        raise KeysError(f"{path} holds no secret key; make the pair anew")
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise KeysError(f"{path} can be read by others; make it yours alone with `chmod 600 {path}`")
    return public, secret
