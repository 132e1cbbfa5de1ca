"""The air's backends against each other, as their servers are met: round trips of one round and batches of 10,000, K = 100."""

from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from bridge.environments import backend_python
from bridge.errors import BridgeError
from bridge.process import AirServerProcess

DEVICES, BATCH, ONES = 100, 10_000, 20
CONFIG = {"clip": 1.0}


def bench_backends(benchmark: Any, record: Any, interleaved: Any) -> None:
    """One round, and 10,000 at once, over ipc; Sionna 2, Sionna 1.x on TensorFlow, and numpy in turns."""
    try:
        backend_python("tensorflow")
    except BridgeError as error:
        pytest.skip(str(error))
    payloads = np.random.default_rng(0).uniform(-1, 1, (BATCH, DEVICES, 1))
    at = iter(range(0, 10**12, BATCH))
    names = ("sionna", "tensorflow", "numpy")
    with ExitStack() as stack:
        servers = [stack.enter_context(AirServerProcess(backend=name)) for name in names]
        clients = [stack.enter_context(server.client(CONFIG, 1, timeout_s=60.0)) for server in servers]

        def one(client: Any) -> Any:
            def run() -> None:
                first = next(at)
                for i in range(ONES):
                    client.aggregate(first + i, payloads[i])

            return run

        def batch(client: Any) -> Any:
            def run() -> None:
                first = next(at)
                client.aggregate_rounds(np.arange(first, first + BATCH), payloads)

            return run

        ones = interleaved(*(one(client) for client in clients), repeats=41, warmup=5)
        batches = interleaved(*(batch(client) for client in clients), repeats=11, warmup=2)
        targets = {"tensorflow": (5.0, 3.0), "numpy": (None, None)}
        for index, name in enumerate(names):
            record(f"{name}: round trip of one round, K = 100 [us]", ones[index] / ONES * 1e6)
            record(f"{name}: 10,000 rounds, K = 100 [ms]", batches[index] * 1e3)
            if name in targets:
                record(f"{name} over sionna: round trip of one round, K = 100", ones[index] / ones[0], targets[name][0])
                record(f"{name} over sionna: 10,000 rounds, K = 100", batches[index] / batches[0], targets[name][1])
        benchmark.pedantic(one(clients[0]), rounds=5)
