"""A device's way to the air server, where a run's scalars go there and not to the coordinator."""

import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bridge.deposits.client import Depositor, NoBox
from bridge.deposits.messages import Deposit
from bridge.endpoints import check_told
from bridge.errors import ServerGone
from bridge.fleet.messages import Seated
from bridge.keys import ClientKeys
from testbench.errors import FleetError
from testbench.runner import Watcher

__all__ = ["Depositing"]

# How long to wait before the coordinator is asked again what to do with a deposit that nobody took [s].
_PAUSE_S = 0.2


class Depositing:
    """Deposits of one device, at the place that its coordinator told it last.

    :param server: the coordinator's address
    :param keys: this device's CURVE keys for it
    :param patience_s: how long an air server may be away while the coordinator goes on [s]
    """

    def __init__(self, server: str, keys: ClientKeys | None, patience_s: float, watcher: Watcher) -> None:
        self._server, self._keys, self._patience_s, self._watcher = server, keys, patience_s, watcher
        self._seat: Seated | None = None
        self._number = 0
        self._depositor: Depositor | None = None
        self._away_since: float | None = None

    def __enter__(self) -> "Depositing":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the socket."""
        if self._depositor is not None:
            self._depositor.close()
            self._depositor = None

    def take(self, seat: Seated, number: int) -> None:
        """Deposit at ``seat`` from now on.

        :raises bridge.errors.EndpointError: its address is none to connect to
        :raises testbench.errors.FleetError: the air server has keys, and this device none
        """
        keys = None
        if seat.server_key is not None:
            if self._keys is None:
                raise FleetError("the run's air server has keys, and this device was given none; join with --keys")
            keys = replace(self._keys, server=seat.server_key.encode("ascii"))
        check_told(seat.air, self._server, secured=keys is not None)
        self.close()
        self._seat, self._number = seat, number
        self._depositor = Depositor(seat.air, keys=keys)
        self._watcher.say(f"scalars go to the air server at {seat.air} alone, and no losses to anybody")

    def deposit(self, round_index: int, payload: NDArray[np.float64]) -> bool | None:
        """Leave a round's scalars [n]; whether they came in time, None where nobody took them for now.

        :raises bridge.errors.ServerGone: for longer than the patience
        :raises bridge.errors.ServerRefused: the air server refuses them
        """
        assert self._seat is not None
        assert self._depositor is not None
        seat = self._seat
        deposit = Deposit(seat.box, self._number, seat.generation, seat.token, round_index, payload)
        try:
            taken = self._depositor.deposit(deposit)
        except (ServerGone, NoBox) as error:
            now = time.monotonic()
            if self._away_since is None:
                self._away_since = now
                self._watcher.say(f"{error}; trying on, for {self._patience_s:g} s in all")
            elif now - self._away_since > self._patience_s:
                raise ServerGone(str(error)) from None
            time.sleep(_PAUSE_S)
            return None
        if self._away_since is not None:
            self._away_since = None
            self._watcher.say("the air server takes deposits again")
        return taken
