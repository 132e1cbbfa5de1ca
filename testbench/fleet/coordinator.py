"""The coordinator: a scenario's run whose devices join over ZeroMQ."""

import hashlib
import json
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.fleet import Air, Collected, Desk, FleetServer, RunCard
from bridge.keys import ServerKeys
from learning.data import TaskData
from learning.federation import Federation
from learning.fleet import FleetFederation
from learning.fleet_deposits import DepositFederation
from learning.journal import Journal
from learning.objective import Objective
from learning.privacy.guard import PrivacyGuard
from testbench.errors import FleetError
from testbench.fleet.disclosure import disclosures
from testbench.fleet.sharing import software, told
from testbench.scenario import Scenario
from testbench.uplinks import OpenUplink

__all__ = ["FleetHost"]

# How long devices may take to hear that the run is over [s].
FAREWELL_S = 10.0


class FleetHost:
    """Makes the federation of a run whose devices join; hold it open (``with``) while the run lasts.

    :param say: called with lines for a person
    :param tag: public, tells this run from others of the same scenario where it must; empty: they count as one
    """

    def __init__(self, scenario: Scenario, say: Callable[[str], None], tag: str = "") -> None:
        self._scenario, self._say, self._tag = scenario, say, tag
        self._stack = ExitStack()
        self._desk: Desk | None = None

    def __enter__(self) -> "FleetHost":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._desk is not None and kind is None:
            self._desk.finish("the run is over")  # said already, unless the run ended before its last round
            self._desk.await_farewells(FAREWELL_S)
        self._stack.close()

    @property
    def own_data(self) -> bool:
        """Whether a device brought data of its own."""
        return self._desk is not None and self._desk.own_data

    def federation(
        self, objective: Objective, data: TaskData, opened: OpenUplink, journal: Journal, guard: PrivacyGuard | None
    ) -> Federation:
        """The federation, listening for its devices."""
        scenario, place = self._scenario, opened.deposits
        if place is None and scenario.fleet.deposits:
            raise FleetError("this uplink takes no deposits; leave out fleet.payloads, or take the scenario's own uplink")
        air = None if place is None else Air(place.endpoint, place.server_key, place.box.box, place.box.token)

        def open_desk(meta: dict[str, Any]) -> "_Devices":
            card = _card(scenario, objective, data, meta, guard is not None, self._tag)
            desk = self._desk = Desk(card, self._say, air=air)
            return _Devices(desk, scenario, self._stack, self._say)

        own = (journal, guard)
        first = (objective, data, scenario.federation, scenario.zeroth_order)
        if place is None:
            return FleetFederation(*first, opened.uplink, *own, devices=open_desk, hash_every=scenario.fleet.hash_every)
        return DepositFederation(*first, place.box, *own, devices=open_desk, hash_every=scenario.fleet.hash_every)


class _Devices:
    """The devices behind the desk; the address is claimed when the first of them is needed."""

    def __init__(self, desk: Desk, scenario: Scenario, stack: ExitStack, say: Callable[[str], None]) -> None:
        self._desk, self._config, self._stack, self._say = desk, scenario.fleet, stack, say
        self._all = scenario.federation.devices
        # Where privacy is claimed, its statement holds the same sentences.
        self._disclosed = () if scenario.privacy.on else disclosures(scenario)
        self._started = False
        self._told = -1
        self._endpoint = ""

    def open(self) -> None:
        """Listen."""
        config = self._config
        assert config.bind is not None
        keys = None if config.keys is None else ServerKeys.load(str(config.keys))
        server = self._stack.enter_context(FleetServer(config.bind, self._desk, keys=keys))
        self._endpoint = server.endpoint
        for sentence in self._disclosed:
            self._say(f"fleet: {sentence}")
        self._say(
            f"fleet: devices join with `pairzero device join --server {server.endpoint}`" + (" and their keys" if keys else "")
        )

    def measure(self, round_index: int, seed: int) -> Collected:
        """Wait for enough devices, open the slot, and close it."""
        config = self._config
        needed = config.least_devices if self._started else (config.start_devices or self._all)
        if not self._desk.await_devices(needed, config.patience_s, lambda there: self._waiting(there, needed)):
            raise FleetError(
                f"{self._desk.present()} of the {needed} devices needed were there within {config.patience_s:g} s "
                f"before round {round_index}; start more with `pairzero device join --server {self._endpoint}`"
            )
        self._started, self._told = True, -1
        return self._desk.collect(round_index, seed, config.slot_s)

    def _waiting(self, there: int, needed: int) -> None:
        if there != self._told:
            self._told = there
            self._say(f"fleet: {there} of {needed} devices are there")

    def broadcast(self, seed: int, learning_rate: float, estimates: NDArray[np.float64] | None) -> None:
        """Publish the next round."""
        self._desk.publish(seed, learning_rate, estimates)

    def checkpoint(self, next_round: int, sha256: str) -> None:
        """Have devices prove their weights."""
        self._desk.checkpoint(next_round, sha256)

    def finish(self, reason: str) -> None:
        """Let the devices go."""
        self._desk.finish(reason)
        self._desk.await_farewells(FAREWELL_S)


def _card(scenario: Scenario, objective: Objective, data: TaskData, meta: dict[str, Any], bounded: bool, tag: str) -> RunCard:
    own = {"tag": tag} if tag else {}
    text = json.dumps({**meta, "base_weights_sha256": objective.base_weights_sha256, **own}, sort_keys=True)
    return RunCard(
        run=hashlib.sha256(text.encode()).hexdigest(),
        devices=scenario.federation.devices,
        n=scenario.zeroth_order.directions,
        clip=scenario.zeroth_order.clip,
        rounds=scenario.federation.rounds,
        base_weights_sha256=objective.base_weights_sha256,
        identity=dict(objective.identity),
        task_sha256=data.sha256(),
        settings=told(scenario, data, meta, bounded),
        software=software(),
    )
