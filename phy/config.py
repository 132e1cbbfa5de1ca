"""The configuration of a link: frozen, validated once, plain data in and out.

Conventions: powers are linear unless a name ends in ``_db``; the peak transmit power of a device is 1; the average
channel gain E|h|^2 is 1; ``snr_max_db`` = P E|h|^2 / N0 with N0 the variance of one *complex* receiver sample, so that the
real decision variable carries N0/2.
"""

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Decibel = Annotated[float, Field(ge=-200, le=200, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CsiConfig(_Frozen):
    """How well each device knows its own channel when it transmits."""

    estimator: str = Field("perfect", description="perfect | ls | mmse, or module:Class")
    pilot_symbols: int = Field(8, ge=1, description="pilot symbols of each device and round")
    pilot_snr_db: Decibel | None = Field(
        None, description="P_pilot E|h|^2 / N0 of one pilot symbol; none: the link's snr_max_db"
    )
    age_s: NonNegative = Field(0.0, description="time from the pilot to the payload")
    doppler_hz: NonNegative = Field(0.0, description="maximum Doppler shift; ageing follows Jakes, rho = J0(2 pi f_d tau)")


class PowerConfig(_Frozen):
    """How transmit amplitudes are chosen. The peak power 1 is never exceeded."""

    control: str = Field("weakest", description="weakest | truncated, or module:Class")
    threshold: float = Field(
        0.1, ge=1e-9, le=100, description="truncated: a device is silent where its estimated gain |h|^2 is below this"
    )


class OffsetLaw(_Frozen):
    """Law of one residual offset, drawn independently of everything else.

    ``constant``: the same value at every device. ``uniform``: on [-value, value]. ``normal``: standard deviation value.
    """

    law: Literal["none", "constant", "uniform", "normal"] = Field("none", description="law of the offset")
    value: Finite = Field(0.0, description="the value, half width or standard deviation, in the unit of the section's name")
    per: Literal["round", "device"] = Field("round", description="drawn anew each round, or once per device")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.law in ("uniform", "normal") and self.value < 0:
            raise ValueError(f"value is the spread of a {self.law} law and must not be negative, got {self.value}")
        if self.law == "none" and self.value != 0:
            raise ValueError('value is set but law is "none"; choose constant, uniform or normal')
        return self


class OffsetsConfig(_Frozen):
    """Residual timing, phase and frequency offsets, after whatever synchronisation the system has."""

    symbol_duration_s: Positive = Field(1e-3, description="duration T of the one rectangular payload symbol")
    timing_s: OffsetLaw = OffsetLaw()
    phase_rad: OffsetLaw = OffsetLaw()
    frequency_hz: OffsetLaw = OffsetLaw()

    @property
    def any(self) -> bool:
        """Whether any offset is switched on."""
        return any(o.law != "none" for o in (self.timing_s, self.phase_rad, self.frequency_hz))


class LinkConfig(_Frozen):
    """One uplink at symbol fidelity: K devices, one complex symbol per scalar, M receive antennas."""

    scheme: str = Field("analog", description="analog | sign, or module:Class")
    decision: Literal["soft", "hard"] = Field("soft", description="sign: the scaled sum of votes, or its sign")
    clip: Positive = Field(100.0, description="gamma: payloads lie in [-clip, clip]; the peak amplitude is sized for it")
    snr_max_db: Decibel = Field(20.0, description="P E|h|^2 / N0")
    receive_antennas: int = Field(1, ge=1, le=256, description="antennas M of the server")
    combiner: Literal["max_min", "equal"] = Field("max_min", description="how several antennas are combined")
    air: str = Field("sionna", description="sionna | numpy, or module:Class: the engine of fading and superposition")
    csi: CsiConfig = CsiConfig()
    power: PowerConfig = PowerConfig()
    offsets: OffsetsConfig = OffsetsConfig()

    @property
    def n0(self) -> float:
        """Variance N0 of the complex receiver noise sample, for peak transmit power 1."""
        return float(10.0 ** (-self.snr_max_db / 10.0))

    @property
    def pilot_error_variance(self) -> float:
        """Variance of the least-squares channel estimate's error, 1 / (L_p SNR_p)."""
        snr_db = self.snr_max_db if self.csi.pilot_snr_db is None else self.csi.pilot_snr_db
        return float(1.0 / (self.csi.pilot_symbols * 10.0 ** (snr_db / 10.0)))

    @property
    def ageing_correlation(self) -> float:
        """Correlation rho = J0(2 pi f_d tau) between the channel at the pilot and at the payload (Jakes)."""
        from scipy.special import j0

        return float(j0(2.0 * np.pi * self.csi.doppler_hz * self.csi.age_s))
