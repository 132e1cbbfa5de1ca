"""The real link behind every transport: the same bits as a direct call, and a sentence where it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from bridge.client import AirClient
from bridge.errors import ConfigRefused, ServerRefused
from bridge.links import phy_link_factory
from bridge.process import AirServerProcess
from bridge.server import InprocAirServer
from tests.forked_server import from_nothing

pytest.importorskip("phy.link")

CONFIG: dict[str, Any] = {
    "snr_max_db": 5.0,
    "csi": {"estimator": "ls"},
    "power": {"control": "truncated", "threshold": 0.3},
    "offsets": {"phase_rad": {"law": "normal", "value": 0.2}},
}
SEED = 11
EDGES = [0, 1, 2, 63, 64, 65, 200, 2**40, 2**40 + 1]


def _batch(n: int = 1) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(3)
    rounds = np.array([*EDGES, *range(1000, 1300)])
    payloads = rng.uniform(-1, 1, size=(len(rounds), 10, n))
    present = rng.random(payloads.shape[:2]) < 0.8
    present[4] = False
    return rounds, payloads, present


@pytest.fixture(scope="module")
def inproc() -> Iterator[InprocAirServer]:
    with InprocAirServer() as server:
        yield server


@pytest.fixture(scope="module")
def ipc() -> Iterator[AirServerProcess]:
    with AirServerProcess() as server:
        yield server


@pytest.fixture(scope="module")
def tcp() -> Iterator[AirServerProcess]:
    with from_nothing(), AirServerProcess("tcp://127.0.0.1:0") as server:
        yield server


@pytest.fixture(params=["inproc", "ipc", "tcp"])
def connect(request: pytest.FixtureRequest) -> Any:
    server = request.getfixturevalue(request.param)
    context = server.context if request.param == "inproc" else None
    return lambda config: AirClient(server.endpoint, config, SEED, context=context)


@pytest.mark.parametrize("n", [1, 3])
def test_every_transport_gives_the_bits_of_a_direct_call(connect: Any, n: int) -> None:
    rounds, payloads, present = _batch(n)
    link = phy_link_factory()(CONFIG, SEED)
    with connect(CONFIG) as client:
        assert client.description == link.description
        for who in (None, present):
            direct = link.aggregate(rounds, payloads, who)
            air = client.aggregate_rounds(rounds, payloads, who)
            assert air.estimates.tobytes() == direct.estimates.tobytes()
            assert np.array_equal(air.lost, direct.lost)
            assert air.diagnostics.keys() == direct.diagnostics.keys()
            for name, values in direct.diagnostics.items():
                assert air.diagnostics[name].tobytes() == np.asarray(values, dtype=float).tobytes(), name
        assert direct.lost[4]
        for i in (0, 3, 7):
            one = client.aggregate(int(rounds[i]), payloads[i])
            alone = link.aggregate(rounds, payloads)
            assert one.estimate.tobytes() == alone.estimates[i].tobytes()


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"snr_max": 3}, "snr_max"),
        ({"snr_max_db": "loud"}, "snr_max_db"),
        ({"csi": {"pilot_symbols": 0}}, r"csi\.pilot_symbols"),
        ({"scheme": "analogue"}, "did you mean 'analog'"),
        ({"scheme": "subprocess:Popen"}, "loads no class called 'subprocess:Popen'"),
        ({"csi": {"estimator": "os:system"}}, "loads no class called 'os:system'"),
        ({"fidelity": "waveform", "impairments": {"os:system": {}}}, "loads no class called 'os:system'"),
    ],
)
def test_configurations_that_phy_refuses(inproc: InprocAirServer, config: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ServerRefused, match=sentence) as caught:
        AirClient(inproc.endpoint, config, SEED, context=inproc.context)
    assert caught.value.code == "bad_config"
    assert "\n" not in str(caught.value)


def test_a_payload_over_the_clip_is_refused_with_the_sentence_of_phy(inproc: InprocAirServer) -> None:
    with (
        AirClient(inproc.endpoint, {"clip": 1.0}, SEED, context=inproc.context) as client,
        pytest.raises(ServerRefused, match="exceeds the clip") as caught,
    ):
        client.aggregate(0, np.full((2, 1), 1.5))
    assert caught.value.code == "bad_request"


@pytest.mark.parametrize("config", [
    {"channel": {"file": "/etc/hostname"}},
    {"fidelity": "waveform", "burst": {"overlay": {"file": "/etc/hostname", "level_db": 0.0}}},
], ids=["channel", "overlay"])  # fmt: skip
def test_a_client_cannot_have_files_of_the_server_opened(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigRefused, match=r"opens no file '/etc/hostname'.*--allow-file"):
        phy_link_factory(["bridge.captures.measured:Part"])(config, SEED)
    assert phy_link_factory(files=["/etc/hostname"])(config, SEED)  # neither is read without its class


def test_a_class_that_the_server_allows_is_loaded() -> None:
    from phy.schemes.analog import Part

    name = f"{Part.__module__}:{Part.__name__}"
    rounds, payloads, _ = _batch()
    allowed = phy_link_factory([name])({"scheme": name}, SEED).aggregate(rounds, payloads)
    assert allowed.estimates.tobytes() == phy_link_factory()({}, SEED).aggregate(rounds, payloads).estimates.tobytes()
