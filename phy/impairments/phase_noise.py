"""Phase noise of a free-running oscillator: a Wiener process."""

import math
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from phy.draws import KeyedDraws
from phy.impairments._settings import Frozen, NonNegativePerDevice, draw
from phy.impairments._tensors import Real, check_samples, parameter, real_dtype
from phy.laws import OffsetLaw


def phase_noise(x: torch.Tensor, normals: torch.Tensor, linewidth_hz: Real, sample_rate_hz: float) -> torch.Tensor:
    """Turn each row by a Wiener phase that is 0 at its first sample.

    The increments have variance 2 pi linewidth / f_s, with the full 3 dB width of the oscillator's Lorentzian line, so that
    E[exp(j (theta(n+m) - theta(n)))] = exp(-pi linewidth |m| / f_s).

    :param x: complex [..., N]
    :param normals: independent standard normals [..., N]; the first of each row is not used
    :param linewidth_hz: 3 dB linewidth; broadcast against [...]
    :param sample_rate_hz: sample rate f_s
    :raises phy.errors.PhyError: if shapes do not fit
    :returns: complex [..., N]
    """
    check_samples(x)
    step = (2.0 * math.pi / sample_rate_hz * parameter(linewidth_hz, x)).sqrt()
    walk = torch.cumsum(normals, -1, dtype=torch.float64)
    theta = ((walk - walk[..., :1]) * step[..., None]).to(real_dtype(x.dtype))
    return x * torch.complex(torch.cos(theta), torch.sin(theta))


class Part:
    """Phase noise of each device's oscillator, independent from round to round and 0 at the start of the slot."""

    stage: Literal["transmitter", "receiver"] = "transmitter"
    order = 40

    class Settings(Frozen):
        """Severity of the fault."""

        linewidth_hz: NonNegativePerDevice = Field(
            OffsetLaw(law="constant", value=100.0),
            description="full 3 dB linewidth of the oscillator: a number, or a law over devices",
        )

    def __init__(self, settings: Settings, sample_rate_hz: float) -> None:
        self._settings = settings
        self._sample_rate_hz = sample_rate_hz

    def apply(self, samples: torch.Tensor, draws: KeyedDraws, round_index: int) -> torch.Tensor:
        """Samples [K, N] of one round with the noise on them."""
        devices, count = samples.shape
        linewidth = draw(self._settings.linewidth_hz, draws, "linewdth", devices, round_index)
        pairs = draws.long_complex_normal("phnoise", round_index, devices, (count + 1) // 2)
        normals = torch.from_numpy(pairs.view(np.float32))[:, :count] * math.sqrt(2.0)
        return phase_noise(samples, normals, linewidth, self._sample_rate_hz)
