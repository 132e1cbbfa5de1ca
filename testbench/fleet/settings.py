"""The section ``[fleet]`` of a scenario."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["FleetConfig"]


class FleetConfig(BaseModel):
    """Devices that are processes of their own, on any machine. Without ``bind`` all devices run in this process."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bind: str | None = Field(
        default=None, description="address at which devices join: ipc:///PATH or tcp://ADDRESS:PORT; none: no fleet"
    )
    keys: Path | None = Field(default=None, description="server's CURVE key folder, for addresses that others can reach")
    payloads: Literal["coordinator", "air"] = Field(
        default="coordinator",
        description="where devices send scalars: coordinator, with their losses; air: to the air server alone, and no losses",
    )
    air: str | None = Field(
        default=None, description="air server's address as devices reach it, for payloads air; none: as the coordinator does"
    )
    slot_s: float = Field(default=60.0, gt=0, le=86_400, description="how long a round's slot stays open for late answers [s]")
    hash_every: int = Field(default=50, ge=1, description="rounds between comparisons of the devices' weights, by hash")
    start_devices: int | None = Field(default=None, ge=1, description="devices that must be there to start; none: all")
    least_devices: int = Field(default=1, ge=1, description="devices that must be there to open a slot")
    patience_s: float = Field(default=600.0, gt=0, le=604_800, description="how long to wait for those devices [s]")

    @property
    def on(self) -> bool:
        """Whether devices are processes of their own."""
        return bool(self.bind)

    @property
    def deposits(self) -> bool:
        """Whether scalars go to the air alone."""
        return self.on and self.payloads == "air"

    def without_air(self, transport: str, endpoint: str | None, keys: bool) -> str | None:
        """Why devices cannot deposit at the air server of the section ``[uplink]``; None where they can.

        :param transport: of the uplink
        :param endpoint: a running air server's address; None: the run starts its own
        :param keys: whether that server has keys
        """
        from bridge.endpoints import parse_endpoint
        from bridge.errors import EndpointError

        if self.air is not None and self.payloads != "air":
            return 'fleet.air is of payloads "air"; leave it out'
        if not self.deposits:
            return None
        if transport in ("none", "inproc"):
            return f'fleet.payloads "air" needs an air server process: uplink.transport "ipc" or "tcp", not "{transport}"'
        told = self.air or endpoint
        if self.air is not None and endpoint is None:
            return "fleet.air names a running air server, and so must uplink.endpoint: start one with `pairzero air serve`"
        try:
            near = told is None or parse_endpoint(told).loopback
            here = parse_endpoint(self.bind or "").loopback
        except EndpointError as error:
            return str(error)
        if near and not here:
            return (
                f"devices on other machines, which join at {self.bind}, cannot reach the air server: start one with `pairzero "
                "air serve --bind tcp://ADDRESS:PORT --key-dir KEYS`, and set uplink.endpoint and uplink.keys"
            )
        if not near and not keys:
            return f"the air server at {told} lies on another machine and has to prove its key: set uplink.keys"
        return None
