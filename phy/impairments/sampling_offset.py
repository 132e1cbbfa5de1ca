"""Sampling clock offset: a device's converter runs a little fast or slow."""

import numpy as np
import torch
from scipy.fft import next_fast_len

from phy.impairments._tensors import Real, check_samples, parameter, spectral_ramp, turn

# Samples worked on at once: small enough to stay in a core's cache.
_CHUNK_ELEMENTS = 32768


def sampling_offset(x: torch.Tensor, epsilon: Real, delay_samples: Real | None = None) -> torch.Tensor:
    """Play each row with a clock that is off by ``epsilon``: y(n) = x((1 + epsilon) (n - delay)).

    epsilon > 0: the device's clock is fast, and its burst is shorter by the factor 1 + epsilon about the slot's start; so is
    its energy, since the amplitude stays. Exact for band-limited periodic signals whose band stays below half the sample
    rate after the stretch: the inverse Fourier sum is evaluated at the stretched instants by Bluestein's chirp transform
    (L. Bluestein, 1970), k n = (k^2 + n^2 - (n - k)^2) / 2. Circular as :func:`fractional_delay`: a guard at the end must
    take up epsilon N samples.

    :param x: complex [..., N]
    :param epsilon: relative clock error (1e-6 is 1 ppm); broadcast against [...]
    :param delay_samples: delay of the burst in receiver samples, taken along at little cost
    :raises phy.errors.PhyError: if shapes do not fit
    :returns: complex [..., N]
    """
    check_samples(x)
    offset = parameter(epsilon, x)
    delay = None if delay_samples is None else parameter(delay_samples, x)
    count = x.shape[-1]
    lead = np.broadcast_shapes(x.shape[:-1], offset.shape, () if delay is None else delay.shape)
    rows = x.expand(*lead, count).reshape(-1, count)
    offset = offset.expand(lead).reshape(-1)
    delay = None if delay is None else delay.expand(lead).reshape(-1)
    step = max(1, _CHUNK_ELEMENTS // count)
    parts = [
        _stretch(rows[low : low + step], offset[low : low + step], None if delay is None else delay[low : low + step])
        for low in range(0, rows.shape[0], step)
    ]
    return torch.cat(parts).reshape(*lead, count) if parts else rows.reshape(*lead, count)


def _stretch(x: torch.Tensor, offset: torch.Tensor, delay: torch.Tensor | None) -> torch.Tensor:
    """Rows [R, N] with offsets [R] and delays [R]."""
    count = x.shape[-1]
    negative = count // 2  # frequencies -negative .. count - negative - 1
    positive = count - negative
    size = int(next_fast_len(2 * count - 1))

    index = torch.arange(count + negative, dtype=torch.float64, device=x.device)
    halves = index.square() / (2 * count)
    # Whole turns of the unstretched chirp go first, so that its phase loses no digits.
    chirp = turn(torch.remainder(halves, 1.0) + offset[:, None] * halves, x.dtype)

    spectrum = torch.fft.fft(x)
    if delay is not None:
        spectrum = spectrum * spectral_ramp((1.0 + offset) * delay, count, x.dtype)
    weighted = x.new_zeros(x.shape[0], size)
    weighted[:, :positive] = spectrum[:, :positive] * chirp[:, :positive]
    weighted[:, size - negative :] = spectrum[:, positive:] * chirp[:, 1 : negative + 1].flip(-1)
    kernel = x.new_zeros(x.shape[0], size)
    kernel[:, : count + negative] = chirp.conj()
    kernel[:, size - positive + 1 :] = chirp[:, 1:positive].flip(-1).conj()
    convolved = torch.fft.ifft(torch.fft.fft(weighted) * torch.fft.fft(kernel))
    out: torch.Tensor = convolved[:, :count] * chirp[:, :count] / count
    return out
