"""``pairzero air ...``: the emulated air as a server of its own."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

__all__ = ["keys", "serve"]


def serve(
    bind: str,
    *,
    key_dir: str | os.PathLike[str] | None = None,
    allow_part: Sequence[str] = (),
    allow_file: Sequence[str] = (),
    stream: str | None = None,
    secret: str | os.PathLike[str] | None = None,
) -> None:
    """Serve the emulated air until the process is told to end; call it from the main thread.

    :param secret: a file that keys the noise in place of the clients' seeds; made where it is missing
    """
    from bridge.serve import serve as run

    run(
        bind,
        key_dir=None if key_dir is None else os.fspath(key_dir),
        parts=allow_part,
        files=allow_file,
        stream=stream,
        secret=None if secret is None else os.fspath(secret),
    )


def keys(folder: str | os.PathLike[str]) -> None:
    """Make CURVE keys in a new folder, for an air server that other machines may reach."""
    from bridge.keys import generate_keys

    generate_keys(os.fspath(folder))


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        from pairzero._found import command

        return command("air", name)
