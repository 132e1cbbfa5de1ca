"""What a device sends of its samples' projected gradients: clipped, averaged, clipped.

``clip_scope`` says whose values are bounded: the device's mean (pAirZero, arXiv 2604.12401) or each sample's (DPZero, arXiv
2310.09639). ``clip_norm`` says how: every direction by itself, to [-C, C], or the n directions of a round jointly, to a vector
of Euclidean norm C at most (as DP-AggZO does, USENIX Security 2025), which an L2 sensitivity is then charged for once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from learning.config import ZerothOrderConfig

__all__ = ["Sent", "clipped_mean"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sent:
    """float64[n] before and after clipping, and how many of how many clipped things were too large."""

    unclipped: Floats
    payload: Floats
    too_large: int
    counted: int


def clipped_mean(values: Floats, config: ZerothOrderConfig, *, divisor: int | None, bounded: bool) -> Sent:
    """What a device sends of ``values`` [B, n]; parameters as those of :func:`learning.zeroth_order.project`."""
    if bounded:
        values = np.where(np.isnan(values), 0.0, values)
    unclipped = _mean(values, divisor)
    joint = config.clip_norm == "joint"
    if config.clip_scope == "sample":
        payload = _mean(_clip(values, config.clip, joint), divisor)
        judged = values
        if divisor is not None:
            payload = _clip(payload[None], config.clip, joint)[0]
    else:
        payload = _clip(unclipped[None], config.clip, joint)[0]
        judged = unclipped[None]
    if bounded:  # a mean of opposite infinities
        payload = np.where(np.isnan(payload), 0.0, payload)
    with np.errstate(invalid="ignore"):
        sizes = _norm(judged) if joint else np.abs(judged)
        return Sent(unclipped, payload, int((sizes > config.clip).sum()), sizes.size)


def _mean(values: Floats, divisor: int | None) -> Floats:
    # A column at a time, so that a direction has the same bits whether it is alone or not.
    columns = [np.ascontiguousarray(column) for column in values.T]
    with np.errstate(invalid="ignore"):
        return np.array([column.mean() if divisor is None else column.sum() / divisor for column in columns])


def _clip(values: Floats, limit: float, joint: bool) -> Floats:
    """Rows of ``values`` [B, n], clipped."""
    if not joint:
        return np.clip(values, -limit, limit)
    infinite = np.isinf(values)
    if infinite.any():  # of a vector with infinite entries only their direction is left
        beyond = infinite.any(axis=1, keepdims=True)
        values = np.where(beyond, np.where(infinite, np.sign(values) * limit, 0.0), values)
    norm = _norm(values)
    with np.errstate(invalid="ignore"):
        factor = np.where(norm > limit, limit / np.where(norm > 0, norm, 1.0), 1.0)
    return np.clip(values * np.where(np.isnan(norm), np.nan, factor)[:, None], -limit, limit)


def _norm(values: Floats) -> Floats:
    # hypot-like scaling: squares of large finite values must not overflow.
    largest = np.abs(values).max(axis=1, initial=0.0)
    scale = np.where((largest > 0) & np.isfinite(largest), largest, 1.0)
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray(scale * np.sqrt(np.square(values / scale[:, None]).sum(axis=1)))
