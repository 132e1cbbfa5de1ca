"""A Sionna channel model that draws for itself, as a part: what is common to both generations of Sionna.

Sionna's models draw from process-wide generators. To keep a link a pure function of its seed, these generators are seeded for
each round from (link seed, round); one round is one call, which costs what the model costs. What such a model cannot give:
fading that continues from round to round, and the same draws for a device whatever the number of devices.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phy.config import LinkConfig
from phy.draws import CachedDraws
from phy.errors import PhyError

# Rounds over which the largest delay is looked for, where the model does not state it.
_PROBED_ROUNDS = 8


class ForeignModel:
    """Adapter around a Sionna ``ChannelModel`` with one receiver; a subclass knows a generation of Sionna.

    It serves all devices at once (``num_tx`` = K), or is a single link (``num_tx`` = 1) that is asked for a batch of K. An
    attribute ``max_delay_s`` of the model, where it has one, states its largest delay; otherwise that of the first 8 rounds is
    taken.

    :param factory: ``ChannelModel`` subclass, or function that returns one; called without arguments
    """

    def __init__(self, factory: Callable[[], Any], config: LinkConfig, draws: CachedDraws) -> None:
        self._name = config.channel.model
        if config.channel.doppler_hz > 0:
            raise PhyError(
                f"channel.doppler_hz does not reach {self._name!r}, a Sionna channel model; set its speed in the model itself"
            )
        if config.channel.antenna_correlation > 0:
            raise PhyError(
                f"channel.antenna_correlation does not reach {self._name!r}, a Sionna channel model; set it in the model itself"
            )
        try:
            model = factory()
        except Exception as error:
            raise PhyError(f"channel.model {self._name!r} cannot be made without arguments: {error}") from error
        if not self.is_model(model):
            kind = type(model).__name__
            raise PhyError(
                f"channel.model {self._name!r} is neither a part nor a Sionna ChannelModel, but gives a {kind}; "
                f"ChannelModels are those of backend {config.backend!r}, and a block of x and h is named in link.air"
            )
        self._model = model
        self._draws = draws
        self._round_s = config.channel.round_duration_s
        self._max_delay: dict[int, float] = {}

    def is_model(self, model: Any) -> bool:
        """Whether this is a channel model of Sionna."""
        raise NotImplementedError

    def draw(self, model: Any, seed: int, batch: int, steps: int, rate_hz: float) -> tuple[NDArray[Any], NDArray[Any]]:
        """What the model returns, as arrays, after its generators were seeded."""
        raise NotImplementedError

    @cached_property
    def flat(self) -> bool:
        """Whether round 0 has one path of zero delay that is the same one round later."""
        a, tau = self._call(0, 1, 2, 1.0 / self._round_s)
        return bool(a.shape[5] == 1 and (tau == 0).all() and (a[..., 0] == a[..., 1]).all())

    @cached_property
    def _transmitters(self) -> int:
        return int(self._call(0, 1, 1, 1.0 / self._round_s)[0].shape[3])

    def gains(
        self, devices: int, first_round: int, rounds: int, antennas: int, earlier_s: float = 0.0
    ) -> NDArray[np.complex64]:
        """Coefficients [B, M, K] of a flat model, which is the same ``earlier_s`` before the round."""
        del earlier_s
        return self.paths(devices, first_round, rounds, antennas)[0][..., 0, 0]

    def paths(
        self,
        devices: int,
        first_round: int,
        rounds: int,
        antennas: int,
        num_time_steps: int = 1,
        sampling_frequency_hz: float = 1.0,
        start_s: float = 0.0,
    ) -> tuple[NDArray[np.complex64], NDArray[np.float64]]:
        """Coefficients [B, M, K, P, T] and delays [B, K, P]. Time begins with each round: ``start_s`` has no effect."""
        del start_s
        each = [self._round(devices, first_round + i, antennas, num_time_steps, sampling_frequency_hz) for i in range(rounds)]
        if len({a.shape for a, _ in each}) > 1:
            raise PhyError(f"channel model {self._name!r} changes its number of paths from round to round; keep it fixed")
        return np.stack([a for a, _ in each]), np.stack([tau for _, tau in each])

    def max_delay_s(self, devices: int) -> float:
        """The model's attribute ``max_delay_s``, or the largest delay of the first rounds."""
        stated = getattr(self._model, "max_delay_s", None)
        if stated is not None:
            return float(stated)
        if devices not in self._max_delay:
            batch = devices if self._transmitters == 1 else 1
            found = [self._call(r, batch, 1, 1.0 / self._round_s)[1].max() for r in range(_PROBED_ROUNDS)]
            self._max_delay[devices] = float(max(found))
        return self._max_delay[devices]

    def _round(
        self, devices: int, round_index: int, antennas: int, steps: int, rate_hz: float
    ) -> tuple[NDArray[np.complex64], NDArray[np.float64]]:
        """Coefficients [M, K, P, T] and delays [K, P] of one round."""
        transmitters = self._transmitters
        if transmitters not in (1, devices):
            raise PhyError(
                f"channel model {self._name!r} has {transmitters} transmitters and the link {devices} devices; give it "
                f"num_tx={devices}, or 1 for a single link"
            )
        a, tau = self._call(round_index, devices if transmitters == 1 else 1, steps, rate_hz)
        if a.shape[2] != antennas:
            raise PhyError(
                f"channel model {self._name!r} has {a.shape[2]} receive antennas and the link {antennas}; set num_rx_ant or "
                "receive_antennas"
            )
        if transmitters == 1:
            return a[:, 0, :, 0, 0].transpose(1, 0, 2, 3), tau[:, 0, 0]
        return a[0, 0, :, :, 0], tau[0, 0]

    def _call(
        self, round_index: int, batch: int, steps: int, rate_hz: float
    ) -> tuple[NDArray[np.complex64], NDArray[np.float64]]:
        """One call of the model: a [batch, 1, M, num_tx, 1, P, T] and tau [batch, 1, num_tx, P], checked."""
        seed = int(self._draws.complex_normal("model", 1, round_index, 1, 1).view(np.uint64)[0, 0, 0])
        try:
            a, tau = self.draw(self._model, seed, batch, steps, rate_hz)
        except Exception as error:
            raise PhyError(f"channel model {self._name!r} failed in round {round_index}: {error}") from error
        wanted: tuple[int, ...] = ()
        if a.ndim == 7:
            wanted = (batch, 1, a.shape[2], a.shape[3], 1, a.shape[5], steps)
        if a.shape != wanted or tau.shape != (batch, 1, a.shape[3], a.shape[5]):
            raise PhyError(
                f"channel model {self._name!r} must return a [batch={batch}, num_rx=1, num_rx_ant, num_tx, num_tx_ant=1, "
                f"num_paths, num_time_steps={steps}] and tau [batch, 1, num_tx, num_paths], got {a.shape} and {tau.shape}"
            )
        return a.astype(np.complex64, copy=False), tau.astype(np.float64)
