"""Open the uplink that a scenario asks for: its own air server, a running one, or the noise-free mean."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bridge.client import AirClient
from bridge.deposits.client import Collecting
from bridge.keys import ClientKeys
from bridge.links import phy_link_factory
from bridge.process import AirServerProcess
from bridge.secrets import read_secret
from bridge.server import InprocAirServer
from learning.uplink import NoiseFreeUplink, Received, Uplink
from testbench.elsewhere import files
from testbench.errors import ScenarioError
from testbench.privacy.run_secret import RunSecret
from testbench.scenario import Scenario

# A session's settings travel in one header of 64 KiB, 9 bytes an amplitude: longer schedules are told piece by piece.
_HEADER_BYTES = 56_000
_AMPLITUDE_BYTES = 9
_LEAST_TOLD = 1000  # amplitudes of a session, so that there are not too many sessions


@dataclass(frozen=True)
class DepositPlace:
    """Where a fleet's devices deposit their scalars: the box, and the air server's address and public key as they need them."""

    box: Collecting
    endpoint: str
    server_key: str | None


@dataclass(frozen=True)
class OpenUplink:
    """An uplink in use, what its link says of itself, where it is, the process of a server of its own, and the place for
    deposits of a fleet whose scalars go to the air alone.
    """

    uplink: Uplink
    description: Mapping[str, int | float | str]
    where: str
    server_pid: int | None = None
    deposits: DepositPlace | None = None


def noise_free(scenario: Scenario) -> OpenUplink:
    """The in-process link without fading and noise."""
    votes = scenario.link.scheme in ("sign", "fsk_mv")
    scheme: Literal["analog", "sign"] = "sign" if votes else "analog"
    uplink = NoiseFreeUplink(scheme, "hard" if scenario.link.scheme == "fsk_mv" else scenario.link.decision)
    bits = 1 if scheme == "sign" else 16
    description: dict[str, int | float | str] = {
        "fidelity": "noise-free",
        "noise": "seed",
        "scheme": scheme,
        "uplink_symbols_per_scalar": 1,
        "payload_bits_per_scalar": bits,
        "pilot_symbols_per_device": 0,
    }
    return OpenUplink(uplink, description, "in process, noise-free")


def refuse_unsaid(opened: OpenUplink) -> None:
    """Raise :class:`testbench.errors.ScenarioError` where a link does not say whether its noise is fresh.

    Of such a link nobody knows whether a round that it was asked for twice was on the air once or twice.
    """
    if "noise" not in opened.description:
        raise ScenarioError(
            f"the {opened.where} does not say whether a repeated round meets the same noise (`noise` in its description), and "
            "what it sends could not be charged; use the scenario's own air server (leave out uplink.endpoint), or serve with "
            "this version: pairzero air serve"
        )


@contextmanager
def open_uplink(scenario: Scenario, secret: RunSecret | None = None) -> Iterator[OpenUplink]:
    """The scenario's uplink, closed and its server ended on leaving.

    :param secret: the run's, which keys the noise of a server of its own and makes its sessions the run's alone
    """
    config = scenario.uplink
    if config.transport == "none":
        yield noise_free(scenario)
        return
    link = scenario.link.model_dump(mode="json")
    stream = scenario.stream.resolved(scenario.link, scenario.seed) if scenario.stream.on else None
    server_pid = None
    told: dict[str, Any] = {"seed": scenario.seed, "timeout_s": config.timeout_s}
    if stream is not None:
        # Who asks before a flowgraph may have started asks twice, and gives up on a server that is only waiting for it.
        told["timeout_s"] = max(config.timeout_s, stream.slowest_s)
    if secret is not None:
        told["nonce"] = secret.nonce
    with ExitStack() as stack:
        connect: Callable[[dict[str, Any]], AirClient]
        if config.endpoint is not None:
            endpoint, keys = config.endpoint, None if config.keys is None else ClientKeys.load(str(config.keys))
            connect = partial(AirClient, endpoint, attempts=config.attempts, keys=keys, **told)
            where = f"air server at {config.endpoint}"
        elif config.transport == "inproc":
            factory = phy_link_factory(_parts(link), files=files(link), stream=stream, backend=scenario.link.backend)
            hidden = None if secret is None else read_secret(secret.path)
            server = stack.enter_context(InprocAirServer(factory, secret=hidden))
            connect = partial(AirClient, server.endpoint, context=server.context, attempts=config.attempts, **told)
            where = f"air server in this process at {server.endpoint}"
        else:
            bind = "tcp://127.0.0.1:0" if config.transport == "tcp" else None
            settings = None if stream is None else stream.model_dump_json()
            served = AirServerProcess(
                bind,
                parts=_parts(link),
                files=files(link),
                stream=settings,
                backend=scenario.link.backend,
                secret=None if secret is None else secret.path.absolute(),
            )
            process = stack.enter_context(served)
            connect = partial(process.client, attempts=config.attempts, **told)
            server_pid = process.pid
            where = f"air server process {process.pid} at {process.endpoint}"
        schedule = link["power"]["caps"]
        if schedule is not None and len(schedule) * _AMPLITUDE_BYTES > _HEADER_BYTES:
            scheduled = stack.enter_context(_Scheduled(connect, link))
            place = _deposits(scenario, scheduled.client)
            yield OpenUplink(scheduled, scheduled.description, where, server_pid, place)
        else:
            client = stack.enter_context(connect(link))
            place = _deposits(scenario, lambda round_index: client)
            yield OpenUplink(client, client.description, where, server_pid, place)


def _deposits(scenario: Scenario, client: Callable[[int], AirClient]) -> DepositPlace | None:
    """The place for deposits at the air server behind ``client``; None where scalars pass through the coordinator."""
    if not scenario.fleet.deposits:
        return None
    keys = scenario.uplink.keys
    return DepositPlace(
        Collecting(client, scenario.federation.devices, scenario.zeroth_order.directions),
        scenario.fleet.air or client(0).endpoint,
        None if keys is None else ClientKeys.load(str(keys)).server.decode("ascii"),
    )


class _Scheduled:
    """An uplink whose schedule is too long for one session: a session for each run of rounds, one at a time.

    The rounds before those that a session is for are told as silent, in one byte each; it is never asked about them. So every
    round is of one session, which puts it on the air once.
    """

    def __init__(self, connect: Callable[[dict[str, Any]], AirClient], link: dict[str, Any]) -> None:
        self._connect, self._link = connect, link
        self._caps: list[float] = list(link["power"]["caps"])
        if len(self._caps) + _LEAST_TOLD * _AMPLITUDE_BYTES > _HEADER_BYTES:
            most = _HEADER_BYTES - _LEAST_TOLD * _AMPLITUDE_BYTES
            raise ScenarioError(f"a schedule can have {most} rounds, this one has {len(self._caps)}; lower federation.rounds")
        self._client: AirClient | None = None
        self._first, self._stop = 0, 0
        self._session(0)

    @property
    def description(self) -> Mapping[str, int | float | str]:
        """What the link says of itself."""
        assert self._client is not None
        return dict(self._client.description)

    @property
    def repeatable(self) -> bool:
        """Whether the link says that a round which is sent twice has the same bits."""
        assert self._client is not None
        return self._client.repeatable

    def aggregate(self, round_index: int, payloads: NDArray[np.float64], present: NDArray[np.bool_] | None = None) -> Received:
        """One round; see :class:`learning.uplink.Uplink`."""
        who = () if present is None else (present,)
        return self.client(round_index).aggregate(round_index, payloads, *who)

    def client(self, round_index: int) -> AirClient:
        """The client of the session that a round is in."""
        if not self._first <= round_index < self._stop:
            self._session(round_index)
        assert self._client is not None
        return self._client

    def _session(self, round_index: int) -> None:
        self.close()
        first, stop = 0, 0
        # Always the same pieces, wherever a run is resumed: with a secret every session has noise of its own.
        while stop <= min(round_index, len(self._caps) - 1):
            first, stop = stop, min(len(self._caps), stop + (_HEADER_BYTES - stop) // _AMPLITUDE_BYTES)
        told: list[float] = [0] * first + self._caps[first:stop]
        self._client = self._connect({**self._link, "power": {**self._link["power"], "caps": told}})
        self._first, self._stop = first, stop

    def close(self) -> None:
        """End the session."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def __enter__(self) -> "_Scheduled":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _parts(value: object) -> list[str]:
    """The classes (``module:Class``) that a link configuration names."""
    if isinstance(value, dict):
        return [part for item in value.items() for inner in item for part in _parts(inner)]
    return [value] if isinstance(value, str) and ":" in value else []
