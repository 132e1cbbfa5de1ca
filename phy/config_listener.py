"""Configuration of somebody else's antennas: where they are, and which channels lead there."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Correlation = Annotated[float, Field(ge=0, lt=1)]


class ListenerConfig(BaseModel):
    """Antennas beside the server's own, which hear the same transmissions over channels of their own.

    Devices invert the channel to the server, so that they arrive there with one common amplitude. Elsewhere nobody is aligned,
    and whoever is in a fade towards the server shouts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    antennas: int = Field(0, ge=0, le=256, description="antennas of its own, beside all that the server receives; 0: none")
    channel: Literal["none", "same", "rayleigh", "given"] = Field(
        "none",
        description="from devices to these antennas: same (the link's model, drawn anew), rayleigh (flat), given (`file`); "
        "none: not stated, which no claim can rest on",
    )
    correlation: Correlation = Field(
        0.0, description="flat channels: correlation of each of these channels with that to the server's first antenna"
    )
    antenna_correlation: Correlation = Field(
        0.0, description="correlation of neighbouring antennas of its own, falling off exponentially"
    )
    distance_m: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="distance from the server; devices stand around the server at drawn angles, as far as "
        "link.channel.placement says (reference_m without one). None: as far from every device as the server is",
    )
    file: str | None = Field(
        None, description="given: coefficients as a NumPy file (.npy), complex, [rounds, antennas, devices], or 1 round for all"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.channel == "given":
            if self.file is None:
                raise ValueError('channel "given" needs file: a .npy file of complex coefficients [rounds, antennas, devices]')
            if self.distance_m is not None or self.correlation > 0 or self.antenna_correlation > 0:
                raise ValueError(
                    'channel "given" is as its file says; leave out distance_m, correlation and antenna_correlation'
                )
        elif self.file is not None:
            raise ValueError('file is read by channel "given" alone; set channel so, or leave file out')
        set_to = [name for name, field in ListenerConfig.model_fields.items() if getattr(self, name) != field.default]
        if self.antennas == 0 and set_to:
            raise ValueError(f"{set_to[0]} is of antennas of its own, of which there are none; set antennas to at least 1")
        return self
