"""Configuration of what stands between transmitter and receiver: the channel and the devices' clocks."""

import math
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from phy.laws import OffsetLaw

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PlacementConfig(_Frozen):
    """Where devices stand, and the path loss that follows. The gain is 1 at ``reference_m``."""

    law: Literal["none", "disc"] = Field("none", description="none: equal gains; disc: uniform on a ring around the server")
    radius_m: Positive = Field(100.0, description="largest distance from the server")
    inner_radius_m: Positive = Field(10.0, description="smallest distance from the server")
    reference_m: Positive = Field(50.0, description="distance at which the mean gain is 1, so that snr_max_db holds there")
    exponent: NonNegative = Field(3.0, description="path loss exponent")
    shadowing_db: NonNegative = Field(0.0, description="standard deviation of log-normal shadowing, once per device")

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, metres in (("inner_radius_m", self.inner_radius_m), ("radius_m", self.radius_m)):
            decades = abs(self.exponent * math.log10(metres / self.reference_m))
            if decades > 15:
                raise ValueError(
                    f"{name} {metres:g} with exponent {self.exponent:g} is {10 * decades:.0f} dB from the gain at reference_m "
                    f"{self.reference_m:g}; keep it within 150 dB"
                )
        if self.inner_radius_m > self.radius_m:
            raise ValueError(f"inner_radius_m {self.inner_radius_m} exceeds radius_m {self.radius_m}")
        return self


class ChannelConfig(_Frozen):
    """The propagation channel between each device and the server."""

    model: str = Field(
        "rayleigh",
        description="rayleigh | tdl | awgn, measured (plays `file`), or module:Class (a part, or a Sionna ChannelModel without "
        "arguments)",
    )
    file: str | None = Field(None, description="measured: the sounding (HDF5) to play; given alone, it implies the model")
    tdl: Literal["A", "B", "C", "D", "E"] = Field("A", description="tdl: profile of 3GPP TR 38.901, section 7.7.2")
    delay_spread_s: NonNegative = Field(100e-9, description="tdl: RMS delay spread")
    doppler_hz: NonNegative = Field(
        0.0, description="maximum Doppler shift: fading follows Jakes from round to round; 0: independent rounds"
    )
    round_duration_s: Positive = Field(0.1, description="time from one round to the next")
    variation: Literal["block", "sample"] = Field(
        "block", description="waveform: fading held over a burst, or evaluated at every sample (slow)"
    )
    antenna_correlation: float = Field(
        0.0, ge=0, lt=1, description="correlation of neighbouring receive antennas, falling off exponentially"
    )
    placement: PlacementConfig = PlacementConfig()


class ClockConfig(_Frozen):
    """The devices' oscillators, relative to the server's."""

    carrier_hz: Positive = Field(3.5e9, description="carrier frequency, which turns ppm into Hz")
    sampling_ppm: OffsetLaw = OffsetLaw()
    one_oscillator: bool = Field(
        False, description="carrier and sampling clock share an oscillator: sampling_ppm adds its part of carrier_hz to the CFO"
    )
    since_sync_s: NonNegative = Field(
        0.0, description="time since clocks were last aligned: the timing offset grows by sampling_ppm of it"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.sampling_ppm.bound > 10_000:
            raise ValueError(f"sampling_ppm reaches {self.sampling_ppm.bound:g}; clocks are off by at most 10000 ppm (1 %)")
        return self

    @property
    def moves(self) -> bool:
        """Whether clock errors have any effect that is not inside one symbol."""
        return self.sampling_ppm.on and (self.since_sync_s > 0 or self.one_oscillator)
