"""Configuration of the burst: how scalars become samples, and how the receiver finds them."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class BurstConfig(BaseModel):
    """Burst = guard, preamble, pilots of each device in turn, payload, guard; in symbols of duration T_s = sps / f_s."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    air: str = Field(
        "emulated",
        description="emulated, time_channel (Sionna's own discrete-time channel), stream (a flowgraph: see [stream]), overlay "
        "(emulated, a recording on top), or module:Class",
    )
    overlay: dict[str, Any] = Field(
        default_factory=dict,
        description="overlay: file, level_db and more, see docs/captures.md; given alone, it implies the air",
    )
    sample_rate_hz: Positive = Field(1e6, description="sample rate f_s")
    samples_per_symbol: int = Field(4, ge=1, le=64, description="samples per symbol (sps)")
    pulse: Literal["rrc", "rect"] = Field("rrc", description="root raised cosine, or rectangular")
    rolloff: float = Field(0.35, ge=0.05, le=1, description="rrc: roll-off")
    span_symbols: int = Field(16, ge=4, le=64, description="rrc: length of the pulse")
    payload: Literal["repeated", "long", "spread"] = Field(
        "repeated",
        description="a scalar as equal symbols, as one pulse that is as long, or as symbols of a +-1 spreading sequence",
    )
    symbols_per_scalar: int = Field(16, ge=1, le=65536, description="symbols that carry one scalar; its energy does not change")
    preamble_symbols: int = Field(
        64, ge=0, le=4096, description="known symbols that all devices send at once; two equal halves"
    )
    pilot_symbols: int = Field(0, ge=0, le=1024, description="pilot symbols of each device in a slot of its own, with guards")
    guard_symbols: int = Field(16, ge=1, le=65536, description="silence before and after the burst")
    slot_symbols: int | None = Field(None, ge=1, description="length of the slot; none: as long as the burst")
    synchronisation: Literal["slot", "preamble"] = Field(
        "preamble",
        description="slot: the receiver trusts the slot clock; preamble: it detects, and corrects common timing and CFO",
    )
    false_alarm: float = Field(
        1e-3,
        gt=0,
        lt=1,
        description="probability that noise alone is taken for a preamble or pilot; sets the threshold",
    )
    detection_threshold: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="least normalised correlation |corr|^2 / (|known|^2 |samples|^2); none: from false_alarm",
    )

    def __hash__(self) -> int:
        # What an overlay adds is no part of a burst's layout, which is what these objects are keys for; equality compares it all.
        return hash(tuple(value for name, value in self if name != "overlay"))

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.preamble_symbols % 2:
            raise ValueError(f"preamble_symbols must be even (two halves), got {self.preamble_symbols}")
        if self.synchronisation == "preamble" and self.preamble_symbols < 8:
            raise ValueError(
                f'synchronisation by preamble needs at least 8 preamble_symbols, got {self.preamble_symbols}; or choose "slot"'
            )
        if self.synchronisation == "preamble" and self.samples_per_symbol < 2:
            raise ValueError(
                "synchronisation by preamble measures fractions of a symbol and needs at least 2 samples_per_symbol; "
                'or choose "slot"'
            )
        if self.pulse == "rrc" and self.samples_per_symbol < 1.0 + self.rolloff:
            raise ValueError(
                f"a root raised cosine of roll-off {self.rolloff} occupies {1 + self.rolloff} times the symbol rate and does "
                f"not fit {self.samples_per_symbol} sample per symbol; use at least 2, or pulse rect"
            )
        return self

    @property
    def symbol_duration_s(self) -> float:
        """Duration T_s of one symbol."""
        return self.samples_per_symbol / self.sample_rate_hz

    @property
    def scalar_duration_s(self) -> float:
        """Duration T of one scalar's symbols."""
        return self.symbols_per_scalar * self.symbol_duration_s

    @property
    def guard_s(self) -> float:
        """Largest timing offset, either way, that keeps a burst inside its slot."""
        return self.guard_symbols * self.symbol_duration_s
