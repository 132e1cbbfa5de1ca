"""Delay of a band-limited signal by any real number of samples."""

import math

import torch
from scipy.fft import next_fast_len

from phy.impairments._tensors import Real, check_samples, parameter, spectral_ramp


def fractional_delay(x: torch.Tensor, delay_samples: Real, *, linear: bool = False) -> torch.Tensor:
    """Delay each row by a phase ramp on its spectrum, y(n) = x(n - delay); exact for band-limited periodic signals.

    The shift is circular: guards of silence longer than the delay make that harmless. A component at exactly half the
    sample rate is turned by the same unit-modulus ramp, so that energy is kept.

    :param x: complex [..., N]
    :param delay_samples: delay in samples, positive is late; broadcast against [...]
    :param linear: pad with zeros first, so that what is shifted out at one end does not come back at the other
    :raises phy.errors.PhyError: if shapes do not fit
    :returns: complex [..., N]
    """
    check_samples(x)
    delay = parameter(delay_samples, x)
    count = length = x.shape[-1]
    if linear:
        delay = delay.clamp(-count, count)  # all is gone by then
        length = int(next_fast_len(2 * count + math.ceil(float(delay.abs().max()))))
    spectrum = torch.fft.fft(x, n=length) * spectral_ramp(delay, length, x.dtype)
    out: torch.Tensor = torch.fft.ifft(spectrum)
    return out[..., :count]
