"""Tensor helpers of the impairments: per-device parameters, fast phase ramps, the power of a burst."""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from phy.errors import PhyError

Real = float | NDArray[np.float64] | torch.Tensor

# A sample belongs to the burst where its magnitude exceeds this fraction of the row's peak: the guards of a burst that was
# filtered by FFT hold rounding residue instead of zeros.
_SILENCE = 1e-5


def parameter(value: Real, x: torch.Tensor) -> torch.Tensor:
    """``value`` as float64 on the device of ``x`` [..., N]; raises where it does not broadcast against [...]."""
    out = torch.as_tensor(value, dtype=torch.float64, device=x.device)
    try:
        np.broadcast_shapes(out.shape, x.shape[:-1])
    except ValueError:
        raise PhyError(
            f"a parameter of shape {tuple(out.shape)} does not fit samples of shape {tuple(x.shape)}; it must broadcast "
            f"against {tuple(x.shape[:-1])}"
        ) from None
    return out


def together(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Tensors expanded to their common shape."""
    return tuple(torch.broadcast_tensors(*tensors))  # type: ignore[no-untyped-call]


def check_samples(x: torch.Tensor) -> None:
    """Raise :class:`phy.errors.PhyError` unless ``x`` is complex with at least one sample."""
    if not x.is_complex() or x.dim() == 0 or x.shape[-1] == 0:
        raise PhyError(f"samples must be a complex tensor [..., N] with N > 0, got {x.dtype} of shape {tuple(x.shape)}")


def real_dtype(dtype: torch.dtype) -> torch.dtype:
    """Type of the real and imaginary part."""
    return torch.float64 if dtype == torch.complex128 else torch.float32


def turn(cycles: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """exp(j 2 pi cycles) for float64 ``cycles`` of any size, which are reduced mod 1 before they are cast."""
    angle = ((cycles - torch.round(cycles)) * (2.0 * math.pi)).to(real_dtype(dtype))
    return torch.complex(torch.cos(angle), torch.sin(angle))


def phase_ramp(
    cycles_per_sample: torch.Tensor, count: int, start_cycles: torch.Tensor | float, dtype: torch.dtype
) -> torch.Tensor:
    """exp(j 2 pi (start + c n)) for n = 0 .. count-1. Shape [..., count].

    An outer product of a coarse and a fine ramp, about sqrt(count) exponentials each, instead of ``count`` of them. The
    phase is formed in float64, so the error does not grow with n: below 1e-6 after 1e6 samples in complex64.
    """
    width = 1 << (((count - 1).bit_length() + 1) // 2)
    rows = -(-count // width)
    step = cycles_per_sample[..., None]
    first = torch.as_tensor(start_cycles, dtype=torch.float64, device=step.device)[..., None]
    steps = torch.arange(max(width, rows), dtype=torch.float64, device=step.device)
    fine = turn(step * steps[:width], dtype)
    coarse = turn(first + step * (width * steps[:rows]), dtype)
    return (coarse[..., :, None] * fine[..., None, :]).flatten(-2)[..., :count]


def spectral_ramp(delay_samples: torch.Tensor, count: int, dtype: torch.dtype) -> torch.Tensor:
    """exp(-j 2 pi f_k delay) at the signed frequencies f_k of an FFT of ``count`` points, in its order. [..., count]."""
    ramp = phase_ramp(-delay_samples / count, count, 0.0, dtype)
    # The ramp counts k = 0 .. count-1; the upper half stands for k - count.
    ramp[..., (count + 1) // 2 :] *= turn(delay_samples, dtype)[..., None]
    return ramp


def sending(x: torch.Tensor) -> torch.Tensor:
    """Where a burst [..., N] is not silent: magnitude above -100 dB of its peak. Boolean [..., N]."""
    power = x.real.square() + x.imag.square()
    return power > _SILENCE**2 * power.amax(-1, keepdim=True)


def burst_rms(x: torch.Tensor) -> torch.Tensor:
    """Root mean square over the part of each burst that is not silent; 0 for a silent row. Real [..., 1]."""
    power = x.real.square() + x.imag.square()
    on = power > _SILENCE**2 * power.amax(-1, keepdim=True)
    return ((power * on).sum(-1, keepdim=True) / on.sum(-1, keepdim=True).clamp(min=1)).sqrt()
