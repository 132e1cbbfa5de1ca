"""The opening of a stream: where each branch is, measured, and compared with what the settings and an earlier opening say.

A flowgraph that runs already may hold samples of an earlier run, more in one branch than in another where it adds by count.
Such a branch looks like one with a delay. The two are told apart by an experiment: zeros sent to the *other* branches alone let
a sum go on if samples wait there, and are swallowed if they do not.
"""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bridge.streams.config import StreamConfig
from bridge.streams.errors import OutOfStep, StreamBroken, StreamConfigError
from bridge.streams.proof import Branch, Pattern, metric_at, noise_power, search

if TYPE_CHECKING:
    from bridge.streams.exchange import StreamExchange

__all__ = ["Proof", "opened", "opening_samples"]

Samples = npt.NDArray[np.complex64]

# Lengths of the patterns, tried one after the other: each is found at 9 dB less than the one before.
_LENGTHS = (1024, 8192, 65536)
_GAP, _REST = 256, 512
# Median power of what is heard below which noise cannot hide a pattern.
_QUIET = 1e-4
# Zeros that push patterns out of a flowgraph which holds samples of an earlier run.
_PUSHES = (16384, 131072)
# A whole pattern block of all devices is no longer than this.
_LONGEST = 1 << 22
# A stated latency may be off by so much: devices have timing offsets of their own, which the receiver removes.
_NEAR = 32
# By how much the number of samples that return may differ from that sent, as a share.
_RATE = 0.02


@dataclass(frozen=True)
class Proof:
    """What an opening measured.

    ``branches``: one per device, at the antenna that hears it best. ``latency_samples``: by which a slot is looked for later.
    ``withheld_samples``: what the flowgraph keeps until more follows; negative where more returned than was sent, by a block
    that puts samples in front or from an earlier run. ``n0``: variance of one complex sample of noise, ``level`` divided out.
    ``metrics``: share of a pattern's power that it explains, per branch. ``pattern_samples``: the length that was found.
    ``realigned``: zeros sent to each device's branch to bring the branches into step again.
    """

    branches: tuple[Branch, ...]
    latency_samples: int
    withheld_samples: int
    n0: float
    metrics: tuple[float, ...]
    pattern_samples: int
    realigned: tuple[int, ...]

    def summary(self) -> dict[str, float]:
        """Numbers of all branches together, by name."""
        lags = [branch.lag_samples for branch in self.branches]
        power = np.square(np.abs([branch.gain for branch in self.branches]))
        return {
            "stream_latency_samples": float(self.latency_samples),
            "stream_withheld_samples": float(self.withheld_samples),
            "stream_step_samples": float(max(lags) - min(lags)),
            "stream_gain": float(power.mean()),
        }


def opening_samples(devices: int) -> int:
    """How many samples an opening sends to every device, where nothing is odd."""
    return Pattern(devices, _LENGTHS[0], _GAP, _REST, 0).samples


def opened(stream: StreamExchange, config: StreamConfig, until: float, *, fresh: bool, before: Proof | None) -> Proof:
    """Measure every branch; bring branches that hold samples of an earlier run into step; compare with what is stated.

    Raises:
        StreamSilent: nothing came back before `until`.
        StreamBroken: another number of samples returns than is sent.
        StreamConfigError: a branch does not come back, or a setting says another number than was measured.
        OutOfStep: branches are out of step and cannot be brought into step from here.
    """
    pattern, tapes, branches = _located(stream, config, until, fresh)
    lags = [branch.lag_samples for branch in branches]
    realigned = [0] * stream.devices
    wanted = [0] * stream.devices if before is None else [branch.lag_samples for branch in before.branches]
    off = [lag - want for lag, want in zip(lags, wanted, strict=True)]
    slack = 1 + max(branch.spread_samples for branch in branches)
    if max(off) - min(off) > (0 if before is None else slack):
        realigned = _aligned(stream, off, until, fresh)
        if any(realigned):
            pattern, tapes, branches = _located(stream, config, until, fresh)
            lags = [branch.lag_samples for branch in branches]
            off = [lag - want for lag, want in zip(lags, wanted, strict=True)]
        if before is not None and max(off) - min(off) > slack:
            k = int(np.argmax(np.abs(np.array(off) - int(np.median(off)))))
            raise OutOfStep(
                f"the branch of device {k} is {off[k] - int(np.median(off)):+d} samples away from where it was; restart the "
                "flowgraph"
            )
        if any(realigned):
            logging.getLogger("pairzero.stream").warning(
                "the flowgraph held samples of an earlier run; its branches are in step again by %s zeros more",
                ", ".join(map(str, realigned)),
            )
    if not fresh and 0 < min(lags) > min(stream.ledger.received) - stream.ledger.sent:
        stream.settle()  # samples of an earlier run that came in front push as many of ours out behind, perhaps only now
    withheld = _withheld(stream, config, until)
    latency = min(lags)
    stated = config.latency_samples
    if isinstance(stated, int):
        # Samples of an earlier run came out in front of ours, which is no delay of the flowgraph's.
        stale = max(0, -withheld)
        if abs(latency - stale - stated) > _NEAR and abs(latency - stated) > _NEAR:
            raise StreamConfigError(
                f"the flowgraph delays by {latency - stale} samples and stream.latency_samples says {stated}; set "
                f"stream.latency_samples = {latency - stale}, or leave it out: it is measured"
            )
        latency = stated + (stale if abs(latency - stale - stated) <= _NEAR else 0)
    metrics = []
    for branch in branches:
        at = pattern.start(branch.device) + branch.lag_samples - tapes.lag
        known = pattern.sequence(branch.device)
        metrics.append(metric_at(known, tapes.heard[branch.antenna][at : at + len(known)]))
    noise = [noise_power(pattern, heard, [_moved(b, -tapes.lag) for b in branches], config.level) for heard in tapes.heard]
    return Proof(tuple(branches), latency, withheld, float(np.mean(noise)), tuple(metrics), pattern.length, tuple(realigned))


@dataclass(frozen=True)
class _Tapes:
    """What came back of a block, per antenna, and the lag of a sample that stands where it was sent."""

    heard: list[Samples]
    lag: int


def _moved(branch: Branch, by: int) -> Branch:
    return Branch(
        branch.device,
        branch.antenna,
        branch.lag_samples + by,
        branch.gain,
        branch.cycles_per_sample,
        branch.stands_out,
        branch.spread_samples,
    )


def _located(stream: StreamExchange, config: StreamConfig, until: float, fresh: bool) -> tuple[Pattern, _Tapes, list[Branch]]:
    """Every device's branch at the antenna that hears it best; lags between the counts of both sides."""
    stated = config.withheld_samples if isinstance(config.withheld_samples, int) else None
    missing: list[int] = []
    for attempt, length in enumerate((_LENGTHS[0], *_LENGTHS)):  # once more as it was: a radio may have been late
        pattern = Pattern(stream.devices, length, _GAP, _REST, secrets.randbits(62))
        if pattern.samples > _LONGEST:
            break
        at, since = stream.ledger.sent, list(stream.ledger.received)
        heard = stream.trip(pattern.block(config.level), until, stated)
        for push in (0, *(() if fresh or attempt else _PUSHES)):
            if push:
                more = stream.trip(np.zeros((stream.devices, push), np.complex64), until, stated)
                heard = [np.concatenate(pair) for pair in zip(heard, more, strict=True)]
            best, missing = _best(pattern, heard, [first - at for first in since], config.level)
            if not missing:
                _refuse_another_rate(stream, until)
                # Antennas that started to be heard at different counts are told apart by their own.
                lag = since[0] - at
                return pattern, _Tapes(heard, lag), [best[k] for k in range(stream.devices)]
            _refuse_another_rate(stream, until, always=True)
        # Longer ones help against noise, and where there is next to none, the pattern is not there.
        usual = max(float(np.median(np.square(np.abs(tape)))) if len(tape) else 0.0 for tape in heard)
        if attempt and usual < _QUIET * config.level**2:
            break
    k, whose = missing[0], "" if len(missing) < stream.devices else ", nor that of any device"
    raise StreamConfigError(
        f"the pattern of device {k} does not come back{whose}: its "
        "branch is not connected, or noise, a changed sample type or a block that holds samples hides it; compare with the "
        "passthrough flowgraph (pairzero sdr start passthrough)"
    )


def _best(pattern: Pattern, heard: Sequence[Samples], lags: Sequence[int], level: float) -> tuple[dict[int, Branch], list[int]]:
    best: dict[int, Branch] = {}
    for k in range(pattern.devices):
        for m, tape in enumerate(heard):
            found = search(pattern, k, m, tape, level)
            if found is not None and (k not in best or abs(found.gain) > abs(best[k].gain)):
                best[k] = _moved(found, lags[m])
    return best, [k for k in range(pattern.devices) if k not in best]


def _refuse_another_rate(stream: StreamExchange, until: float, *, always: bool = False) -> None:
    """Raise StreamBroken where of many samples more or fewer return."""
    ledger = stream.ledger
    if not always and abs(min(ledger.received) - ledger.sent) <= _RATE * ledger.sent:
        return
    block = 16384
    received, sent = list(ledger.received), ledger.sent
    # Twice, so that what is kept back once does not count.
    for _ in range(2):
        before = [now - then for now, then in zip(ledger.received, received, strict=True)]
        stream.trip(np.zeros((stream.devices, block), np.complex64), until, None)
        gained = [now - then - first for now, then, first in zip(ledger.received, received, before, strict=True)]
    for antenna, count in enumerate(gained):
        if abs(count / block - 1.0) > _RATE:
            raise StreamBroken(
                f"antenna {antenna}: {ledger.received[antenna] - received[antenna]} samples returned of {ledger.sent - sent} "
                "sent; sample rates at both ends must match, so take out what resamples, and nobody else may send there"
            )


def _aligned(stream: StreamExchange, off: Sequence[int], until: float, fresh: bool) -> list[int]:
    """Zeros that were sent to each branch to bring them into step; none where differences are delays."""
    if fresh:
        return [0] * len(off)
    pads = [max(off) - lag for lag in off]
    gained = stream.pad(pads, until)
    if gained >= max(pads):
        return pads
    # They were swallowed: the others have to follow.
    stream.pad([max(pads) - pad for pad in pads], until)
    for m in range(stream.antennas):
        stream.ledger.received[m] -= max(pads)
    return [0] * len(off)


def _withheld(stream: StreamExchange, config: StreamConfig, until: float) -> int:
    """How many samples the flowgraph keeps, negative where it returned more than it got.

    Raises StreamConfigError where the setting says fewer.
    """
    ledger = stream.ledger
    seen = [ledger.sent - min(ledger.received)]
    stated = config.withheld_samples
    if isinstance(stated, int):
        if seen[0] > stated:
            raise StreamConfigError(
                f"the flowgraph keeps {seen[0]} samples until more follow and stream.withheld_samples says {stated}; set "
                f"stream.withheld_samples = {seen[0]}, or leave it out: it is measured"
            )
        return stated if seen[0] >= 0 else seen[0]
    if seen[0] <= 0:
        return min(seen[0], ledger.sent - max(ledger.received))
    returned = [min(ledger.received)]
    for count in (4099, 2347):
        stream.trip(np.zeros((stream.devices, count), np.complex64), until, None)
        seen.append(ledger.sent - min(ledger.received))
        returned.append(min(ledger.received))
    if len(set(seen)) == 1:
        return seen[0]
    # A block that passes whole vectors keeps another number each time, up to a vector less one on top of what others keep.
    return max(seen) + math.gcd(*returned) - 1
