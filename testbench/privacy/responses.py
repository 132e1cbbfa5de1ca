"""What the adversary really has of every device in a round, from the link itself: no closed form, no plan.

Every device sends its full scale up and down while all else stays the same, and the link's own chain carries both to the
adversary's antennas (:meth:`phy.link.Link.observe`). Draws are keyed, so that half the difference is the noise-free response to
a unit symbol: R_k [D, n], to the last bits of single precision. With white noise of variance v on each real axis, and noise of
standard deviation s that devices add to every symbol,

    C = v I + s^2 sum_j R_j R_j'   (sum over those who are not in league with the adversary),

round t costs device k the largest x' R_k' C^-1 R_k x over admissible changes x, computed by Woodbury's identity from inner
products of the responses alone.
"""

import numpy as np
from numpy.typing import NDArray

from phy.backends import in_process
from phy.config import LinkConfig
from phy.link import Link
from testbench.privacy.design import Design
from testbench.privacy.overlap import largest_over_signs

__all__ = ["observed_squares", "observing_link"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Integers = NDArray[np.int64]

_EPS = float(np.finfo(np.float32).eps)
#: By how much energy above rounding must stand out what a receiver without noise tells devices apart by.
_TOLD_APART = 1e3
_BLOCK_ELEMENTS = 1 << 21  # complex numbers of responses that are worked on at once


def observing_link(design: Design) -> LinkConfig:
    """The plan's link as the adversary listens to it: all samples, before any receiver of the server's has touched them."""
    return in_process(design.link.model_copy(update={"receiver": "matched", "impairments": {}}))


def observed_squares(
    design: Design, link: Link, rounds: Integers, devices: int, present: Bools | None = None
) -> tuple[Floats, Floats]:
    """mu^2 [B, K] of ``rounds`` [B] of a plan, as ``link`` (of :func:`observing_link`) carries them; 0 for colluders.

    Beside it by how much single precision may have moved it [B, K]: a payload that is far below a burst's preamble, or below
    the noise, is the difference of large numbers.

    :param present: bool[K], who is on the air in all of them; None: everybody
    """
    n = design.directions.count
    blocks = max(1, _BLOCK_ELEMENTS // (devices * n * max(1, _width(link, rounds[:1], devices, n, present))))
    parts = [_squares(design, link, rounds[low : low + blocks], devices, present) for low in range(0, len(rounds), blocks)]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _width(link: Link, one: Integers, devices: int, n: int, present: Bools | None) -> int:
    who = None if present is None else present[None]
    return int(link.observe(one, np.zeros((1, devices, n)), who).shape[1])


def _squares(design: Design, link: Link, rounds: Integers, devices: int, present: Bools | None) -> tuple[Floats, Floats]:
    n, count, clip = design.directions.count, len(rounds), design.link.clip
    who = None if present is None else np.repeat(present[None], count, axis=0)
    columns, largest = [], np.zeros(count)
    payloads = np.zeros((count, devices, n))
    for k in range(devices):
        for j in range(n):
            payloads[:, k, j] = clip
            up = link.observe(rounds, payloads, who)
            payloads[:, k, j] = -clip
            down = link.observe(rounds, payloads, who)
            payloads[:, k, j] = 0.0
            columns.append(0.5 * (up.astype(np.complex128) - down))
            largest = np.maximum(largest, np.abs(up).max(axis=1))
    response = np.stack(columns, axis=2)  # [B, D, K n]
    gram = (response.conj().transpose(0, 2, 1) @ response).real
    charging = design.charging
    noise = np.broadcast_to(design.artificial_noise, charging.sounding.caps.shape)[rounds]
    # What rounding alone makes of an inner product: last bits of what is observed and of what adds up to it, noise included.
    own = np.sqrt(np.maximum(np.einsum("bii->bi", gram), 0.0)).sum(axis=1) * (1.0 + 5.0 * noise)
    floor = np.square(4.0 * _EPS * (largest + own)) * response.shape[1]
    quiet = np.repeat(charging.victims, n)
    exposed = _exposed(gram, noise, charging.n0 / 2.0, quiet, floor)
    found = np.empty((count, devices))
    for k in range(devices):
        block = exposed[:, k * n : (k + 1) * n, k * n : (k + 1) * n]
        found[:, k] = block[:, 0, 0] if n == 1 else [_largest(one, design.directions.joint) for one in block]
    found = np.where(charging.victims, np.maximum(charging.ratio**2 * found, 0.0), 0.0)
    # An error of the last bit of the largest number in every sample: along the response, and on its own.
    norm = np.sqrt(np.maximum(np.einsum("bii->bi", gram), 0.0)).reshape(count, devices, n).max(axis=2)
    last = (_EPS * (largest + own))[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        doubt = found * (2.0 * last * norm + response.shape[1] * np.square(last)) / np.square(norm)
    return found, np.where(norm > 0, doubt, 0.0)


def _largest(block: Floats, joint: bool) -> float:
    """Largest quadratic form over changes whose norm is that of the sensitivity."""
    if not np.isfinite(block).all():
        return float("inf")
    if joint:
        return float(np.linalg.eigvalsh(block)[-1])
    return largest_over_signs(block) / len(block)


def _exposed(gram: Floats, noise: Floats, variance: float, quiet: Bools, floor: Floats) -> Floats:
    """R' C^-1 R [B, Kn, Kn] from inner products R' R, per-symbol noise [B] and white noise of ``variance``."""
    out = np.empty_like(gram)
    silent = noise == 0
    with np.errstate(divide="ignore", invalid="ignore"):
        out[silent] = np.where(gram[silent] == 0, 0.0, gram[silent] / variance)
    for b in np.flatnonzero(~silent):
        inner = gram[b][np.ix_(quiet, quiet)]
        cross = gram[b][:, quiet]
        values, vectors = np.linalg.eigh(inner)
        kept = values > _TOLD_APART * floor[b] if variance == 0 else values > floor[b]
        turned = cross @ vectors[:, kept]
        values = values[kept]
        if variance > 0:
            out[b] = (gram[b] - (turned / (values + variance / noise[b] ** 2)) @ turned.T) / variance
        else:  # what the noise of devices does not reach is seen without any; victims lie within its reach
            out[b] = (turned / np.square(noise[b] * values)) @ turned.T
    return out
