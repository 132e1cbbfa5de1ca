"""Measured hardware as laws of offsets, with the provenance of every figure."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

_UNITS = {
    "timing": {"s", "us", "ns", "ps", "samples"},
    "frequency": {"Hz", "ppm", "sample_rate"},
    "phase": {"deg", "rad"},
}


class HardwareLaw(BaseModel):
    """Law of one offset, in the unit in which its source states it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    law: Literal["none", "constant", "uniform", "normal"] = Field("none", description="law over devices")
    value: Finite = Field(0.0, ge=0, description="the value, half width or standard deviation")
    mean: Finite = Field(0.0, description="centre of the law")
    unit: str = Field("", description="timing: s, us, ns, ps, samples; frequency: Hz, ppm, sample_rate; phase: deg, rad")
    per: Literal["round", "device"] = Field("round", description="drawn anew each round, or once per device and session")


class Hardware(BaseModel):
    """Residual offsets of one kind of hardware and synchronisation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str = Field(description="what it is")
    timing: HardwareLaw = HardwareLaw()
    frequency: HardwareLaw = HardwareLaw()
    phase: HardwareLaw = HardwareLaw()
    carrier_hz: Positive = Field(1e9, description="carrier to which ppm refer")
    sample_rate_hz: Positive = Field(1e6, description="sample rate to which samples and shares of it refer")
    source: str = Field("", description="the work, datasheet or measurement")
    link: str = Field("", description="where it can be read")
    provenance: dict[str, str] = Field(default_factory=dict, description="timing, frequency, phase: what the source says")
    assumed: tuple[str, ...] = Field((), description="those of timing, frequency, phase that no source states")

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, units in _UNITS.items():
            law: HardwareLaw = getattr(self, name)
            if law.law != "none" and law.unit not in units:
                raise ValueError(f"{name}.unit {law.unit!r} does not fit; choose {', '.join(sorted(units))}")
            if law.law != "none" and name not in self.provenance:
                raise ValueError(f"provenance.{name} is missing: say what states the figure, or why it is assumed")
        unknown = sorted((set(self.assumed) | set(self.provenance)) - set(_UNITS))
        if unknown:
            raise ValueError(f"assumed and provenance speak of timing, frequency and phase, not of {unknown[0]}")
        return self

    def offsets(self) -> dict[str, Any]:
        """Settings of ``link.offsets``: laws of timing_s, frequency_hz and phase_rad."""
        sizes = {"s": 1.0, "us": 1e-6, "ns": 1e-9, "ps": 1e-12, "samples": 1.0 / self.sample_rate_hz, "Hz": 1.0}
        sizes |= {"ppm": 1e-6 * self.carrier_hz, "sample_rate": self.sample_rate_hz, "rad": 1.0, "deg": float(np.pi / 180.0)}
        found = {}
        for name, key in (("timing", "timing_s"), ("frequency", "frequency_hz"), ("phase", "phase_rad")):
            law: HardwareLaw = getattr(self, name)
            if law.law != "none":
                size = sizes[law.unit]
                found[key] = {"law": law.law, "value": law.value * size, "mean": law.mean * size, "per": law.per}
        return found

    def in_words(self, name: str) -> str:
        """One of timing, frequency and phase as a table shows it; "assumed" where no source states it."""
        law: HardwareLaw = getattr(self, name)
        if law.law == "none":
            return "0"
        unit = "of the sample rate" if law.unit == "sample_rate" else law.unit
        centre = f"{law.mean:g}" if law.mean else ""
        if law.law == "normal":
            text = f"{centre} ± N({law.value:g}) {unit}" if centre else f"N({law.value:g}) {unit}"
        elif law.law == "uniform":
            text = f"{centre}±{law.value:g} {unit}"
        else:
            text = f"{law.mean + law.value:g} {unit}"
        return text + (" per device" if law.per == "device" else "") + (" (assumed)" if name in self.assumed else "")


def shipped() -> dict[str, Hardware]:
    """The hardware that comes with the project, by name."""
    data = tomllib.loads((Path(__file__).parent / "hardware.toml").read_text(encoding="utf-8"))
    return {name: Hardware.model_validate(entry) for name, entry in data.items()}
