"""A small link whose numbers are known in closed form, and servers of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bridge.errors import ConfigRefused
from bridge.server import AirServer

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class FakeResult:
    estimates: Array
    lost: Array
    diagnostics: dict[str, Array]


@dataclass(frozen=True)
class FakeLink:
    """Mean of the present payloads plus keyed noise; a round is lost where nobody is present."""

    config: dict[str, Any]
    seed: int

    @property
    def description(self) -> dict[str, int | float | str]:
        return {"kind": "fake", "snr_db": float(self.config.get("snr_db", 20.0)), "antennas": 1}

    def aggregate(self, rounds: Array, payloads: Array, present: Array | None = None) -> FakeResult:
        if self.config.get("fail"):
            raise RuntimeError("the antenna fell off\nand a second line")
        who = np.ones(payloads.shape[:2], dtype=bool) if present is None else present
        noise = np.stack(
            [np.random.Generator(np.random.Philox(key=[self.seed, int(r)])).standard_normal(payloads.shape[2]) for r in rounds]
        )
        count = who.sum(axis=1)
        lost = count == 0
        total = np.where(who[:, :, None], payloads, 0.0).sum(axis=1)
        estimates = total / np.maximum(count, 1)[:, None] + noise
        estimates[lost] = np.nan
        if self.config.get("lie"):
            estimates[:] = np.inf
        return FakeResult(estimates, lost, {"present": count.astype(float), "noise": noise[:, 0]})


def fake_factory(config: dict[str, Any], seed: int) -> FakeLink:
    if "bad" in config:
        raise ConfigRefused("bad: there is no such key, did you mean good?")
    if "crash" in config:
        raise KeyError("crash")
    return FakeLink(config, seed)


@contextmanager
def running(bind: str, **options: Any) -> Iterator[AirServer]:
    """Serve fake links from a thread."""
    server = AirServer(bind, options.pop("link_factory", fake_factory), **options)
    server.bind()
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join(timeout=10)
        assert not thread.is_alive()


def example(batch: int = 7, devices: int = 10, n: int = 1) -> tuple[Array, Array, Array]:
    """Rounds, payloads and a presence mask (round 3 has nobody)."""
    rng = np.random.default_rng(1)
    rounds = np.arange(100, 100 + batch)
    payloads = rng.normal(size=(batch, devices, n))
    present = rng.random((batch, devices)) < 0.7
    present[min(3, batch - 1)] = False
    return rounds, payloads, present
