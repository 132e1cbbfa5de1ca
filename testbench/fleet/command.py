"""The commands ``pairzero fleet`` and ``pairzero device``."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

__all__ = ["device", "fleet"]

fleet = typer.Typer(help="Devices as processes of their own: the coordinator's side.", no_args_is_help=True)
device = typer.Typer(help="Devices as processes of their own: a device's side.", no_args_is_help=True)


@fleet.command("serve")
def serve(
    scenario: Annotated[str, typer.Argument(help="A scenario file, the name of a shipped one, or a run folder.")],
    bind: Annotated[
        str | None,
        typer.Option("--bind", help="Where devices join: ipc:///path or tcp://ADDRESS:PORT; port 0 takes a free one."),
    ] = None,
    key_dir: Annotated[
        Path | None, typer.Option("--key-dir", help="Server's CURVE key folder; needed for addresses that others can reach.")
    ] = None,
    sets: Annotated[list[str] | None, typer.Option("--set", help="Override a setting: key=value.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Run folder. Default: a new one under runs/.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the folder, where its journal ends.")] = False,
) -> None:
    """Run a scenario whose devices join from other processes; the same as `pairzero run` with fleet.bind set."""
    from testbench.cli import _run
    from testbench.errors import FleetError
    from testbench.scenario import load

    overrides = list(sets or [])
    if bind is not None:
        overrides.append(f"fleet.bind={bind}")
    if key_dir is not None:
        overrides.append(f"fleet.keys={key_dir}")
    if not load(scenario, overrides).fleet.on:
        raise FleetError("nobody could join: give an address with --bind, for instance tcp://127.0.0.1:5757, or set fleet.bind")
    _run(scenario, overrides, out, resume)


@device.command("join")
def join(
    server: Annotated[str, typer.Option("--server", help="The coordinator's address, as it prints it.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="This device's own training file (.tsv, .csv, .jsonl). Default: its share.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="Folder of the base model on this machine.")] = None,
    number: Annotated[
        int | None, typer.Option("--number", min=0, help="Which device to be, from 0. Default: any free one.")
    ] = None,
    scenario: Annotated[
        str | None, typer.Option("--scenario", help="This machine's copy of the scenario, for its model and task.")
    ] = None,
    keys: Annotated[Path | None, typer.Option("--keys", help="Folder with this device's CURVE keys and server.key.")] = None,
    key_name: Annotated[str, typer.Option("--key-name", help="Which pair of the folder is this device's.")] = "client",
    patience: Annotated[
        float, typer.Option("--patience", min=0.1, help="Seconds to ask a coordinator that does not answer.")
    ] = 60.0,
    torch_device: Annotated[str | None, typer.Option("--torch-device", help="Where to compute: cpu, cuda, ...")] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, max=1024, help="Threads of torch. Default: as the coordinator.")
    ] = None,
) -> None:
    """Take part in a run: receive a round and its seed, measure, send the scalars, apply the estimate."""
    from bridge.keys import ClientKeys
    from testbench.fleet.device import join_run
    from testbench.fleet.sharing import Local
    from testbench.progress import ProgressWatcher
    from testbench.scenario import load

    pair = None if keys is None else ClientKeys.load(str(keys), key_name)
    local = Local(None if scenario is None else load(scenario), model, data, torch_device, threads)
    watcher = ProgressWatcher(Console())
    join_run(server, number=number, local=local, keys=pair, patience_s=patience, watcher=watcher)
