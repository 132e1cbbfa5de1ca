"""The receiver's converter: automatic gain control, quantisation, and the gain undone."""

from typing import Annotated, Literal

import torch
from pydantic import Field

from phy.draws import KeyedDraws
from phy.impairments._settings import Frozen
from phy.impairments._tensors import Real
from phy.impairments.adc import quantise
from phy.impairments.agc import agc_gain


def convert(x: torch.Tensor, bits: int, headroom_db: Real = 12.0) -> torch.Tensor:
    """Digitise [..., N] by a converter whose full scale is ``headroom_db`` above the rms of one real component.

    The gain is undone digitally, so samples come back at their own scale; what exceeds full scale is clipped.

    :raises phy.errors.PhyError: if ``bits`` is not in 1 .. 24 or shapes do not fit
    :returns: complex [..., N]
    """
    gain = agc_gain(x, headroom_db)[..., None]
    return quantise(x * gain, bits) / gain


class Part:
    """Converter of each receive antenna, with a gain control of its own that is set on the slot at hand."""

    stage: Literal["transmitter", "receiver"] = "receiver"
    order = 10

    class Settings(Frozen):
        """Severity of the fault."""

        bits: int = Field(10, ge=1, le=24, description="bits of each real component")
        headroom_db: Annotated[float, Field(ge=-60, le=120, allow_inf_nan=False)] = Field(
            12.0, description="full scale over the rms of one real component; what exceeds it is clipped"
        )

    def __init__(self, settings: Settings, sample_rate_hz: float) -> None:
        del sample_rate_hz  # memoryless
        self._settings = settings

    def apply(self, samples: torch.Tensor, draws: KeyedDraws, round_index: int) -> torch.Tensor:
        """Samples [M, N] of one round, digitised."""
        del draws, round_index  # nothing is random
        return convert(samples, self._settings.bits, self._settings.headroom_db)
