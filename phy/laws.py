"""Laws of per-device quantities: how an offset or a hardware fault is distributed over devices and rounds."""

from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from phy.draws import KeyedDraws

Finite = Annotated[float, Field(allow_inf_nan=False)]


class OffsetLaw(BaseModel):
    """Law of one quantity per device, drawn independently of everything else, in the unit of the section's name.

    ``constant``: ``mean + value`` at every device. ``uniform``: on [mean - value, mean + value]. ``normal``: standard
    deviation ``value`` around ``mean``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    law: Literal["none", "constant", "uniform", "normal"] = Field("none", description="law of the offset")
    value: Finite = Field(0.0, description="the value, half width or standard deviation, in the unit of the section's name")
    mean: Finite = Field(0.0, description="centre of the law, in the same unit")
    per: Literal["round", "device"] = Field("round", description="drawn anew each round, or once per device")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.law in ("uniform", "normal") and self.value < 0:
            raise ValueError(f"value is the spread of a {self.law} law and must not be negative, got {self.value}")
        if self.law == "none" and (self.value != 0 or self.mean != 0):
            raise ValueError('value or mean is set but law is "none"; choose constant, uniform or normal')
        return self

    @property
    def on(self) -> bool:
        """Whether the law draws anything at all."""
        return self.law != "none"

    @property
    def bound(self) -> float:
        """Largest magnitude: exact for bounded laws, 6 standard deviations for the normal one."""
        return abs(self.mean) + abs(self.value) * (6.0 if self.law == "normal" else 1.0)

    def draw(self, draws: KeyedDraws, purpose: str, devices: int, first_round: int, rounds: int) -> NDArray[np.float64]:
        """Values of consecutive rounds. Shape [rounds, devices]; ``purpose`` (at most 8 characters) keys the draws."""
        if self.law in ("none", "constant"):
            return np.full((rounds, devices), self.mean + self.value)
        start, count = (first_round, rounds) if self.per == "round" else (0, 1)
        if self.law == "uniform":
            drawn = self.mean + self.value * (2.0 * draws.uniform(purpose, devices, start, count) - 1.0)
        else:
            drawn = self.mean + self.value * draws.normal(purpose, devices, start, count)
        # Broadcast here: equal elementwise work for every batch shape gives equal bits later on.
        return np.ascontiguousarray(np.broadcast_to(drawn, (rounds, devices)))
