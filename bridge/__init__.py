"""The bridge: the emulated air behind ZeroMQ, and everything else that has a socket.

Importing it is light: no deep-learning library comes with it, the physical layer only with a running server, and what is
named here is loaded when it is first asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bridge.client import AirAggregate, AirClient, AirRounds
    from bridge.errors import BridgeError
    from bridge.messages import Limits
    from bridge.process import AirServerProcess
    from bridge.server import AirServer, InprocAirServer

__all__ = [
    "AirAggregate",
    "AirClient",
    "AirRounds",
    "AirServer",
    "AirServerProcess",
    "BridgeError",
    "InprocAirServer",
    "Limits",
]

_MODULES = {
    "AirAggregate": "client",
    "AirClient": "client",
    "AirRounds": "client",
    "AirServer": "server",
    "AirServerProcess": "process",
    "BridgeError": "errors",
    "InprocAirServer": "server",
    "Limits": "messages",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
