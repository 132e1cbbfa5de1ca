"""The flat summary of a run: stable keys that other tools can read."""

import math
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learning.federation import Federation
from learning.journal import Journal, JournalRow
from learning.objective import Objective
from learning.parameters import weights_sha256
from phy.accounting import channel_uses
from testbench.clip import beyond_clip
from testbench.memory import peak_rss_mib
from testbench.run_folder import Evaluation
from testbench.scenario import Scenario

_PACKAGES = ("pairzero", "numpy", "scipy", "torch", "sionna-no-rt", "transformers", "pyzmq", "msgspec", "pydantic")


@dataclass(frozen=True)
class LinkTotals:
    """What the link did over a whole run, read from the journal.

    ``estimate`` and ``true_mean`` are [rounds, directions], the others [rounds]; NaN where a round has none.
    """

    estimate: NDArray[np.float64]
    true_mean: NDArray[np.float64]
    lost: NDArray[np.bool_]
    columns: dict[str, NDArray[np.float64]]

    @classmethod
    def of(cls, journal: Journal) -> "LinkTotals":
        """Read every round of a journal."""
        rows = list(journal.rows())
        names = sorted({name for row in rows for name in row.diagnostics})

        def number(value: float | None) -> float:
            return math.nan if value is None else float(value)

        directions = max((len(row.estimates) for row in rows if row.estimates is not None), default=1)

        def true_mean(row: JournalRow, j: int) -> float:
            end = f"_{j}" if j else ""
            return number(row.diagnostics.get(f"true_mean{end}", row.diagnostics.get(f"payload_mean{end}")))

        def estimate(row: JournalRow, j: int) -> float:
            return math.nan if row.estimates is None else row.estimates[j]

        return cls(
            np.array([[estimate(row, j) for j in range(directions)] for row in rows]).reshape(len(rows), directions),
            np.array([[true_mean(row, j) for j in range(directions)] for row in rows]).reshape(len(rows), directions),
            np.array([row.lost for row in rows], np.bool_),
            {name: np.array([number(row.diagnostics.get(name)) for row in rows]) for name in names},
        )

    @property
    def heard(self) -> NDArray[np.bool_]:
        """[rounds, directions]: where there are an estimate and a true mean to compare it with."""
        return np.asarray(~self.lost[:, None] & np.isfinite(self.estimate) & np.isfinite(self.true_mean), np.bool_)

    @property
    def nmse_db(self) -> float | None:
        """10 log10 of the estimate's mean square error over the mean square of the true mean, lost rounds left out."""
        heard = self.heard
        energy = float(np.square(self.true_mean[heard]).sum())
        error = float(np.square(self.estimate[heard] - self.true_mean[heard]).sum())
        return 10.0 * math.log10(error / energy) if energy > 0 and error > 0 else None

    @property
    def median_error_db(self) -> float | None:
        """The same with the median instead of the mean square error, which a single deep fade cannot move."""
        heard = self.heard
        energy = float(np.square(self.true_mean[heard]).mean()) if heard.any() else 0.0
        error = float(np.median(np.square(self.estimate[heard] - self.true_mean[heard]))) if heard.any() else 0.0
        return 10.0 * math.log10(error / energy) if energy > 0 and error > 0 else None

    def beyond(self, limit: float) -> int:
        """How many estimates lie outside [-limit, limit], where no true mean can be; rounding aside."""
        return int(beyond_clip(self.estimate[np.isfinite(self.estimate)], limit).sum())

    def mean(self, name: str) -> float | None:
        """Mean of a diagnostic over the rounds that have it."""
        values = self.columns.get(name, np.array([]))
        values = values[np.isfinite(values)]
        return float(values.mean()) if values.size else None

    def last(self, name: str) -> float | None:
        """A diagnostic of the last round that has it."""
        values = self.columns.get(name, np.array([]))
        values = values[np.isfinite(values)]
        return float(values[-1]) if values.size else None

    def count(self, name: str) -> int:
        """Sum of a diagnostic that counts something; 0 where no round has it."""
        return int(np.nansum(self.columns.get(name, np.zeros(1))))

    def largest(self, name: str) -> float | None:
        """Maximum of a diagnostic over the rounds that have it."""
        values = self.columns.get(name, np.array([]))
        return float(np.nanmax(values)) if np.isfinite(values).any() else None


def summarise(
    scenario: Scenario,
    objective: Objective,
    federation: Federation,
    evaluations: list[Evaluation],
    noise_free: list[Evaluation],
    totals: LinkTotals,
    link: dict[str, int | float | str],
    wall_s: float,
    server_peak_mib: float | None,
    resumed_from: int,
    notes: list[str],
    privacy: dict[str, Any],
) -> dict[str, Any]:
    """Every number that a run is quoted by. A key whose quantity does not exist is None; ``privacy`` are keys as they stand."""
    devices, directions = scenario.federation.devices, scenario.zeroth_order.directions
    power = totals.mean("received_power")
    n0 = link.get("n0")
    uses = _channel_uses(scenario, link)
    received_snr_db = None
    if power is not None and power > 0 and isinstance(n0, float):
        received_snr_db = 10.0 * math.log10(power / n0)
    noise = totals.mean("stream_n0")
    return {
        "name": scenario.name,
        "seed": scenario.seed,
        "rounds": len(totals.lost),
        "devices": devices,
        "directions": directions,
        "parameters": federation.parameter_count,
        **_scores(evaluations, noise_free),
        "loss_zero_shot": evaluations[0].loss,
        "loss_final": evaluations[-1].loss,
        "loss_noise_free": noise_free[-1].loss if noise_free else None,
        "weights_sha256": weights_sha256(objective.model),
        "base_weights_sha256": objective.base_weights_sha256,
        "backend": link.get("backend"),
        "backend_versions": link.get("backend_versions"),
        "scheme": link.get("scheme"),
        "csi": link.get("csi"),
        "snr_max_db": link.get("snr_max_db"),
        "n0": n0,
        "snr_measured_db": totals.mean("snr_measured_db"),
        "n0_measured": totals.mean("n0_measured"),
        "clip": scenario.zeroth_order.clip,
        "uplink_symbols_per_round": uses["payload"],
        "uplink_payload_bits_per_round": int(link["payload_bits_per_scalar"]) * devices * directions,
        "pilot_symbols_per_round": uses["pilots"],
        "preamble_symbols_per_round": uses["preamble"],
        "guard_symbols_per_round": uses["guard"],
        "received_snr_db": received_snr_db,
        "measured_n0": noise,
        "measured_snr_max_db": _ratio_db(totals.mean("stream_gain"), noise),
        "measured_received_snr_db": _ratio_db(totals.mean("stream_power"), noise),
        **{name: totals.last(name) for name in ("stream_latency_samples", "stream_withheld_samples", "stream_step_samples")},
        "nmse_db": None if n0 is None else totals.nmse_db,
        "median_error_db": None if n0 is None else totals.median_error_db,
        "transmissions": totals.count("transmissions") if "transmissions" in totals.columns else None,
        "lost_rounds": int(totals.lost.sum()),
        "nonfinite_rounds": int(np.isfinite(totals.columns["nonfinite_payloads"]).sum())
        if "nonfinite_payloads" in totals.columns
        else 0,
        "truncated_fraction": None if totals.mean("truncated") is None else (totals.mean("truncated") or 0.0) / devices,
        "clipped_fraction": totals.mean("clipped_fraction"),
        "power_mean": totals.mean("power_mean"),
        "power_peak": totals.largest("power_peak"),
        "estimates_beyond_clip": totals.beyond(scenario.zeroth_order.clip),
        "present_devices_mean": totals.mean("present_devices") if "present_devices" in totals.columns else float(devices),
        "missed_answers": totals.count("missed_devices"),
        "late_answers": totals.count("late_devices"),
        "stale_answers": totals.count("stale_devices"),
        "wrong_seed_answers": totals.count("wrong_seed_devices"),
        "lost_broadcasts": totals.count("lost_broadcast_devices"),
        "drifted_answers": totals.count("drifted_devices"),
        "drift_distance_max": totals.largest("drift_distance") or 0.0,
        **privacy,
        "diverged": evaluations[-1].loss is None,
        "resumed_from_round": resumed_from,
        "wall_s": wall_s,
        "peak_rss_mib": peak_rss_mib(),
        "peak_rss_server_mib": server_peak_mib,
        "notes": notes,
        "versions": versions(),
    }


def _ratio_db(power: float | None, noise: float | None) -> float | None:
    return 10.0 * math.log10(power / noise) if power and noise and power > 0 and noise > 0 else None


def _scores(evaluations: list[Evaluation], noise_free: list[Evaluation]) -> dict[str, Any]:
    """``metric``, the headline score's name, and every score before, after and noise-free; None for those that do not exist."""
    found: dict[str, Any] = {"metric": evaluations[-1].metric}
    for name in dict.fromkeys(("accuracy", "f1", "exact_match", *evaluations[-1].scores)):
        found[f"{name}_zero_shot"] = evaluations[0].scores.get(name)
        found[f"{name}_final"] = evaluations[-1].scores.get(name)
        found[f"{name}_noise_free"] = noise_free[-1].scores.get(name) if noise_free else None
    return found


def _channel_uses(scenario: Scenario, link: dict[str, int | float | str]) -> dict[str, int]:
    """Channel uses of one round by purpose, rounded up."""
    if link.get("n0") is None:  # the noise-free link occupies one symbol of no air
        return {"payload": scenario.zeroth_order.directions, "pilots": 0, "preamble": 0, "guard": 0}
    uses = channel_uses(scenario.link, scenario.federation.devices, scenario.zeroth_order.directions)
    return {purpose: math.ceil(count) for purpose, count in uses.items()}


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that shape a result."""
    found = {"python": sys.version.split()[0]}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
