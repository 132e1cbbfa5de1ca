"""A fleet: a coordinator and devices that are processes of their own. docs/fleet.md is the protocol's document.

The devices ask and the coordinator answers; nothing here knows of models, data or losses.
"""

from bridge.fleet.card import Air, Collected, RunCard
from bridge.fleet.client import FleetClient
from bridge.fleet.desk import Desk
from bridge.fleet.messages import FLEET_VERSION
from bridge.fleet.server import FleetServer

__all__ = ["FLEET_VERSION", "Air", "Collected", "Desk", "FleetClient", "FleetServer", "RunCard"]
