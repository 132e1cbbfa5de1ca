"""The bridge: the emulated air behind ZeroMQ, and everything else that has a socket.

Importing it is light: no deep-learning library comes with it, and the physical layer only with a running
server.
"""

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
