"""Complex exponentials on a regular grid, from two short tables instead of one evaluation per point."""

import math

import torch

_WIDTH = 64


def tables(cycles_per_step: torch.Tensor, count: int, start_cycles: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Coarse [..., I] and fine [..., 64] factors of exp(2 pi j (start + cycles n)), n = 64 i + j < 64 I, I = ceil(count / 64).

    Phases are reduced to one turn in float64 before the cast to complex64, so that they stay exact to 1e-6 over any count.
    """
    coarse_count = math.ceil(count / _WIDTH)
    # Both tables in one go: at these sizes calls cost more than numbers.
    steps = torch.arange(coarse_count + _WIDTH, dtype=torch.float64)
    steps[:coarse_count] *= _WIDTH
    steps[coarse_count:] -= coarse_count
    cycles = cycles_per_step.double()[..., None] * steps
    cycles[..., :coarse_count] += start_cycles.double()[..., None]
    both = _turn(cycles)
    return both[..., :coarse_count], both[..., coarse_count:]


def ramp(cycles_per_step: torch.Tensor, count: int, start_cycles: torch.Tensor) -> torch.Tensor:
    """exp(2 pi j (start + cycles n)) for n = 0 .. count-1. Shape [..., count], complex64."""
    coarse, fine = tables(cycles_per_step, count, start_cycles)
    return (coarse[..., :, None] * fine[..., None, :]).flatten(-2)[..., :count]


def _turn(cycles: torch.Tensor) -> torch.Tensor:
    angle = (2.0 * math.pi * (cycles - torch.floor(cycles))).float()
    return torch.polar(torch.ones_like(angle), angle)
