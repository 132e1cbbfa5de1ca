"""Short fine-tuning runs in this process, for experiments that need many: no run folder, no server, the same numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learning.data import TaskData
from learning.federation import Federation
from learning.journal import Journal
from learning.objective import Objective
from learning.privacy.errors import PrivacyError
from learning.privacy.postprocess import Broadcast, Processing
from learning.uplink import Aggregate, NoiseFreeUplink, Uplink
from phy.backends import in_process
from phy.config import LinkConfig
from phy.config_listener import ListenerConfig
from phy.link import Link
from testbench.privacy.design import Design
from testbench.scenario import Scenario

__all__ = ["InProcessAir", "Tuned", "tune"]

Floats = NDArray[np.float64]

_NOISELESS_DB = 300.0


class InProcessAir:
    """The link without a server between: the same bits as over any transport.

    :param noise_std: [T] of the estimate's noise, which ``wiener`` needs: it is public, as it follows from the schedule
    :param estimate: free post-processing of what was received: none, clip, or wiener (shrink, then clip)
    :param listener: the adversary's own antennas, which :meth:`observe` hears as well
    """

    def __init__(
        self,
        link: LinkConfig,
        seed: int,
        estimate: Processing = "none",
        noise_std: Floats | None = None,
        directions: int = 1,
        joint: bool = False,
        listener: ListenerConfig | None = None,
    ) -> None:
        if estimate == "wiener" and noise_std is None:
            raise PrivacyError("wiener needs the standard deviation of the estimate's noise in each round")
        self._config, self._seed = in_process(link), seed
        self._listener = listener
        self._link = Link(self._config, seed, listener=listener)
        self._noise_std = noise_std
        self._broadcast = Broadcast(estimate, 1.0 if link.scheme == "sign" else link.clip, directions, joint)
        self._silent: Link | None = None
        #: round -> estimate before post-processing, which is what the server as an adversary has
        self.received: dict[int, float] = {}

    @classmethod
    def of(cls, planned: Design, seed: int) -> InProcessAir:
        """The air of a run with this plan."""
        several = planned.directions
        free = (planned.settings.estimate, planned.estimate_std)
        return cls(planned.link, seed, *free, several.count, several.joint, planned.listener)

    @property
    def clip(self) -> float:
        """Full scale of a payload."""
        return self._config.clip

    @property
    def n0(self) -> float:
        """Variance of a complex sample's noise, as the link states it."""
        return self._config.n0

    def observe(self, rounds: NDArray[np.int64], payloads: Floats) -> NDArray[np.complex128]:
        """What the adversary's antennas get of payloads [B, K] in rounds [B], noise included: [B, D]; the run's own bits."""
        return self._link.observe(rounds, payloads[:, :, None]).astype(np.complex128)

    def background(self, rounds: NDArray[np.int64], devices: int) -> NDArray[np.complex128]:
        """What is received without payload and noise, such as a burst's known symbols: [B, D]."""
        if self._config.fidelity != "waveform":
            return np.zeros((len(rounds), 1), np.complex128)
        if self._silent is None:
            config = self._config
            pilots = config.snr_max_db if config.csi.pilot_snr_db is None else config.csi.pilot_snr_db
            changes = {
                "snr_max_db": _NOISELESS_DB,
                "power": config.power.model_copy(update={"artificial_noise": 0.0}),
                "csi": config.csi.model_copy(update={"pilot_snr_db": pilots}),
            }
            self._silent = Link(config.model_copy(update=changes), self._seed, listener=self._listener)
        return self._silent.observe(rounds, np.zeros((len(rounds), devices, 1))).astype(np.complex128)

    def aggregate(self, round_index: int, payloads: Floats, present: NDArray[np.bool_] | None = None) -> Aggregate:
        """One round; see :class:`learning.uplink.Uplink`."""
        who = None if present is None else present[None]
        heard = self._link.aggregate(np.array([round_index]), payloads[None], who)
        estimate, lost = heard.estimates[0], bool(heard.lost[0])
        self.received[round_index] = float(estimate[0])
        if not lost:
            std = math.nan if self._noise_std is None else float(self._noise_std[round_index])
            estimate = np.array(self._broadcast.apply(estimate.tolist(), std * std if math.isfinite(std) else math.inf))
        return Aggregate(estimate, lost, {name: float(values[0]) for name, values in heard.diagnostics.items()})


@dataclass(frozen=True)
class Tuned:
    """A short run: held-out accuracy and loss after ``rounds`` [E], and what was broadcast in every round [T].

    ``estimates``: applied; ``received``: before post-processing; NaN in a lost round; of the first direction, if several.
    ``amplitudes``: aligned amplitude, 0 in a lost or silent round; ``active``: devices; ``payload_means``: of what was sent;
    ``payloads`` [T, K]: of the first direction. NaN in rounds that a run did not come to.
    """

    rounds: NDArray[np.int64]
    accuracy: Floats
    loss: Floats
    estimates: Floats
    received: Floats
    amplitudes: Floats
    active: Floats
    payload_means: Floats
    payloads: Floats


def tune(
    scenario: Scenario,
    data: TaskData,
    objective: Objective,
    uplink: Uplink | None,
    every: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Tuned:
    """Fine-tune ``objective`` as ``scenario`` says over ``uplink`` (None: noise-free), measuring every so many rounds.

    A run whose loss is no longer a number ends there; its last measurement has a NaN loss.
    """
    total = scenario.federation.rounds
    every = every or total
    through = uplink or NoiseFreeUplink("sign" if scenario.link.scheme == "sign" else "analog")
    measured: list[tuple[int, float, float]] = []
    estimates, received = np.full(total, np.nan), np.full(total, np.nan)
    amplitudes, active, means = np.zeros(total), np.zeros(total), np.full(total, np.nan)
    payloads = np.full((total, scenario.federation.devices), np.nan)
    with Journal(":memory:") as journal:
        federation = Federation(objective, data, scenario.federation, scenario.zeroth_order, through, journal)

        def measure() -> None:
            held_out = federation.evaluate()
            measured.append((federation.next_round, held_out.accuracy, held_out.loss))

        measure()
        for record in federation.run():
            t = record.round
            means[t] = record.payload_mean
            payloads[t] = record.payloads[:, 0]
            if record.estimates is not None:
                estimates[t] = received[t] = record.estimates[0]
                if isinstance(uplink, InProcessAir):
                    received[t] = uplink.received[t]
                amplitudes[t] = record.diagnostics.get("aligned_gain", 0.0)
                active[t] = record.diagnostics.get("active", 0.0)
            if progress is not None:
                progress(t + 1)
            if (t + 1) % every == 0 or t + 1 == total:
                measure()
                if not math.isfinite(measured[-1][2]):
                    break
    at, accuracy, loss = (np.array(column) for column in zip(*measured, strict=True))
    finite = np.where(np.isfinite(loss), loss, np.nan)
    return Tuned(at.astype(np.int64), accuracy, finite, estimates, received, amplitudes, active, means, payloads)
