"""Secrets: files of random bytes that stay where their owner is, and what is derived from them.

A secret is a file of at least 32 bytes from the system's entropy that its owner alone may read. Its content is never sent,
printed or given on a command line; only its path is. What others need is derived from it by HMAC-SHA-256 under a label, which
tells nothing of the secret nor of what other labels give.
"""

from __future__ import annotations

import hmac
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from bridge.errors import KeysError

__all__ = ["derive", "destroy_secret", "link_secret", "make_secret", "read_secret"]

SECRET_BYTES = 32


def read_secret(path: str | os.PathLike[str], *, make: bool = False) -> bytes:
    """Return the secret in the file at `path`; with `make` one that is missing is made first.

    Raises:
        KeysError: it is missing, shorter than 32 bytes, or not its owner's alone to read; or it cannot be made.
    """
    if make and not os.path.lexists(path):
        with suppress(FileExistsError):  # another process was faster, and its secret is as good
            make_secret(path)
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise KeysError(f"the secret {path} cannot be read: {error.strerror}") from None
    with os.fdopen(handle, "rb") as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
            raise KeysError(f"{path} can be read by others and is no secret; make it yours alone with `chmod 600 {path}`")
        try:
            secret = file.read()
        except OSError as error:
            raise KeysError(f"the secret {path} cannot be read: {error.strerror}") from None
    if len(secret) < SECRET_BYTES:
        raise KeysError(
            f"{path} holds {len(secret)} bytes, and a secret has {SECRET_BYTES} or more; delete it to have one made"
        )
    return secret


def make_secret(path: str | os.PathLike[str]) -> None:
    """Write 32 bytes from the system's entropy to a new file of mode 0600, whole or not at all.

    Raises:
        FileExistsError: there is a file already.
        KeysError: it cannot be written.
    """
    target = Path(path)
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=target.name, dir=target.parent)  # of mode 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(os.urandom(SECRET_BYTES))
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, target)  # refuses to replace a file, unlike a renaming
        finally:
            os.unlink(temporary)
    except FileExistsError:
        raise
    except OSError as error:
        raise KeysError(f"the secret {path} cannot be written: {error.strerror}") from None


def destroy_secret(path: str | os.PathLike[str]) -> None:
    """Overwrite the file and remove it. A disk that writes elsewhere, or a backup, may keep what it held."""
    with suppress(FileNotFoundError), open(path, "r+b") as file:
        size = os.fstat(file.fileno()).st_size
        file.write(bytes(size))
        file.flush()
        os.fsync(file.fileno())
        os.unlink(path)


def derive(secret: bytes, label: str) -> bytes:
    """Return 32 bytes that only the holder of the secret can have, others for each label."""
    return hmac.digest(secret, label.encode("utf-8"), "sha256")


def link_secret(secret: bytes, session: str) -> int:
    """Return the secret of a session's link, 0 .. 2^64 - 1: other sessions get others, so no two share their noise."""
    return int.from_bytes(derive(secret, f"pairzero link {session}")[:8], "little")
