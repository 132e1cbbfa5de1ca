"""Section ``[privacy.adversary]``: antennas of the adversary's own, and devices that are in league with it."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from phy.config_listener import ListenerConfig

__all__ = ["AdversaryConfig"]


class AdversaryConfig(ListenerConfig):
    """Who is kept from knowing. It always has all that the server's antennas receive, since what is broadcast follows from it;
    antennas of its own may stand elsewhere, where devices do not arrive aligned.
    """

    colluders: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (),
        description="devices in league with it: it knows what they send and their artificial noise, which then covers nobody",
    )

    @model_validator(mode="after")
    def _once(self) -> Self:
        if len(set(self.colluders)) != len(self.colluders):
            raise ValueError(f"colluders names a device twice: {list(self.colluders)}")
        return self
