"""Fine-tune over an emulated air with a recording on top, and compare every round with the same round without it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.captures.overlay import OverlayConfig, overlaid
from learning.federation import Federation
from learning.journal import Journal
from learning.uplink import Aggregate
from phy.config import LinkConfig
from phy.link import Link
from testbench.captures.airs import refuse_private, waveform_link
from testbench.captures.uplink import LinkUplink
from testbench.clip import beyond_clip
from testbench.errors import TestbenchError
from testbench.runner import Watcher, prepare
from testbench.scenario import Scenario


def overlaid_link(config: LinkConfig, seed: int, overlay: OverlayConfig) -> Link:
    """The link of a configuration over the emulated air with a recording on top.

    Raises :class:`testbench.errors.TestbenchError` for another air, and :class:`phy.errors.PhyError` for an unusable recording.
    """
    if config.burst.air != "emulated":
        raise TestbenchError(f'an overlay goes over the emulated air, not over burst.air = "{config.burst.air}"')
    return waveform_link(config, seed, overlaid(overlay))


@dataclass(frozen=True)
class Comparison:
    """Rounds over the air with the overlay, and what the same payloads give without it. Arrays [B], NaN where lost."""

    true_mean: NDArray[np.float64]
    estimates: NDArray[np.float64]
    bare: NDArray[np.float64]
    clip: float
    accuracy_before: float
    accuracy_after: float

    def beyond(self, estimates: NDArray[np.float64]) -> int:
        """How many estimates lie beyond the clip, where no mean of clipped scalars can be."""
        return int(beyond_clip(estimates, self.clip).sum())

    def nmse_db(self, estimates: NDArray[np.float64]) -> float:
        """Mean square error over the mean square of the truth, rounds without an estimate left out; NaN where there is none."""
        kept = np.isfinite(estimates) & np.isfinite(self.true_mean)
        power = float(np.square(self.true_mean[kept]).mean()) if kept.any() else 0.0
        if not power > 0:
            return float("nan")
        error = float(np.square(estimates[kept] - self.true_mean[kept]).mean())
        return 10.0 * float(np.log10(error / power)) if error > 0 else float("-inf")


class _Both:
    """An uplink that answers with the overlay and notes what the bare link would have answered."""

    def __init__(self, overlaid: Link, bare: Link) -> None:
        self._with, self._without = LinkUplink(overlaid), LinkUplink(bare)
        self.rows: list[tuple[float, float, float]] = []

    def aggregate(self, round_index: int, payloads: NDArray[np.float64], present: NDArray[np.bool_] | None = None) -> Aggregate:
        """Estimates [n] with the overlay for payloads [K, n]."""
        answer = self._with.aggregate(round_index, payloads, present)
        bare = self._without.aggregate(round_index, payloads, present)
        self.rows.append((answer.diagnostics["true_mean"], float(answer.estimate[0]), float(bare.estimate[0])))
        return answer


def run_overlaid(scenario: Scenario, overlay: OverlayConfig, rounds: int | None, watcher: Watcher) -> Comparison:
    """Fine-tune for ``rounds`` rounds (none: the scenario's) with the overlay; the air reacts, so the loop is closed.

    Both links share every draw, so that what differs is the overlay alone. Raises as :func:`overlaid_link`.
    """
    refuse_private(scenario)
    both = _Both(
        overlaid_link(scenario.link, scenario.seed, overlay),
        waveform_link(scenario.link, scenario.seed),
    )
    total = scenario.federation.rounds if rounds is None else min(rounds, scenario.federation.rounds)
    data, build = prepare(scenario, watcher)
    with Journal(":memory:") as journal:
        federation = Federation(build(), data, scenario.federation, scenario.zeroth_order, both, journal)
        before = federation.evaluate().accuracy
        watcher.started("overlay", 0, total)
        try:
            for done in federation.run(total):
                watcher.round(done.mean_loss, None)
        finally:
            watcher.finished()
        after = federation.evaluate().accuracy
    table = np.array(both.rows, np.float64).reshape(-1, 3)
    return Comparison(table[:, 0], table[:, 1], table[:, 2], scenario.link.clip, before, after)
