"""What the devices send in an open-loop test, and what the protocol's faults make of it. Every draw is keyed.

Scalars follow the plan's :class:`testbench.stress.plan.PayloadLaw`. Faults, each drawn per device and round:

- late: the burst misses its slot, so the device is silent in round t; in round t + late_rounds its stale scalar is on the air
  instead of the fresh one, unless that burst is late as well;
- lost broadcast: the device does not hear the estimate of round t and is out of step from round t + 1 until the next multiple
  of ``resync_every``; meanwhile it answers a scalar that is independent of everybody else's (assumed: the worst case);
- wrong seed: the device answers along another direction, so that its scalar is independent of everybody else's.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phy.draws import KeyedDraws
from testbench.stress.axes import ProtocolFaults
from testbench.stress.plan import PayloadLaw


@dataclass(frozen=True)
class Sent:
    """``fresh`` [B, K, n]: what devices should send; ``on_air`` [B, K, n] and ``present`` [B, K] (None: all): what they do."""

    fresh: NDArray[np.float64]
    on_air: NDArray[np.float64]
    present: NDArray[np.bool_] | None


def session_seed(seed: int, session: int) -> int:
    """Seed of one session: of payloads, faults and the link's own draws. Shared by all contestants and values."""
    digest = hashlib.blake2b(f"stress/{seed}/{session}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def send(law: PayloadLaw, faults: ProtocolFaults, clip: float, seed: int, rounds: int, devices: int, entries: int = 1) -> Sent:
    """Payloads of rounds 0 .. rounds - 1 of a session, in which everybody starts in step."""
    draws = KeyedDraws(seed)
    common = np.sqrt(law.correlation) * _normals(draws, "st_comm", rounds, 1, entries)
    own = np.sqrt(1.0 - law.correlation) * _normals(draws, "st_own", rounds, devices, entries)
    fresh = _limited(law, clip, common + own)
    on_air, present = fresh, None
    strange = np.zeros((rounds, devices), np.bool_)
    if faults.wrong_seed_probability > 0:
        strange |= draws.uniform("st_seed", devices, 0, rounds) < faults.wrong_seed_probability
    if faults.lost_broadcast_probability > 0:
        lost = draws.uniform("st_bcast", devices, 0, rounds) < faults.lost_broadcast_probability
        strange |= out_of_step(lost, faults.resync_every)
    if strange.any():
        other = _limited(law, clip, _normals(draws, "st_other", rounds, devices, entries))
        on_air = np.where(strange[:, :, None], other, on_air)
    if faults.late_probability > 0:
        late = draws.uniform("st_late", devices, 0, rounds) < faults.late_probability
        step = faults.late_rounds
        if step < rounds:
            stale = on_air.copy()
            stale[step:] = np.where(late[:-step, :, None], on_air[:-step], on_air[step:])
            on_air = stale
        present = ~late
    return Sent(fresh, on_air, present)


def out_of_step(lost: NDArray[np.bool_], resync_every: int) -> NDArray[np.bool_]:
    """Who is out of step in each round, for broadcasts lost [B, K] at the end of each round. [B, K]."""
    rounds = len(lost)
    heard_before = np.zeros_like(lost)
    heard_before[1:] = lost[:-1]
    block = resync_every or rounds
    found = np.zeros_like(lost)
    for first in range(0, rounds, block):
        part = heard_before[first : first + block].copy()
        part[0] = False  # at a resynchronisation everybody catches up
        found[first : first + block] = np.logical_or.accumulate(part, axis=0)
    return found


def _limited(law: PayloadLaw, clip: float, normal: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(clip * np.clip(law.sigma * normal, -1.0, 1.0), np.float64)


def _normals(draws: KeyedDraws, purpose: str, rounds: int, devices: int, entries: int) -> NDArray[np.float64]:
    """Real standard normals [rounds, devices, entries]; a complex one serves two entries."""
    pairs = (entries + 1) // 2
    drawn = draws.complex_normal(purpose, devices, 0, rounds * pairs, 1)[:, 0]
    drawn = drawn.reshape(rounds, pairs, devices).transpose(0, 2, 1)
    both = np.stack([drawn.real, drawn.imag], axis=-1).reshape(rounds, devices, 2 * pairs)
    return np.asarray(both[:, :, :entries] * np.sqrt(2.0), np.float64)
