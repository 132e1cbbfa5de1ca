"""The configuration of a link: frozen, validated once, plain data in and out.

Conventions: powers are linear unless a name ends in ``_db``; the peak transmit power of a device is 1; the average
channel gain E|h|^2 is 1; ``snr_max_db`` = P E|h|^2 / N0 with N0 the variance of one *complex* receiver sample, so that the
real decision variable carries N0/2.
"""

from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from phy.config_air import ChannelConfig, ClockConfig
from phy.config_burst import BurstConfig
from phy.laws import OffsetLaw

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Decibel = Annotated[float, Field(ge=-120, le=200, allow_inf_nan=False)]
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

    control: str = Field("weakest", description="weakest | truncated | mse_optimal, or module:Class")
    threshold: float = Field(
        0.1, ge=1e-9, le=100, description="truncated: a device is silent where its estimated gain |h|^2 is below this"
    )
    caps: tuple[NonNegative, ...] | None = Field(
        None,
        description="largest aligned amplitude of each round, as a privacy schedule sets it; 0: a silent round; none: no limit",
    )
    artificial_noise: NonNegative | tuple[NonNegative, ...] = Field(
        0.0,
        description="standard deviation of the noise that each device adds to its symbol, in units of full scale; one number, "
        "or one of each round, as a privacy schedule sets it",
    )

    @property
    def adds_noise(self) -> bool:
        """Whether devices add noise in any round."""
        return bool(np.any(np.asarray(self.artificial_noise) > 0))


class OffsetsConfig(_Frozen):
    """Residual timing, phase and frequency offsets, after whatever synchronisation the system has.

    A jitter is a second draw that is added: say a static phase per device plus a phase noise per round.
    """

    symbol_duration_s: Positive = Field(1e-3, description="symbol, pulse rectangular: duration T of one scalar")
    pulse: Literal["rectangular", "burst"] = Field(
        "rectangular", description="symbol: one rectangle of symbol_duration_s, or the waveform that [link.burst] describes"
    )
    spacing: Literal["guarded", "contiguous"] = Field(
        "guarded",
        description="symbol, several scalars: each in a guard of its own, or back to back with inter-symbol interference",
    )
    timing_s: OffsetLaw = OffsetLaw()
    timing_jitter_s: OffsetLaw = OffsetLaw()
    phase_rad: OffsetLaw = OffsetLaw()
    phase_jitter_rad: OffsetLaw = OffsetLaw()
    frequency_hz: OffsetLaw = OffsetLaw()

    @property
    def laws(self) -> tuple[OffsetLaw, ...]:
        """All laws of the section."""
        return (self.timing_s, self.timing_jitter_s, self.phase_rad, self.phase_jitter_rad, self.frequency_hz)

    @property
    def any(self) -> bool:
        """Whether any offset is switched on."""
        return any(o.on for o in self.laws)


class NoncoherentConfig(_Frozen):
    """Schemes that send energy instead of amplitude: fsk_mv, reed, ncairfl."""

    looks: int = Field(1, ge=1, le=1024, description="repetitions L of one scalar, over which received energies are added")
    look_fading: Literal["independent", "block"] | None = Field(
        None,
        description="each look fades on its own (frequency hopping), or all share one fade; none: independent where the link "
        "can (symbol fidelity, flat, no Doppler), else block",
    )


class DigitalConfig(_Frozen):
    """The orthogonal digital reference: every device sends bits in a slot of its own."""

    bits: int = Field(16, ge=1, le=32, description="bits of the quantised scalar")
    symbols: int = Field(16, ge=1, le=4096, description="channel uses of each device; it is heard where they carry the bits")


class LinkConfig(_Frozen):
    """One uplink: K devices, one shared channel use (or a few) per scalar, M receive antennas."""

    fidelity: Literal["symbol", "waveform"] = Field(
        "symbol", description="symbol: decision variables in closed form; waveform: oversampled IQ bursts, found and filtered"
    )
    scheme: str = Field("analog", description="analog | sign | fsk_mv | reed | ncairfl | digital, or module:Class")
    receiver: str = Field(
        "matched", description="matched | aligned | ml, or module:Class: the estimator under timing misalignment"
    )
    decision: Literal["soft", "hard"] = Field("soft", description="sign: the scaled sum of votes, or its sign")
    clip: float = Field(
        100.0,
        ge=1e-30,
        le=1e30,
        allow_inf_nan=False,
        description="gamma: payloads lie in [-clip, clip]; the peak amplitude is sized for it",
    )
    snr_max_db: Decibel = Field(20.0, description="P E|h|^2 / N0")
    receive_antennas: int = Field(1, ge=1, le=256, description="antennas M of the server")
    combiner: Literal["max_min", "equal"] = Field("max_min", description="how several antennas are combined")
    backend: Literal["sionna", "tensorflow", "numpy"] = Field(
        "sionna", description="what computes the channel: Sionna 2 on PyTorch, Sionna 1.x on TensorFlow, or the plain reference"
    )
    air: str | None = Field(
        None, description="symbol: module:Class, an engine of superposition of your own; none: the backend's"
    )
    csi: CsiConfig = CsiConfig()
    power: PowerConfig = PowerConfig()
    offsets: OffsetsConfig = OffsetsConfig()
    channel: ChannelConfig = ChannelConfig()
    clock: ClockConfig = ClockConfig()
    impairments: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="waveform: hardware faults by name, each with settings of its own; see docs/waveform.md",
    )
    burst: BurstConfig = BurstConfig()
    noncoherent: NoncoherentConfig = NoncoherentConfig()
    digital: DigitalConfig = DigitalConfig()

    @model_validator(mode="after")
    def _fits_fidelity(self) -> Self:
        if self.fidelity == "symbol" and self.impairments:
            raise ValueError(
                f'impairments.{next(iter(self.impairments))} needs fidelity "waveform": one symbol per scalar cannot show it'
            )
        if self.channel.model == "awgn" and self.ageing_correlation < 1 and self.channel.doppler_hz == 0:
            raise ValueError("an awgn channel does not age; leave csi.doppler_hz out, or choose channel.model rayleigh")
        if self.csi.estimator == "mmse" and (self.channel.model == "awgn" or self.channel.placement.law != "none"):
            raise ValueError(
                "csi.estimator mmse knows Rayleigh fading of mean gain 1; use ls with placement or channel.model awgn"
            )
        if self.impairments:
            from phy.faults import parse  # finds and imports the impairments that are named, and only those

            parse(self.impairments)
        if self.channel.doppler_hz > 0 and self.csi.doppler_hz not in (0.0, self.channel.doppler_hz):
            raise ValueError(
                f"csi.doppler_hz {self.csi.doppler_hz} contradicts channel.doppler_hz {self.channel.doppler_hz}; leave the "
                "former out: ageing then follows the channel itself"
            )
        return self

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

        doppler_hz = self.channel.doppler_hz or self.csi.doppler_hz
        return float(j0(2.0 * np.pi * doppler_hz * self.csi.age_s))
