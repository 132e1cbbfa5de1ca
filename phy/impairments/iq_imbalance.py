"""Imbalance between the in-phase and quadrature branch of a mixer."""

from typing import Literal, Self

import torch
from pydantic import Field, model_validator

from phy.draws import KeyedDraws
from phy.impairments._settings import Frozen, PerDevice, draw
from phy.impairments._tensors import Real, check_samples, parameter, together
from phy.laws import OffsetLaw


def iq_imbalance(x: torch.Tensor, gain_db: Real, phase_rad: Real) -> torch.Tensor:
    """Send y = I + j g exp(j phi) Q, the quadrature branch off by gain g and phase phi; not dependent on frequency.

    With x* the conjugate, y = mu x + nu x*, mu = (1 + g e^{j phi}) / 2, nu = (1 - g e^{j phi}) / 2: an image appears at the
    mirrored frequency, weaker by :func:`image_rejection_ratio`.

    :param x: complex [..., N]
    :param gain_db: 20 log10 g; broadcast against [...]
    :param phase_rad: phi; broadcast against [...]
    :raises phy.errors.PhyError: if shapes do not fit
    :returns: complex [..., N]
    """
    check_samples(x)
    quadrature = torch.polar(*together(10.0 ** (parameter(gain_db, x) / 20.0), parameter(phase_rad, x)))
    direct = (0.5 * (1.0 + quadrature)).to(x.dtype)[..., None]
    image = (0.5 * (1.0 - quadrature)).to(x.dtype)[..., None]
    return direct * x + image * x.conj()


def image_rejection_ratio(gain_db: float, phase_rad: float) -> float:
    """Power of the wanted signal over that of its image, (1 + 2 g cos phi + g^2) / (1 - 2 g cos phi + g^2), linear."""
    gain = torch.tensor(10.0 ** (gain_db / 20.0), dtype=torch.float64)
    cross = 2.0 * gain * torch.cos(torch.tensor(phase_rad, dtype=torch.float64))
    return float((1.0 + cross + gain.square()) / (1.0 - cross + gain.square()))


class Part:
    """Imbalance of each device's modulator."""

    stage: Literal["transmitter", "receiver"] = "transmitter"
    order = 10

    class Settings(Frozen):
        """Severity of the fault; at least one of the two must be set."""

        gain_db: PerDevice = Field(
            OffsetLaw(), description="gain of the quadrature branch over the in-phase one: a number, or a law over devices"
        )
        phase_rad: PerDevice = Field(
            OffsetLaw(), description="departure of the branches from 90 degrees: a number, or a law over devices"
        )

        @model_validator(mode="after")
        def _does_something(self) -> Self:
            if not (self.gain_db.on or self.phase_rad.on):
                raise ValueError("set gain_db or phase_rad, or leave iq_imbalance out")
            return self

    def __init__(self, settings: Settings, sample_rate_hz: float) -> None:
        del sample_rate_hz  # the same at all frequencies
        self._settings = settings

    def apply(self, samples: torch.Tensor, draws: KeyedDraws, round_index: int) -> torch.Tensor:
        """Samples [K, N] of one round, each with its image."""
        devices = samples.shape[0]
        gain_db = draw(self._settings.gain_db, draws, "iqgain", devices, round_index)
        phase_rad = draw(self._settings.phase_rad, draws, "iqphase", devices, round_index)
        return iq_imbalance(samples, gain_db, phase_rad)
