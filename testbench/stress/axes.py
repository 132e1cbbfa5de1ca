"""Axes of asynchrony: what a value x on each of them does to the link and to the protocol around it."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from testbench.stress.ranges import ANGLE, DRIFT, FREQUENCY, SHARE, TIME, parse_range, unit_of

NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class ProtocolFaults:
    """What goes wrong around the link; probabilities are per device and round. See :mod:`testbench.stress.payloads`."""

    late_probability: float = 0.0
    late_rounds: int = 1
    lost_broadcast_probability: float = 0.0
    resync_every: int = 0
    wrong_seed_probability: float = 0.0

    def settings(self) -> dict[str, float | int]:
        """The same as settings of ``[federation.faults]``: those that are switched on."""
        found: dict[str, float | int] = {}
        if self.late_probability:
            found |= {"late_probability": self.late_probability, "late_rounds": self.late_rounds}
        if self.lost_broadcast_probability:
            found |= {"lost_broadcast_probability": self.lost_broadcast_probability, "resync_every": self.resync_every}
        if self.wrong_seed_probability:
            found |= {"wrong_seed_probability": self.wrong_seed_probability}
        return found


class Axis(BaseModel):
    """A quantity that is swept. ``range`` carries its unit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    units: ClassVar[dict[str, float]] = {}
    base_unit: ClassVar[str] = ""
    title: ClassVar[str] = ""

    range: str = Field(description="values with their unit: a..bUNIT:points, a..bUNIT:pointslog, or a,b,cUNIT")

    @model_validator(mode="after")
    def _parses(self) -> Self:
        parse_range(self.range, self.units)
        return self

    @property
    def values(self) -> tuple[float, ...]:
        """Values in the base unit."""
        return parse_range(self.range, self.units)

    @property
    def shown_unit(self) -> tuple[str, float]:
        """Unit that the range is written in, and its size in base units."""
        unit = unit_of(self.range)
        return unit, self.units[unit]

    def link(self, value: float) -> dict[str, Any]:
        """Settings of the link at ``value``."""
        del value
        return {}

    def faults(self, value: float) -> ProtocolFaults:
        """Faults of the protocol at ``value``."""
        del value
        return ProtocolFaults()

    def law_in_words(self) -> str:
        """How the value is distributed over devices and rounds."""
        return "probability per device and round"


class OffsetAxis(Axis):
    """An offset of every device, drawn by a law whose spread is the value of the axis."""

    law: Literal["uniform", "normal", "constant"] = Field(
        "uniform", description="uniform: on [-x, x]; normal: standard deviation x; constant: x at every device"
    )
    per: Literal["round", "device"] = Field("round", description="drawn anew each round, or once per device and session")

    def _law(self, value: float) -> dict[str, Any]:
        return {"law": self.law, "value": value, "per": self.per} if value else {}

    def law_in_words(self) -> str:
        """How the value is distributed over devices and rounds."""
        shape = {"uniform": "uniform on ±x", "normal": "normal, standard deviation x", "constant": "x at every device"}
        return shape[self.law] + ("" if self.law == "constant" else f", drawn per {self.per}")


class TimingAxis(OffsetAxis):
    """Delay of each device's burst in the slot [s]."""

    units = TIME
    base_unit = "s"
    title = "timing offset"

    def link(self, value: float) -> dict[str, Any]:
        """A law of the timing offset."""
        return {"offsets": {"timing_s": self._law(value)}}


class FrequencyAxis(OffsetAxis):
    """Carrier frequency offset of each device [Hz]; its phase runs from the pilot, ``link.csi.age_s`` before the payload."""

    units = FREQUENCY
    base_unit = "Hz"
    title = "carrier frequency offset"

    def link(self, value: float) -> dict[str, Any]:
        """A law of the frequency offset."""
        return {"offsets": {"frequency_hz": self._law(value)}}


class PhaseAxis(OffsetAxis):
    """Phase error of each device [rad]."""

    units = ANGLE
    base_unit = "rad"
    title = "phase offset"

    def link(self, value: float) -> dict[str, Any]:
        """A law of the phase offset."""
        return {"offsets": {"phase_rad": self._law(value)}}


class DriftAxis(OffsetAxis):
    """Rate error of each device's sampling clock [ppm], which has shifted its bursts since clocks were last aligned."""

    units = DRIFT
    base_unit = "ppm"
    title = "clock drift"

    since_sync_s: NonNegative = Field(1.0, description="time since the clocks were last aligned: the offset is x of it")

    def link(self, value: float) -> dict[str, Any]:
        """A law of the sampling clock, and the age of the last alignment."""
        return {"clock": {"sampling_ppm": self._law(value), "since_sync_s": self.since_sync_s}}

    def law_in_words(self) -> str:
        """How the value is distributed over devices and rounds."""
        return f"{super().law_in_words()}, {self.since_sync_s:g} s after the last alignment"


class _ProbabilityAxis(Axis):
    units = SHARE
    base_unit = ""

    @model_validator(mode="after")
    def _is_share(self) -> Self:
        if self.values[-1] > 1:
            raise ValueError(f"{self.range!r} exceeds 1, and the axis is a probability")
        return self


class StragglersAxis(_ProbabilityAxis):
    """Probability that a burst misses its slot; its stale scalar lands in a later one, in place of the fresh one."""

    title = "stragglers"
    late_rounds: int = Field(1, ge=1, le=1000, description="how many rounds later a burst arrives that missed its slot")

    def faults(self, value: float) -> ProtocolFaults:
        """Late bursts."""
        return ProtocolFaults(late_probability=value, late_rounds=self.late_rounds)

    def law_in_words(self) -> str:
        """What happens."""
        return f"probability per device and round; the stale scalar arrives {self.late_rounds} round(s) later"


class LostBroadcastAxis(_ProbabilityAxis):
    """Probability that a device misses the server's broadcast and answers out of step until the next resynchronisation."""

    title = "lost broadcasts"
    resync_every: int = Field(20, ge=0, description="rounds from one resynchronisation to the next; 0: never")

    def faults(self, value: float) -> ProtocolFaults:
        """Lost broadcasts."""
        return ProtocolFaults(lost_broadcast_probability=value, resync_every=self.resync_every)

    def law_in_words(self) -> str:
        """What happens, and what is assumed."""
        until = f"until resynchronised every {self.resync_every} rounds" if self.resync_every else "for good"
        return f"probability per device and round; out of step {until}, ASSUMED to answer an independent scalar (worst case)"


class SeedMismatchAxis(_ProbabilityAxis):
    """Probability that a device answers along another direction z, so that its scalar is independent of the others."""

    title = "seed mismatch"

    def faults(self, value: float) -> ProtocolFaults:
        """Wrong seeds."""
        return ProtocolFaults(wrong_seed_probability=value)

    def law_in_words(self) -> str:
        """What happens."""
        return "probability per device and round that its scalar is of another z, hence independent of the others"


class Axes(BaseModel):
    """The axes of a plan: each is a section of its own, and runs where it is given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    timing: TimingAxis | None = None
    cfo: FrequencyAxis | None = None
    phase: PhaseAxis | None = None
    drift: DriftAxis | None = None
    stragglers: StragglersAxis | None = None
    lost_broadcast: LostBroadcastAxis | None = None
    seed_mismatch: SeedMismatchAxis | None = None

    def chosen(self) -> dict[str, Axis]:
        """The axes that are given, by name."""
        found = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: axis for name, axis in found.items() if axis is not None}


CLASSES: dict[str, type[Axis]] = {
    "timing": TimingAxis,
    "cfo": FrequencyAxis,
    "phase": PhaseAxis,
    "drift": DriftAxis,
    "stragglers": StragglersAxis,
    "lost_broadcast": LostBroadcastAxis,
    "seed_mismatch": SeedMismatchAxis,
}
