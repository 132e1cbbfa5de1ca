"""``pairzero fleet ...``: the coordinator of devices that are processes of their own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pairzero.commands import PathLike, Settings, _loaded, overrides, run

if TYPE_CHECKING:
    from testbench.runner import RunResult
    from testbench.scenario import Scenario

__all__ = ["keys", "serve"]


def serve(
    scenario: Scenario | PathLike,
    bind: str | None = None,
    out: PathLike | None = None,
    *,
    key_dir: PathLike | None = None,
    settings: Settings | None = None,
    resume: bool = False,
    progress: bool = False,
) -> RunResult:
    """Run a scenario whose devices join from other processes (:func:`pairzero.device.join`); returns when all rounds are done.

    :param bind: where devices join, e.g. ``tcp://127.0.0.1:5757``; by default the scenario's ``fleet.bind``
    :param key_dir: folder of CURVE keys, needed for addresses that other machines can reach
    :raises testbench.errors.FleetError: nobody could join, or too few did
    """
    from testbench.errors import FleetError

    given = list(overrides(settings) or [])
    given += overrides({k: v for k, v in {"fleet.bind": bind, "fleet.keys": key_dir}.items() if v is not None}) or []
    chosen = _loaded(scenario, given)
    if not chosen.fleet.on:
        raise FleetError("nobody could join: give an address, for instance bind='tcp://127.0.0.1:5757', or set fleet.bind")
    return run(chosen, out, resume=resume, progress=progress)


def keys(folder: PathLike, devices: Iterable[str] = ("client",)) -> None:
    """Make CURVE keys for a coordinator that other machines may reach, and a pair for each device, in a new folder."""
    from bridge.keys import generate_keys

    generate_keys(str(folder), list(devices))


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        from pairzero._found import command

        return command("fleet", name)
