"""The section ``[fleet]`` of a scenario."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["FleetConfig"]


class FleetConfig(BaseModel):
    """Devices that are processes of their own, on any machine. Without ``bind`` all devices run in this process."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bind: str | None = Field(
        default=None, description="address at which devices join: ipc:///PATH or tcp://ADDRESS:PORT; none: no fleet"
    )
    keys: Path | None = Field(default=None, description="server's CURVE key folder, for addresses that others can reach")
    slot_s: float = Field(default=60.0, gt=0, le=86_400, description="how long a round's slot stays open for late answers [s]")
    hash_every: int = Field(default=50, ge=1, description="rounds between comparisons of the devices' weights, by hash")
    start_devices: int | None = Field(default=None, ge=1, description="devices that must be there to start; none: all")
    least_devices: int = Field(default=1, ge=1, description="devices that must be there to open a slot")
    patience_s: float = Field(default=600.0, gt=0, le=604_800, description="how long to wait for those devices [s]")

    @property
    def on(self) -> bool:
        """Whether devices are processes of their own."""
        return bool(self.bind)
