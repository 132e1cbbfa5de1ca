"""Open the uplink that a scenario asks for: its own air server, a running one, or the noise-free mean."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

from bridge.client import AirClient
from bridge.keys import ClientKeys
from bridge.links import phy_link_factory
from bridge.process import AirServerProcess
from bridge.server import InprocAirServer
from learning.uplink import NoiseFreeUplink, Uplink
from testbench.scenario import Scenario


@dataclass(frozen=True)
class OpenUplink:
    """An uplink in use, what its link says of itself, where it is, and the process of a server of its own."""

    uplink: Uplink
    description: Mapping[str, int | float | str]
    where: str
    server_pid: int | None = None


def noise_free(scenario: Scenario) -> OpenUplink:
    """The in-process link without fading and noise."""
    votes = scenario.link.scheme in ("sign", "fsk_mv")
    scheme: Literal["analog", "sign"] = "sign" if votes else "analog"
    uplink = NoiseFreeUplink(scheme, "hard" if scenario.link.scheme == "fsk_mv" else scenario.link.decision)
    bits = 1 if scheme == "sign" else 16
    description: dict[str, int | float | str] = {
        "fidelity": "noise-free",
        "scheme": scheme,
        "uplink_symbols_per_scalar": 1,
        "payload_bits_per_scalar": bits,
        "pilot_symbols_per_device": 0,
    }
    return OpenUplink(uplink, description, "in process, noise-free")


@contextmanager
def open_uplink(scenario: Scenario) -> Iterator[OpenUplink]:
    """The scenario's uplink, closed and its server ended on leaving."""
    config = scenario.uplink
    if config.transport == "none":
        yield noise_free(scenario)
        return
    link = scenario.link.model_dump(mode="json")
    server_pid = None
    with ExitStack() as stack:
        if config.endpoint is not None:
            keys = None if config.keys is None else ClientKeys.load(str(config.keys))
            client = AirClient(
                config.endpoint, link, scenario.seed, timeout_s=config.timeout_s, attempts=config.attempts, keys=keys
            )
            where = f"air server at {config.endpoint}"
        elif config.transport == "inproc":
            server = stack.enter_context(InprocAirServer(phy_link_factory(_parts(link))))
            client = AirClient(server.endpoint, link, scenario.seed, context=server.context, timeout_s=config.timeout_s)
            where = f"air server in this process at {server.endpoint}"
        else:
            bind = "tcp://127.0.0.1:0" if config.transport == "tcp" else None
            process = stack.enter_context(AirServerProcess(bind, parts=_parts(link)))
            client = process.client(link, scenario.seed, timeout_s=config.timeout_s, attempts=config.attempts)
            server_pid = process.pid
            where = f"air server process {process.pid} at {process.endpoint}"
        stack.enter_context(client)
        yield OpenUplink(client, client.description, where, server_pid)


def _parts(value: object) -> list[str]:
    """The classes (``module:Class``) that a link configuration names."""
    if isinstance(value, dict):
        return [part for inner in value.values() for part in _parts(inner)]
    return [value] if isinstance(value, str) and ":" in value else []
