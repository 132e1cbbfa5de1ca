"""What a coordinator's desk is given and gives: the run's card, the place for deposits, and what a slot brought."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bridge.fleet.messages import Seated

__all__ = ["Air", "Collected", "RunCard"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class RunCard:
    """What a run is, as far as its devices are concerned.

    Attributes:
        run: 64 hexadecimal digits that tell this run from others.
        devices: how many places there are.
        n: scalars per device and round.
        clip: largest magnitude of a scalar.
        rounds: of the whole run.
        base_weights_sha256: of the model that every device must hold.
        identity: what else must be the same for the losses to be; text by name.
        task_sha256: of the data that devices share out, unless they bring their own.
        settings: plain data that devices compute with.
        software: name and version of this side.
    """

    run: str
    devices: int
    n: int
    clip: float
    rounds: int
    base_weights_sha256: str
    identity: Mapping[str, str]
    task_sha256: str
    settings: Mapping[str, Any]
    software: str


class Air:
    """Where devices deposit their scalars, if not with the coordinator, and the tokens that they are given for it.

    Args:
        endpoint: the air server's address as devices reach it.
        server_key: its public CURVE key; None: it has none.
        box: the box that they name.
        token: of a device and the generation of its process.
    """

    def __init__(self, endpoint: str, server_key: str | None, box: str, token: Callable[[int, int], str]) -> None:
        self._endpoint, self._server_key, self._box, self._token = endpoint, server_key, box, token
        self._generations: dict[int, tuple[int, str]] = {}  # of the latest process in each place: how many before, and which

    def seated(self, number: int, instance: str, session: str, restart: bool) -> Seated:
        """What a process is told that takes the place `number`; the tokens of those before it are void once it deposits."""
        generation, latest = self._generations.get(number, (-1, ""))
        if latest != instance:
            generation += 1
            self._generations[number] = (generation, instance)
        return Seated(
            session=session,
            restart=restart,
            air=self._endpoint,
            server_key=self._server_key,
            box=self._box,
            generation=generation,
            token=self._token(number, generation),
        )


@dataclass(frozen=True)
class Collected:
    """What a slot brought: payloads float64 [K, n], zero for those who were not `present` [K], and their reports.

    Where scalars lie at the air, payloads only stand for them: zero, or NaN where a device had no number to send; reports are
    NaN.
    """

    payloads: Floats
    present: Bools
    mean_loss: float
    clipped_fraction: float
