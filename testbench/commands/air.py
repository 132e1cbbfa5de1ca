"""``pairzero air``."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The emulated air as a server of its own.", no_args_is_help=True)


@app.command("serve")
def serve_(
    bind: Annotated[str, typer.Option("--bind", help="ipc:///path or tcp://127.0.0.1:PORT; port 0 takes a free one.")],
    key_dir: Annotated[
        Path | None, typer.Option("--key-dir", help="CURVE key folder; needed for addresses that other machines can reach.")
    ] = None,
    allow_part: Annotated[
        list[str] | None, typer.Option("--allow-part", help="A class module:Class that clients may name in a link.")
    ] = None,
    allow_file: Annotated[
        list[str] | None, typer.Option("--allow-file", help="A sounding or recording that clients may name in a link.")
    ] = None,
    stream: Annotated[
        str | None, typer.Option("--stream", metavar="FILE", help="TOML with the settings of the stream air; see docs/sdr.md.")
    ] = None,
) -> None:
    """Serve the emulated air until interrupted; many clients at once."""
    from bridge.serve import serve

    keys = None if key_dir is None else str(key_dir)
    serve(bind, key_dir=keys, parts=allow_part or [], files=allow_file or [], stream=stream)


@app.command("keys")
def keys(
    folder: Annotated[Path, typer.Argument(help="New folder for the keys.")],
) -> None:
    """Make CURVE keys for an air server that other machines may reach."""
    from bridge.keys import generate_keys

    generate_keys(str(folder))
    typer.echo(f"keys are in {folder}; keep the secret ones secret, see docs/protocol.md")
