"""Automatic gain control ahead of a converter."""

import torch

from phy.impairments._tensors import Real, check_samples, parameter, real_dtype


def agc_gain(x: torch.Tensor, headroom_db: Real, full_scale: Real = 1.0) -> torch.Tensor:
    """Gain that puts the rms of one real component ``headroom_db`` below full scale; 1 for a row of zeros.

    The rms is that of the whole row: an ideal gain control that knows the slot it is about to receive.

    :param x: complex [..., N]
    :param headroom_db: 20 log10(V / rms); broadcast against [...]
    :param full_scale: V of one real component; broadcast against [...]
    :raises phy.errors.PhyError: if shapes do not fit
    :returns: real [...], in the precision of ``x``
    """
    check_samples(x)
    rms = (0.5 * (x.real.square() + x.imag.square()).mean(-1)).sqrt().to(torch.float64)
    wanted = parameter(full_scale, x) * 10.0 ** (-parameter(headroom_db, x) / 20.0)
    return torch.where(rms > 0, wanted / rms, 1.0).to(real_dtype(x.dtype))
