"""Evaluate one unit of work: the only place where a stress test meets the link."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from testbench.stress.metrics import batch_sums
from testbench.stress.payloads import send, session_seed
from testbench.stress.points import Point, Unit


@dataclass(frozen=True)
class Measured:
    """What a unit yields: sums per batch, the errors of its rounds, and constants of the link or of a run."""

    unit: str
    batches: list[dict[str, float]]
    errors: NDArray[np.float32]
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed:
    """A unit that could not be evaluated, and why."""

    unit: str
    point: str
    reason: str


def evaluate(unit: Unit) -> Measured | Failed:
    """Measure a unit; what goes wrong becomes a sentence, so that the other points are finished."""
    try:
        if unit.training is not None:
            from testbench.stress.accuracy import train

            return Measured(unit.id, [], np.zeros(0, np.float32), train(unit.training))
        return measure(unit)
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        return Failed(unit.id, unit.point.id, text)


def measure(unit: Unit) -> Measured:
    """Send the scalars of the unit's sessions through the link, without learning. Raises what the link raises."""
    from phy.accounting import channel_uses
    from phy.link import Link

    point = unit.point
    config = point.config
    batches: list[dict[str, float]] = []
    errors: list[NDArray[np.float32]] = []
    facts: dict[str, Any] = {}
    length = point.session_rounds()
    for session in range(unit.first, unit.last):
        rounds = min(length, point.rounds - session * length)
        seed = session_seed(point.seed, session)
        link = Link(config, seed)
        sent = send(point.payload, point.faults, config.clip, seed, rounds, point.devices, point.entries)
        result = link.aggregate(np.arange(rounds), sent.on_air, sent.present)
        target = perfect(point, sent.fresh)
        mean = sent.fresh.mean(axis=1)
        parts = max(1, point.batches // point.sessions)
        for at in np.array_split(np.arange(rounds), min(parts, rounds)):
            diagnostics = {name: values[at] for name, values in result.diagnostics.items()}
            sums, rms = batch_sums(result.estimates[at], target[at], mean[at], result.lost[at], diagnostics)
            batches.append(sums)
            errors.append(rms)
        facts = {name: link.description.get(name) for name in ("pilot_symbols_per_device", "n0")}
        uses = channel_uses(config, point.devices, point.entries)
        facts["channel_uses_per_scalar"] = uses["payload"] / point.entries
    return Measured(unit.id, batches, np.concatenate(errors), facts)


def perfect(point: Point, fresh: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a perfect link returns for fresh payloads [B, K, n] of all devices. [B, n]."""
    from phy.discovery import find

    config = point.config
    rounds, devices, entries = fresh.shape
    rows = fresh.transpose(0, 2, 1).reshape(rounds * entries, devices)
    target = find("schemes", config.scheme)(config).target(rows, None)
    if not math.isfinite(float(target.sum())):
        raise ValueError(f"the scheme {config.scheme} has no target for these payloads")
    return np.asarray(target.reshape(rounds, entries), np.float64)
