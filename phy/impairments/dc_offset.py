"""Direct current in the baseband: leakage of the local oscillator."""

import math
from typing import Literal

import torch
from pydantic import Field

from phy.draws import KeyedDraws
from phy.impairments._settings import Frozen, PerDevice, draw
from phy.impairments._tensors import Real, burst_rms, check_samples, parameter, sending, together
from phy.laws import OffsetLaw


def dc_offset(x: torch.Tensor, level: Real, phase_rad: Real = 0.0) -> torch.Tensor:
    """Add a constant of magnitude ``level`` times the rms of each row's burst, while that burst lasts.

    The oscillator is keyed with the transmitter: nothing is added where the row is silent (below -100 dB of its peak), and
    the rms is taken over the rest.

    :param x: complex [..., N]
    :param level: amplitude of the constant over the rms, linear; broadcast against [...]
    :param phase_rad: phase of the constant; broadcast against [...]
    :raises phy.errors.PhyError: if shapes do not fit
    :returns: complex [..., N]
    """
    check_samples(x)
    amplitude, phase = together(parameter(level, x), parameter(phase_rad, x))
    leak = torch.polar(amplitude, phase).to(x.dtype)[..., None]
    return x + leak * (burst_rms(x) * sending(x))


class Part:
    """Leakage of each device's local oscillator into what it sends."""

    stage: Literal["transmitter", "receiver"] = "transmitter"
    order = 20

    class Settings(Frozen):
        """Severity of the fault."""

        level: PerDevice = Field(
            OffsetLaw(law="constant", value=0.03),
            description="amplitude of the constant over the burst's rms, linear: a number, or a law over devices",
        )
        phase_rad: PerDevice = Field(
            OffsetLaw(law="uniform", value=math.pi, per="device"),
            description="phase of the constant: a number, or a law over devices",
        )

    def __init__(self, settings: Settings, sample_rate_hz: float) -> None:
        del sample_rate_hz  # the same at all rates
        self._settings = settings

    def apply(self, samples: torch.Tensor, draws: KeyedDraws, round_index: int) -> torch.Tensor:
        """Samples [K, N] of one round with the constant added."""
        devices = samples.shape[0]
        level = draw(self._settings.level, draws, "dclevel", devices, round_index)
        phase = draw(self._settings.phase_rad, draws, "dcphase", devices, round_index)
        return dc_offset(samples, level, phase)
