"""``pairzero fleet``: the coordinator's side of devices that are processes of their own."""

from pathlib import Path
from typing import Annotated

import typer

from testbench.commands._options import Out, Resume, Sets, Strict, strictly

app = typer.Typer(help="Devices as processes of their own: their coordinator.", no_args_is_help=True)


@app.command("serve")
def serve(
    scenario: Annotated[str, typer.Argument(help="A scenario file, the name of a shipped one, or a run folder.")],
    bind: Annotated[
        str | None, typer.Option("--bind", help="Where devices join: ipc:///path or tcp://ADDRESS:PORT (port 0: a free one).")
    ] = None,
    key_dir: Annotated[
        Path | None, typer.Option("--key-dir", help="CURVE key folder; needed for addresses that other machines can reach.")
    ] = None,
    sets: Sets = None,
    out: Out = None,
    resume: Resume = False,
    strict: Strict = False,
) -> None:
    """Run a scenario whose devices join from other processes; the same as `pairzero run` with fleet.bind set."""
    from testbench.commands.run import run
    from testbench.errors import FleetError
    from testbench.scenario import load

    overrides = [*(sets or []), *strictly(strict)]
    if bind is not None:
        overrides.append(f"fleet.bind={bind}")
    if key_dir is not None:
        overrides.append(f"fleet.keys={key_dir}")
    if not load(scenario, overrides).fleet.on:
        raise FleetError("nobody could join: give an address with --bind, for instance tcp://127.0.0.1:5757, or set fleet.bind")
    run(scenario, overrides, out, resume)


@app.command("keys")
def keys(
    folder: Annotated[Path, typer.Argument(help="New folder for the keys.")],
    device: Annotated[list[str] | None, typer.Option("--device", help="Name of a device's pair (repeatable).")] = None,
) -> None:
    """Make CURVE keys for a coordinator that other machines may reach, and a pair for each device."""
    from bridge.keys import generate_keys

    names = device or ["client"]
    generate_keys(str(folder), names)
    typer.echo(f"keys of the coordinator and of {', '.join(names)} are in {folder}; a device needs server.key and its own pair")
