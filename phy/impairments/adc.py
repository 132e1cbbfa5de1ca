"""Analog-to-digital conversion: uniform quantisation that saturates."""

import torch

from phy.errors import PhyError
from phy.impairments._tensors import Real, check_samples, parameter


def quantise(x: torch.Tensor, bits: int, full_scale: Real = 1.0) -> torch.Tensor:
    """Quantise real and imaginary part by a uniform mid-rise quantiser of 2^bits levels.

    The step is D = 2 V / 2^bits; levels are the odd multiples of D/2 inside [-V, V], and what lies beyond is clipped to the
    outermost. While nothing clips, the error is at most D/2 and its variance D^2/12, 6.02 dB less for each bit.

    :param x: complex [..., N]
    :param bits: 1 to 24; more is below the resolution of single precision
    :param full_scale: V > 0 of one real component; broadcast against [...]
    :raises phy.errors.PhyError: if ``bits`` is out of range or shapes do not fit
    :returns: complex [..., N]
    """
    check_samples(x)
    if not 1 <= bits <= 24:
        raise PhyError(f"a converter has 1 to 24 bits, got {bits}")
    parts = torch.view_as_real(x.resolve_conj())
    step = (parameter(full_scale, x) * 2.0 ** (1 - bits)).to(parts.dtype)[..., None, None]
    half = 2 ** (bits - 1)
    code = torch.floor(parts / step).clamp_(-half, half - 1)
    return torch.view_as_complex((code + 0.5) * step)
