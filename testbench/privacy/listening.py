"""What an auditor at the receiver's antennas makes of a run: every round's samples, weighed for what devices add to them.

Device k adds p_k h_k to what is received in a round, p_k being its payload and h_k complex numbers, one per statistic (symbol
fidelity) or sample (waveform) of every antenna, and the noise is of covariance C as the scenario states it: white of variance
N0, and artificial noise of devices besides. Whatever the auditor looks for in direction d is told by Re <C^-1 d, y>, the
matched filter over all antennas at once, and no number of a round says more of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phy.errors import BadPayload, PhyError
from testbench.errors import TestbenchError
from testbench.privacy.tuning import InProcessAir
from testbench.privacy.whitening import whitened

__all__ = ["Heard", "listen"]

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]

_FAINT = 1e-4  # of full scale: below that, what is sought is lost in rounding
_ELEMENTS = 1 << 21  # complex numbers of responses held at once


@dataclass(frozen=True)
class Heard:
    """A run at the receiver's antennas, in units of the noise that is stated; all float64.

    :param along: [T] what was received, less what is known, along what ``sought`` payloads add; NaN where nobody is heard
    :param expected: [T] those payloads' own share in it
    :param energy: [T, K] |C^-1/2 h_k|^2: (a device's distance between two payloads)^2 = their difference squared times this
    :param mean: [T] what was received, less what is known, along the devices' mean response
    :param mixing: [T, K] what a payload of 1 adds to ``mean``
    :param numbers: real numbers received per round
    """

    along: Floats
    expected: Floats
    energy: Floats
    mean: Floats
    mixing: Floats
    numbers: int


def listen(air: InProcessAir, payloads: Floats, known: Floats, sought: Floats, artificial: Floats) -> Heard:
    """Weigh the run in which ``payloads`` [T, K] were sent.

    :param known: [T, K] the part of payloads that the auditor knows, and subtracts
    :param sought: [T, K] the part that it looks for
    :param artificial: [T] standard deviation of every device's own noise, in units of full scale
    :raises TestbenchError: a link whose receiver keeps no statistics to look at
    """
    rounds, devices = payloads.shape
    parts: list[Heard] = []
    first, step = 0, 16
    while first < rounds:
        block = np.arange(first, min(first + step, rounds))
        part = _block(air, block, payloads[block], known[block], sought[block], artificial[block])
        parts.append(part)
        first += len(block)
        step = max(1, _ELEMENTS // (devices * max(1, part.numbers // 2)))
    return Heard(
        along=np.concatenate([part.along for part in parts]),
        expected=np.concatenate([part.expected for part in parts]),
        energy=np.concatenate([part.energy for part in parts]),
        mean=np.concatenate([part.mean for part in parts]),
        mixing=np.concatenate([part.mixing for part in parts]),
        numbers=parts[0].numbers,
    )


def _block(air: InProcessAir, block: NDArray[np.int64], payloads: Floats, known: Floats, sought: Floats, own: Floats) -> Heard:
    try:
        seen = air.observe(block, payloads) - air.background(block, payloads.shape[1])
    except BadPayload:
        raise
    except PhyError as error:
        raise TestbenchError(f"the one-run audit listens at the antennas: {error}; take another link.receiver") from None
    responses = _responses(air, block, payloads.shape[1])
    left = seen - np.einsum("tdk,tk->td", responses, known)
    noise = responses * (air.clip * own)[:, None, None]
    target = np.einsum("tdk,tk->td", responses, sought)
    average = responses.mean(axis=2)
    # Where coins cancel there is no direction to aim at, but noise to be heard all the same.
    silent = _inner(target, target) <= np.square(_FAINT * air.clip) * _inner(average, average)
    direction = np.where(silent[:, None], average, target)
    aimed, weighed = (_unit(whitened(each, noise, air.n0), each) for each in (direction, average))
    spread = np.stack([whitened(responses[..., k], noise, air.n0) for k in range(payloads.shape[1])], axis=-1)
    return Heard(
        along=np.where(_inner(aimed, aimed) > 0.0, _inner(aimed, left), np.nan),
        expected=_inner(aimed, target),
        energy=np.einsum("tdk,tdk->tk", spread.conj(), responses).real,
        mean=_inner(weighed, left),
        mixing=np.einsum("td,tdk->tk", weighed.conj(), responses).real,
        numbers=2 * seen.shape[1],
    )


def _responses(air: InProcessAir, block: NDArray[np.int64], devices: int) -> Complexes:
    """What a payload of 1 of each device adds, [B, D, K]: the same noise twice, which the difference is free of."""
    found = []
    for device in range(devices):
        payloads = np.zeros((len(block), devices))
        payloads[:, device] = air.clip
        found.append((air.observe(block, payloads) - air.observe(block, -payloads)) / (2.0 * air.clip))
    return np.stack(found, axis=-1)


def _unit(weights: Complexes, direction: Complexes) -> Complexes:
    """Weights [B, D] scaled so that noise weighs 1; zero where the direction is."""
    size = np.sqrt(np.maximum(_inner(weights, direction), 0.0))
    return weights / np.where(size > 0, size, 1.0)[:, None]


def _inner(first: Complexes, second: Complexes) -> Floats:
    return np.asarray(np.einsum("td,td->t", first.conj(), second).real)
