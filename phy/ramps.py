"""Complex exponentials on a regular grid, from two short tables instead of one evaluation per point."""

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

_WIDTH = 64
_FINE = np.arange(_WIDTH, dtype=np.float64)


def tables(
    cycles_per_step: NDArray[np.float64], count: int, start_cycles: NDArray[np.float64]
) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
    """Coarse [..., I] and fine [..., 64] factors of exp(2 pi j (start + cycles n)), n = 64 i + j < 64 I, I = ceil(count / 64).

    Phases are reduced to one turn in float64 before the cast to float32, so that they stay exact to 1e-6 over any count.
    """
    steps = np.concatenate((np.arange(math.ceil(count / _WIDTH)) * float(_WIDTH), _FINE))
    cycles = cycles_per_step[..., None] * steps
    cycles[..., :-_WIDTH] += start_cycles[..., None]
    cycles -= np.rint(cycles)
    angle = cycles.astype(np.float32)
    angle *= np.float32(2.0 * np.pi)
    out = np.empty(angle.shape, np.complex64)
    np.cos(angle, out=out.real)
    np.sin(angle, out=out.imag)
    return out[..., :-_WIDTH], out[..., -_WIDTH:]


def ramp_array(cycles_per_step: NDArray[np.float64], count: int, start_cycles: NDArray[np.float64]) -> NDArray[np.complex64]:
    """exp(2 pi j (start + cycles n)) for n = 0 .. count-1. Shape [..., count]."""
    coarse, fine = tables(cycles_per_step, count, start_cycles)
    product = coarse[..., :, None] * fine[..., None, :]
    return product.reshape(*product.shape[:-2], -1)[..., :count]


def ramp(cycles_per_step: NDArray[np.float64], count: int, start_cycles: NDArray[np.float64]) -> "torch.Tensor":
    """The same as a tensor."""
    import torch  # the array needs no framework

    coarse, fine = tables(cycles_per_step, count, start_cycles)
    product = torch.from_numpy(coarse)[..., :, None] * torch.from_numpy(fine)[..., None, :]
    return product.flatten(-2)[..., :count]
