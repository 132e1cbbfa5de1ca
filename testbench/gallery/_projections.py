"""Measure projected gradients: of every training example, along many directions, at several points of a noise-free run."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from learning.federation import Federation
from learning.journal import Journal
from learning.objective import Objective
from learning.parameters import trainable
from learning.perturbation import Perturbation
from learning.uplink import NoiseFreeUplink
from testbench.errors import TestbenchError
from testbench.runner import Watcher, prepare
from testbench.scenario import Scenario

__all__ = ["Study", "load_study", "measure", "reversal_probabilities"]

Floats = NDArray[np.float64]

#: Directions of the study are those of rounds from here on, which no run uses.
_STUDY_ROUND = 1 << 40


@dataclass(frozen=True)
class Study:
    """``projections`` [C, S, N]: checkpoint, direction, training example; ``rounds`` [C]: of the checkpoints.

    ``loss_rounds`` and ``losses`` [L]: mean training loss along the run; ``batch_projections`` [T, K]: what devices measured
    in it, before clipping. ``clip``, ``batch_size`` and ``seed``: of the scenario.
    """

    projections: Floats
    rounds: NDArray[np.int64]
    loss_rounds: NDArray[np.int64]
    losses: Floats
    batch_projections: Floats
    clip: Floats
    batch_size: NDArray[np.int64]
    seed: NDArray[np.int64]

    def save(self, path: Path) -> None:
        """Keep the study as plain arrays."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **{field.name: getattr(self, field.name) for field in fields(self)})


def load_study(path: Path) -> Study:
    """Read what :meth:`Study.save` wrote; raises :class:`testbench.errors.TestbenchError` where something lacks."""
    try:
        with np.load(path, allow_pickle=False) as found:
            return Study(**{field.name: found[field.name] for field in fields(Study)})
    except (OSError, ValueError, KeyError) as error:
        raise TestbenchError(f"{path} does not hold the measurements that F9 is drawn from: {error}") from error


def measure(scenario: Scenario, checkpoints: int, directions: int, tell: Callable[[int, int], None]) -> Study:
    """Run the scenario without noise and measure at ``checkpoints`` rounds, evenly spread, along ``directions`` directions."""
    data, build = prepare(scenario, Watcher())
    objective = build()
    total = scenario.federation.rounds
    at = np.unique(np.linspace(0, total, checkpoints).astype(np.int64))
    loss_at = np.unique(np.linspace(0, total, 41).astype(np.int64))
    steps, done = len(at) * directions + total, 0
    projections: list[Floats] = []
    losses: list[float] = []
    batches: list[Floats] = []
    with Journal(":memory:") as journal:
        federation = Federation(
            objective, data, scenario.federation, scenario.zeroth_order.model_copy(update={"clip": 1e30}),
            NoiseFreeUplink("analog"), journal,
        )  # fmt: skip
        dataset, count = objective.prepare(data.train), len(data.train)
        rounds = federation.run()
        for index in range(total + 1):
            if index in loss_at:
                losses.append(float(_losses(objective, dataset, count).mean()))
            if index in at:
                found = []
                for direction in range(directions):
                    found.append(_project(objective, dataset, count, scenario, direction))
                    done += 1
                    tell(done, steps)
                projections.append(np.stack(found))
            if index < total:
                batches.append(next(rounds).payloads)
                done += 1
                tell(done, steps)
    return Study(
        np.stack(projections), at, loss_at, np.array(losses), np.stack(batches), np.array(scenario.zeroth_order.clip),
        np.array(scenario.federation.batch_size), np.array(scenario.seed),
    )  # fmt: skip


def _losses(objective: Objective, dataset: object, count: int) -> Floats:
    with torch.inference_mode():
        parts = [
            objective.losses(dataset, rows).float().cpu().numpy() for rows in np.array_split(np.arange(count), -(-count // 256))
        ]
    return np.concatenate(parts).astype(np.float64)


def _project(objective: Objective, dataset: object, count: int, scenario: Scenario, direction: int) -> Floats:
    """(L(w + mu z) - L(w - mu z)) / (2 mu) of every example; the weights are as before afterwards."""
    weights = trainable(objective.model)
    kept = [vector.flat.clone() for vector in weights]
    z = Perturbation(weights, scenario.seed, scenario.zeroth_order.perturbation)
    mu, index = np.float32(scenario.zeroth_order.mu), _STUDY_ROUND + direction
    z.add(index, mu)
    plus = _losses(objective, dataset, count)
    z.add(index, np.float32(-2.0 * float(mu)))
    minus = _losses(objective, dataset, count)
    for vector, values in zip(weights, kept, strict=True):
        vector.flat.copy_(values)
    return (plus - minus) / (2.0 * float(mu))


def reversal_probabilities(projections: Floats, batch_size: int, draws: int, seed: int) -> tuple[Floats, Floats]:
    """(e [C, S], batch means [C, S, draws]): how often the mean of a batch has another sign than that of all examples.

    Batches are drawn without replacement, the same ones for all checkpoints and directions.
    """
    generator = np.random.Generator(np.random.Philox(key=[seed, 9]))
    count = projections.shape[-1]
    size = min(batch_size, count)
    rows = np.argpartition(generator.random((draws, count)), size - 1, axis=1)[:, :size]
    means = np.stack([projections[:, :, row].mean(axis=-1) for row in rows], axis=-1)
    true = projections.mean(axis=-1, keepdims=True)
    return (np.sign(means) != np.sign(true)).mean(axis=-1), means
