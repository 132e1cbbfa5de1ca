"""The impairments as Sionna blocks: Sionna's shapes in and out, one setting for each transmitter.

Every block takes x [batch size, num_tx, num_tx_ant, N], `torch.complex`, as what goes into ``TimeChannel``, and returns the
same shape; behind the channel read num_rx and num_rx_ant instead. A setting that is called *per transmitter* is a scalar,
[num_tx], [batch size, num_tx] or [batch size, num_tx, num_tx_ant]. It is kept in double precision (Sionna casts what a call
is given), and can be assigned anew between calls::

    offset = FrequencyOffset(sampling_frequency=1e6, frequency_hz=[100.0, -50.0])
    y = offset(x)                       # x: [64, 2, 1, 1024]
    offset.frequency_hz = 200.0 * torch.rand(64, 2)

``precision`` and ``device`` are those of every Sionna block. Unlike Sionna's, these blocks refuse arguments that they do not
know. Importing this module imports Sionna, which takes seconds and reseeds torch's global generator; the functions beside it
do neither.
"""

from typing import Any

import torch
from sionna.phy import Block
from sionna.phy.utils import normal

from phy.errors import PhyError
from phy.impairments import adc, agc, converter
from phy.impairments import dc_offset as dc
from phy.impairments import fractional_delay as delay
from phy.impairments import frequency_offset as frequency
from phy.impairments import iq_imbalance as iq
from phy.impairments import phase_noise as noise
from phy.impairments import power_amplifier as amplifier
from phy.impairments import sampling_offset as sampling
from phy.impairments._tensors import Real

__all__ = [
    "AnalogToDigital",
    "AutomaticGainControl",
    "DcOffset",
    "FractionalDelay",
    "FrequencyOffset",
    "IqImbalance",
    "PhaseNoise",
    "PowerAmplifier",
    "Quantiser",
    "SamplingOffset",
]


class PerTransmitter:
    """Attribute that takes a scalar, [T], [B, T] or [B, T, A] and gives float64 that broadcasts against [B, T, A]."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, block: Any, owner: type | None = None) -> torch.Tensor:
        value: torch.Tensor = block.__dict__["_" + self._name]
        return value

    def __set__(self, block: Any, value: Real) -> None:
        tensor = torch.as_tensor(value, dtype=torch.float64, device=block.device)
        if tensor.dim() > 3:
            raise PhyError(
                f"{self._name} must be a scalar, [num_tx], [batch size, num_tx] or [batch size, num_tx, num_tx_ant], "
                f"got shape {list(tensor.shape)}"
            )
        block.__dict__["_" + self._name] = tensor[..., None] if tensor.dim() in (1, 2) else tensor


class Impairment(Block):  # type: ignore[misc]
    """Base of the blocks: checks the shape of x and refuses arguments it does not know."""

    def __init__(self, *, precision: str | None = None, device: str | None = None) -> None:
        super().__init__(precision=precision, device=device)

    def build(self, *shapes: Any) -> None:
        """Check the first call's x."""
        if len(shapes[0]) != 4:
            raise PhyError(f"x must be [batch size, num_tx, num_tx_ant, N], got shape {list(shapes[0])}")


class FractionalDelay(Impairment):
    """Delay by any number of samples: :func:`phy.impairments.fractional_delay.fractional_delay`.

    :param delay_samples: per transmitter; positive is late
    :param linear: pad with zeros, so that what leaves at one end does not come back at the other; otherwise circular
    """

    delay_samples = PerTransmitter()

    def __init__(
        self, delay_samples: Real = 0.0, *, linear: bool = True, precision: str | None = None, device: str | None = None
    ) -> None:
        super().__init__(precision=precision, device=device)
        self.delay_samples = delay_samples
        self.linear = linear

    def call(self, x: torch.Tensor) -> torch.Tensor:
        """Delay x."""
        return delay.fractional_delay(x, self.delay_samples, linear=self.linear)


class FrequencyOffset(Impairment):
    """Carrier frequency and phase offset: :func:`phy.impairments.frequency_offset.frequency_offset`.

    :param sampling_frequency: sample rate [Hz]
    :param frequency_hz: per transmitter
    :param phase_rad: per transmitter; phase at sample ``reference_samples``
    :param reference_samples: per transmitter
    """

    frequency_hz = PerTransmitter()
    phase_rad = PerTransmitter()
    reference_samples = PerTransmitter()

    def __init__(
        self,
        sampling_frequency: float,
        frequency_hz: Real = 0.0,
        phase_rad: Real = 0.0,
        reference_samples: Real = 0.0,
        *,
        precision: str | None = None,
        device: str | None = None,
    ) -> None:
        super().__init__(precision=precision, device=device)
        self._sampling_frequency = sampling_frequency
        self.frequency_hz = frequency_hz
        self.phase_rad = phase_rad
        self.reference_samples = reference_samples

    def call(self, x: torch.Tensor) -> torch.Tensor:
        """Turn x."""
        return frequency.frequency_offset(
            x, self.frequency_hz, self._sampling_frequency, self.phase_rad, self.reference_samples
        )


class SamplingOffset(Impairment):
    """Sampling clock offset: :func:`phy.impairments.sampling_offset.sampling_offset`. Circular, so leave a guard.

    :param epsilon: per transmitter; relative clock error, positive is fast
    """

    epsilon = PerTransmitter()

    def __init__(self, epsilon: Real = 0.0, *, precision: str | None = None, device: str | None = None) -> None:
        super().__init__(precision=precision, device=device)
        self.epsilon = epsilon

    def call(self, x: torch.Tensor) -> torch.Tensor:
        """Stretch x."""
        return sampling.sampling_offset(x, self.epsilon)


class PhaseNoise(Impairment):
    """Wiener phase noise: :func:`phy.impairments.phase_noise.phase_noise`.

    :param sampling_frequency: sample rate [Hz]
    :param linewidth_hz: per transmitter; full 3 dB linewidth

    :input normals: `None` (default) | x's shape, `torch.float`. Standard normals; if `None`, drawn from Sionna's generator
    """

    linewidth_hz = PerTransmitter()

    def __init__(
        self,
        sampling_frequency: float,
        linewidth_hz: Real = 0.0,
        *,
        precision: str | None = None,
        device: str | None = None,
    ) -> None:
        super().__init__(precision=precision, device=device)
        self._sampling_frequency = sampling_frequency
        self.linewidth_hz = linewidth_hz

    def call(self, x: torch.Tensor, normals: torch.Tensor | None = None) -> torch.Tensor:
        """Turn x by its noise."""
        if normals is None:
            normals = normal(size=list(x.shape), dtype=self.dtype, device=self.device, generator=self.torch_rng)
        return noise.phase_noise(x, normals, self.linewidth_hz, self._sampling_frequency)


class PowerAmplifier(Impairment):
    """Rapp's amplifier: :func:`phy.impairments.power_amplifier.rapp`, driven ``back_off_db`` below saturation.

    :param back_off_db: per transmitter; saturation power over mean power, measured on each burst
    :param smoothness: Rapp's p
    """

    back_off_db = PerTransmitter()

    def __init__(
        self,
        back_off_db: Real = 6.0,
        smoothness: float = 2.0,
        *,
        precision: str | None = None,
        device: str | None = None,
    ) -> None:
        super().__init__(precision=precision, device=device)
        self.back_off_db = back_off_db
        self._smoothness = smoothness

    def call(self, x: torch.Tensor) -> torch.Tensor:
        """Compress x."""
        return amplifier.rapp(x, amplifier.saturation_amplitude(x, self.back_off_db), self._smoothness)


class IqImbalance(Impairment):
    """Imbalance of I and Q: :func:`phy.impairments.iq_imbalance.iq_imbalance`.

    :param gain_db: per transmitter
    :param phase_rad: per transmitter
    """

    gain_db = PerTransmitter()
    phase_rad = PerTransmitter()

    def __init__(
        self, gain_db: Real = 0.0, phase_rad: Real = 0.0, *, precision: str | None = None, device: str | None = None
    ) -> None:
        super().__init__(precision=precision, device=device)
        self.gain_db = gain_db
        self.phase_rad = phase_rad

    def call(self, x: torch.Tensor) -> torch.Tensor:
        """Add the image of x."""
        return iq.iq_imbalance(x, self.gain_db, self.phase_rad)


class DcOffset(Impairment):
    """Leakage of the local oscillator: :func:`phy.impairments.dc_offset.dc_offset`.

    :param level: per transmitter; amplitude over the burst's rms, linear
    :param phase_rad: per transmitter
    """

    level = PerTransmitter()
    phase_rad = PerTransmitter()

    def __init__(
        self, level: Real = 0.0, phase_rad: Real = 0.0, *, precision: str | None = None, device: str | None = None
    ) -> None:
        super().__init__(precision=precision, device=device)
        self.level = level
        self.phase_rad = phase_rad

    def call(self, x: torch.Tensor) -> torch.Tensor:
        """Add the constant to x."""
        return dc.dc_offset(x, self.level, self.phase_rad)


class Quantiser(Impairment):
    """Uniform mid-rise quantiser that saturates: :func:`phy.impairments.adc.quantise`.

    :param bits: bits of each real component
    :param full_scale: of each real component
    """

    def __init__(self, bits: int, full_scale: float = 1.0, *, precision: str | None = None, device: str | None = None) -> None:
        super().__init__(precision=precision, device=device)
        self._bits = bits
        self._full_scale = full_scale

    def call(self, x: torch.Tensor) -> torch.Tensor:
        """Quantise x."""
        return adc.quantise(x, self._bits, self._full_scale)


class AutomaticGainControl(Impairment):
    """Scale each row for a converter: :func:`phy.impairments.agc.agc_gain`.

    :param headroom_db: full scale over the rms of one real component
    :param full_scale: of each real component
    """

    def __init__(
        self,
        headroom_db: float = 12.0,
        full_scale: float = 1.0,
        *,
        precision: str | None = None,
        device: str | None = None,
    ) -> None:
        super().__init__(precision=precision, device=device)
        self._headroom_db = headroom_db
        self._full_scale = full_scale

    def call(self, x: torch.Tensor) -> torch.Tensor:
        """Scale x."""
        return x * agc.agc_gain(x, self._headroom_db, self._full_scale)[..., None]


class AnalogToDigital(Impairment):
    """Gain control, quantiser, and the gain undone: :func:`phy.impairments.converter.convert`.

    :param bits: bits of each real component
    :param headroom_db: full scale over the rms of one real component
    """

    def __init__(
        self, bits: int, headroom_db: float = 12.0, *, precision: str | None = None, device: str | None = None
    ) -> None:
        super().__init__(precision=precision, device=device)
        self._bits = bits
        self._headroom_db = headroom_db

    def call(self, x: torch.Tensor) -> torch.Tensor:
        """Digitise x."""
        return converter.convert(x, self._bits, self._headroom_db)
