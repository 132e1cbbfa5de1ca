"""``pairzero air``."""

from pathlib import Path
from typing import Annotated, Literal

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
    backend: Annotated[
        Literal["sionna", "tensorflow", "numpy"],
        typer.Option("--backend", help="What computes the channel: Sionna 2 on PyTorch, Sionna 1.x on TensorFlow, or numpy."),
    ] = "sionna",
    secret: Annotated[
        Path | None,
        typer.Option("--secret", help="File whose secret keys the noise, in place of the clients' seeds; made if missing."),
    ] = None,
) -> None:
    """Serve the emulated air until interrupted; many clients at once."""
    import os
    import sys

    from bridge.environments import backend_python, python_environment
    from bridge.serve import serve

    keys, parts, files = None if key_dir is None else str(key_dir), allow_part or [], allow_file or []
    hidden = None if secret is None else str(secret)
    python = backend_python(backend)
    if python == sys.executable:
        serve(bind, key_dir=keys, parts=parts, files=files, stream=stream, backend=backend, secret=hidden)
        return
    arguments = ["-P", "-m", "bridge.serve", "--bind", bind, "--backend", backend]
    arguments += [] if keys is None else ["--key-dir", keys]
    arguments += [] if stream is None else ["--stream", stream]
    arguments += [] if hidden is None else ["--secret", hidden]
    arguments += [word for part in parts for word in ("--allow-part", part)]
    arguments += [word for file in files for word in ("--allow-file", file)]
    # The same process goes on in the other environment: signals and exit codes need no relay.
    os.execve(python, [python, *arguments], python_environment(python))


@app.command("keys")
def keys(
    folder: Annotated[Path, typer.Argument(help="New folder for the keys.")],
) -> None:
    """Make CURVE keys for an air server that other machines may reach."""
    from bridge.keys import generate_keys

    generate_keys(str(folder))
    typer.echo(f"keys are in {folder}; keep the secret ones secret, see docs/protocol.md")


@app.command("broker")
def broker(
    file: Annotated[Path, typer.Argument(help="TOML with the sections [broker] and [link]; see docs/broker.md.")],
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one setting.")] = None,
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=0, help="Serve so long; otherwise until interrupted.")
    ] = None,
    every_s: Annotated[float, typer.Option("--every", min=0.1, help="Seconds between lines that tell the rate.")] = 10.0,
) -> None:
    """Carry samples between others' radios (srsRAN's ZeroMQ, GNU Radio's REQ/REP), each through a channel of its own."""
    from testbench.broker.command import serve
    from testbench.broker.settings import load

    serve(load(file, overrides), say=lambda line: print(line, flush=True), seconds=seconds, every_s=every_s)
