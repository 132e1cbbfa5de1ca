"""``pairzero device``: a device's side of devices that are processes of their own."""

from pathlib import Path
from typing import Annotated

import typer

from testbench.commands._options import console

app = typer.Typer(help="Devices as processes of their own: a device.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Devices as processes of their own: a device."""


@app.command("join")
def join(
    server: Annotated[str, typer.Option("--server", help="The coordinator's address, as it prints it.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="This device's own training file. Default: its share of the run's task.")
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
    secret: Annotated[
        Path | None,
        typer.Option(
            "--secret",
            help="File that keys this device's batches in a private run; made if missing. Default: one of its own in the "
            "user's state folder.",
        ),
    ] = None,
) -> None:
    """Take part in a run: receive a round and its seed, measure, send the scalars, apply the estimate."""
    from bridge.keys import ClientKeys
    from testbench.fleet.device import join_run
    from testbench.fleet.sharing import Local
    from testbench.progress import ProgressWatcher
    from testbench.scenario import load

    pair = None if keys is None else ClientKeys.load(str(keys), key_name)
    local = Local(None if scenario is None else load(scenario), model, data, torch_device, threads, secret)
    watcher = ProgressWatcher(console())
    join_run(server, number=number, local=local, keys=pair, patience_s=patience, watcher=watcher)
