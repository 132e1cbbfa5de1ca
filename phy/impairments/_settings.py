"""Types of the parts' settings: a per-device quantity is a law, or a plain number that stands for a constant."""

from typing import Annotated, Any

import torch
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from phy.draws import KeyedDraws
from phy.laws import OffsetLaw


class Frozen(BaseModel):
    """Base of all settings: immutable, unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _as_law(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"law": "constant", "value": value}
    return value


def _not_below_zero(law: OffsetLaw) -> OffsetLaw:
    if law.law == "normal":
        raise ValueError("a normal law goes below zero, which has no meaning here; choose constant or uniform")
    low = law.mean - law.value if law.law == "uniform" else law.mean + law.value
    if low < 0:
        raise ValueError(f"must not be negative, and this law goes down to {low}")
    return law


PerDevice = Annotated[OffsetLaw, BeforeValidator(_as_law)]
NonNegativePerDevice = Annotated[OffsetLaw, BeforeValidator(_as_law), AfterValidator(_not_below_zero)]


def draw(law: OffsetLaw, draws: KeyedDraws, purpose: str, devices: int, round_index: int) -> torch.Tensor:
    """Values of one round. Shape [devices], float64."""
    return torch.tensor(law.draw(draws, purpose, devices, round_index, 1)[0])
