"""Carrier frequency and phase offset."""

import math

import torch

from phy.impairments._tensors import Real, check_samples, parameter, phase_ramp, together


def frequency_offset(
    x: torch.Tensor,
    frequency_hz: Real,
    sample_rate_hz: float,
    phase_rad: Real = 0.0,
    reference_samples: Real = 0.0,
) -> torch.Tensor:
    """Turn sample n by exp(j (2 pi f (n - n_ref) / f_s + phi)).

    :param x: complex [..., N]
    :param frequency_hz: offset f, positive where the device's carrier is above the receiver's; broadcast against [...]
    :param sample_rate_hz: sample rate f_s
    :param phase_rad: phase phi at the reference instant
    :param reference_samples: instant n_ref, any real number of samples after the start
    :raises phy.errors.PhyError: if shapes do not fit
    :returns: complex [..., N]
    """
    check_samples(x)
    step = parameter(frequency_hz, x) / sample_rate_hz
    start = parameter(phase_rad, x) / (2.0 * math.pi) - step * parameter(reference_samples, x)
    step, start = together(step, start)
    return x * phase_ramp(step, x.shape[-1], start, x.dtype)
