"""The symbol link in batches, against the drawing of its random numbers and against Sionna called round by round."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sionna.phy.channel import AWGN, ApplyFlatFadingChannel, RayleighBlockFading

from phy.config import LinkConfig
from phy.draws import GROUP_ROUNDS, KeyedDraws
from phy.link import Link
from testbench.benchmarks.turns import in_turn

DEVICES, ROUNDS = 100, 12_800
TARGETS = {"perfect": 300_000.0, "ls": 150_000.0}
# What those targets are on a machine where Sionna's blocks, called round by round, do some 20,000 rounds a second.
SIONNAS = 20_000.0


def sionna_round_by_round(rounds: int) -> Callable[[], None]:
    """Fading, channel inversion, superposition and noise, one call of each of Sionna's blocks per round."""
    fading = RayleighBlockFading(1, 1, DEVICES, 1, device="cpu")
    apply, awgn, n0 = ApplyFlatFadingChannel(device="cpu"), AWGN(device="cpu"), torch.tensor(0.01)
    symbols = torch.rand(DEVICES)

    def run() -> None:
        for _ in range(rounds):
            a, _ = fading(1, 1)
            h = a[:, 0, :, :, 0, 0, 0]
            awgn(apply(symbols / h[:, 0], h), n0)

    return run


@pytest.mark.parametrize("csi", ["perfect", "ls"])
@pytest.mark.parametrize("air", ["sionna", "numpy"])
def bench_link(benchmark: Any, record: Any, csi: str, air: str) -> None:
    """Rounds per second, K = 100, and the share of that time that is random numbers: in all turns, and where a probe found
    that no neighbour shared the core."""
    config = LinkConfig.model_validate({"clip": 1.0, "csi": {"estimator": csi}, "air": air})
    link = Link(config, 1)
    draws = KeyedDraws(1)
    payloads = np.random.default_rng(0).uniform(-1, 1, (ROUNDS, DEVICES, 1))
    rounds = np.arange(ROUNDS)
    step = 10 * GROUP_ROUNDS  # the link's own portions at this K
    purposes = ["fading"] if csi == "perfect" else ["fading", "pilot"]

    def draw() -> None:
        for first in range(0, ROUNDS, step):
            for purpose in purposes:
                draws.complex_normal(purpose, DEVICES, first, min(step, ROUNDS - first), 1)
            draws.complex_normal("noise", 1, first, min(step, ROUNDS - first), 1)

    few = ROUNDS // 64
    turns = in_turn([lambda: link.aggregate(rounds, payloads), draw, sionna_round_by_round(few)], repeats=45)
    whole_s, draw_s, sionna_s = turns.medians
    main = air == "sionna"
    over = TARGETS[csi] / SIONNAS if main else None
    record(f"link, {csi} CSI, {air} air: rounds/s", ROUNDS / whole_s, TARGETS[csi] if main else None, "high")
    record(f"link, {csi} CSI, {air} air: share of RNG", draw_s / whole_s, 0.5 if main else None, "high")
    if main:
        alone_s, alone_draw_s, _ = turns.unshared_medians
        record(f"link, {csi} CSI: turns with an unshared core", turns.unshared[:, 0].mean())
        record(f"link, {csi} CSI, unshared core: rounds/s", ROUNDS / alone_s, TARGETS[csi], "high")
        record(f"link, {csi} CSI, unshared core: share of RNG", alone_draw_s / alone_s, 0.5, "high")
    record(f"link, {csi} CSI, {air} air: speed over Sionna's", (sionna_s / few) / (whole_s / ROUNDS), over, "high")
    benchmark.pedantic(link.aggregate, args=(rounds, payloads), rounds=10, warmup_rounds=2)
