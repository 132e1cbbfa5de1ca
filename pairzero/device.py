"""``pairzero device ...``: a device of a fleet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairzero.commands import PathLike, _loaded, _watcher

if TYPE_CHECKING:
    from learning.device import Device
    from testbench.scenario import Scenario

__all__ = ["join"]


def join(
    server: str,
    *,
    data: PathLike | None = None,
    model: PathLike | None = None,
    number: int | None = None,
    scenario: Scenario | PathLike | None = None,
    keys: PathLike | None = None,
    key_name: str = "client",
    patience_s: float = 60.0,
    torch_device: str | None = None,
    threads: int | None = None,
    secret: PathLike | None = None,
    progress: bool = False,
) -> Device:
    """Take part in the run at ``server`` until it is over: the device, with its weights, as it then is.

    :param data: this device's own training file; by default its share of the run's task
    :param model: folder of the base model on this machine
    :param number: which device to be, from 0; by default any free one
    :param keys: folder with this device's CURVE keys, ``key_name`` the pair of it
    :param secret: file that keys this device's batches in a private run, made where it is missing; by default one of its own
    """
    from bridge.keys import ClientKeys
    from testbench.fleet.device import join_run
    from testbench.fleet.sharing import Local

    pair = None if keys is None else ClientKeys.load(str(keys), key_name)
    local = Local(
        None if scenario is None else _loaded(scenario), None if model is None else str(model),
        None if data is None else Path(data), torch_device, threads, None if secret is None else Path(secret),
    )  # fmt: skip
    return join_run(server, number=number, local=local, keys=pair, patience_s=patience_s, watcher=_watcher(progress))


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        from pairzero._found import command

        return command("device", name)
