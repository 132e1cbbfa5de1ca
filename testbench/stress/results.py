"""From finished units to rows: the tidy table, and the largest offsets that a limit allows."""

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from testbench.stress.evaluate import Measured
from testbench.stress.limits import Row, largest
from testbench.stress.metrics import summarise
from testbench.stress.plan import StressConfig
from testbench.stress.points import Point, Unit

COLUMNS = (
    "group", "contestant", "label", "axis", "value", "unit", "added", "preset", "entries", "symbol_duration_s", "age_s",
    "devices", "seed", "rounds", "snr_max_db", "n0", "peak_energy_per_scalar", "channel_uses_per_scalar",
    "pilot_symbols_per_device", "mean_power", "peak_power",
    "nmse_db", "nmse_db_low", "nmse_db_high", "median_error_db", "gain",
    "wrong_sign", "wrong_sign_low", "wrong_sign_high", "lost", "lost_low", "lost_high",
    "accuracy", "accuracy_zero_shot", "accuracy_noise_free",
)  # fmt: skip


def rows_of(plan: StressConfig, points: Sequence[tuple[Point, Sequence[Unit]]], found: dict[str, Measured]) -> list[Row]:
    """A row per open-loop point all of whose units are there."""
    rows = []
    for point, units in points:
        if all(unit.id in found for unit in units):
            parts = [found[unit.id] for unit in units]
            batches = [batch for part in parts for batch in part.batches]
            errors = np.concatenate([part.errors for part in parts])
            row = _base(plan, point, parts[0].facts)
            row.update(summarise(batches, errors, point.entries))
            rows.append(row)
    return rows


def training_rows(plan: StressConfig, units: Sequence[Unit], found: dict[str, Measured]) -> list[Row]:
    """A row per finished fine-tuning run, beside its noise-free reference."""
    rows = []
    for unit in units:
        point, training = unit.point, unit.training or {}
        if unit.id not in found or training.get("noise_free"):
            continue
        facts = found[unit.id].facts
        reference = found.get(f"accuracy/noise-free/{point.contestant}@{training['seed']}")
        row = _base(plan, point, {})
        row.update(
            {
                "seed": training["seed"],
                "devices": facts["devices"],
                "rounds": facts["rounds"],
                "accuracy": facts["accuracy"],
                "accuracy_zero_shot": facts["zero_shot"],
                "accuracy_noise_free": None if reference is None else reference.facts["accuracy"],
            }
        )
        rows.append(row)
    return rows


def _base(plan: StressConfig, point: Point, facts: dict[str, Any]) -> Row:
    config = point.config
    return {
        "group": point.group,
        "contestant": point.contestant,
        "label": point.label,
        "axis": point.axis,
        "value": point.value,
        "unit": point.unit,
        "added": int(point.added),
        "preset": point.preset,
        "entries": point.entries,
        "symbol_duration_s": config.offsets.symbol_duration_s,
        "age_s": config.csi.age_s,
        "devices": point.devices,
        "seed": plan.seed,
        "snr_max_db": config.snr_max_db,
        "n0": config.n0,
        "peak_energy_per_scalar": 1.0,  # the convention of the link: unit energy at full scale, however it is spread
        "channel_uses_per_scalar": facts.get("channel_uses_per_scalar"),
        "pilot_symbols_per_device": facts.get("pilot_symbols_per_device"),
    }


def to_csv(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """Comma-separated values; numbers as Python prints them, which reads back bit for bit; nothing for what is unknown."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row.get(name)) for name in columns])
    return out.getvalue()


def _cell(value: Any) -> Any:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return repr(value) if isinstance(value, float) else value


LARGEST_COLUMNS = (
    "axis", "contestant", "label", "unit",
    "nmse_limit_db", "nmse_db_at_first", "nmse_db_at_first_low", "nmse_db_at_first_high",
    "nmse_state", "nmse_largest", "nmse_largest_low", "nmse_largest_high",
    "wrong_sign_limit", "wrong_sign_at_first", "wrong_sign_at_first_low", "wrong_sign_at_first_high",
    "wrong_sign_state", "wrong_sign_largest", "wrong_sign_largest_low", "wrong_sign_largest_high",
)  # fmt: skip


def limits_of(plan: StressConfig, group: str) -> list[tuple[str, float]]:
    """Metrics with their limits, of the curves of a group: sweep or gradient."""
    found = [("nmse_db", plan.nmse_limit_db)]
    return [*found, ("wrong_sign", plan.wrong_sign_limit)] if group == "sweep" else found


def swept(rows: Sequence[Row], axis: str, contestant: str) -> list[Row]:
    """The rows of one curve of a sweep, by ascending value, those added around limits among them."""
    mine = (row for row in rows if row["group"] == "sweep" and (row["axis"], row["contestant"]) == (axis, contestant))
    return sorted(mine, key=lambda row: float(row["value"]))


def largest_rows(plan: StressConfig, rows: Sequence[Row]) -> list[Row]:
    """The table of largest offsets: a row per axis and contestant."""
    found = []
    for axis in plan.chosen_axes():
        for name in plan.contestants:
            curve = swept(rows, axis, name)
            if not curve:
                continue
            row: Row = {"axis": axis, "contestant": name, "label": curve[0]["label"], "unit": curve[0]["unit"]}
            for metric, limit in limits_of(plan, "sweep"):
                key = "nmse" if metric == "nmse_db" else metric
                result = largest(curve, metric, limit)
                row[f"{key}_limit_db" if key == "nmse" else f"{key}_limit"] = limit
                row |= {f"{metric}_at_first{end}": curve[0][f"{metric}{end}"] for end in ("", "_low", "_high")}
                row |= {f"{key}_state": result.state, f"{key}_largest": result.value}
                row |= {f"{key}_largest_low": result.low, f"{key}_largest_high": result.high, f"_{key}": result}
            found.append(row)
    return found
