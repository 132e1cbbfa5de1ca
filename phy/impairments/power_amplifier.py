"""Saturation of the power amplifier: Rapp's model of a solid-state amplifier."""

from typing import Literal

import torch
from pydantic import Field

from phy.draws import KeyedDraws
from phy.impairments._settings import Frozen, PerDevice, draw
from phy.impairments._tensors import Real, burst_rms, check_samples, parameter
from phy.laws import OffsetLaw


def rapp(x: torch.Tensor, saturation: Real, smoothness: float = 2.0) -> torch.Tensor:
    """Compress amplitudes, y = x / (1 + (|x| / A)^(2p))^(1 / (2p)); phases stay (C. Rapp, 1991: AM/AM only).

    Small signals keep gain 1, |y| stays below A, and |x| = A loses 10 log10(2) / p dB.

    :param x: complex [..., N]
    :param saturation: output amplitude A at which the amplifier saturates; broadcast against [...]
    :param smoothness: p > 0; a larger p is closer to a hard limiter
    :raises phy.errors.PhyError: if shapes do not fit
    :returns: complex [..., N]
    """
    check_samples(x)
    power = x.real.square() + x.imag.square()
    ratio = power / parameter(saturation, x)[..., None].square().to(power.dtype)
    # Above saturation the same function of A / |x|, times A / |x|: no power of the ratio overflows.
    small = torch.minimum(ratio, ratio.reciprocal())
    knee = small.square().add_(1.0).sqrt_().rsqrt_() if smoothness == 2.0 else (1.0 + small**smoothness) ** (-0.5 / smoothness)
    return x * (knee * ratio.clamp(min=1.0).rsqrt_())


def saturation_amplitude(x: torch.Tensor, back_off_db: Real) -> torch.Tensor:
    """Saturation amplitude A of an amplifier driven ``back_off_db`` below it, A^2 = 10^(back_off/10) rms^2. Shape [...].

    The rms is that of the part of the burst which is not silent; infinite where a row is silent throughout.
    """
    rms = burst_rms(x)[..., 0].to(torch.float64)
    amplitude = rms * 10.0 ** (parameter(back_off_db, x) / 20.0)
    return torch.where(rms > 0, amplitude, torch.inf)


class Part:
    """Each device's power amplifier. Its drive is set on the burst at hand, so that back-off holds whatever is sent."""

    stage: Literal["transmitter", "receiver"] = "transmitter"
    order = 30

    class Settings(Frozen):
        """Severity of the fault."""

        back_off_db: PerDevice = Field(
            OffsetLaw(law="constant", value=6.0),
            description="saturation power over the mean power of the burst: a number, or a law over devices",
        )
        smoothness: float = Field(2.0, gt=0, le=100, description="Rapp's p: larger is closer to a hard limiter")

    def __init__(self, settings: Settings, sample_rate_hz: float) -> None:
        del sample_rate_hz  # memoryless
        self._settings = settings

    def apply(self, samples: torch.Tensor, draws: KeyedDraws, round_index: int) -> torch.Tensor:
        """Samples [K, N] of one round, compressed."""
        back_off = draw(self._settings.back_off_db, draws, "backoff", samples.shape[0], round_index)
        return rapp(samples, saturation_amplitude(samples, back_off), self._settings.smoothness)
