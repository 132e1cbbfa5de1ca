"""Tables that a person reads: largest offsets, scalar against gradient, presets with their sources, cost."""

import math
from collections.abc import Mapping, Sequence

from testbench.stress.comparison import Compared
from testbench.stress.hardware import Hardware
from testbench.stress.limits import Row, plus_minus
from testbench.stress.metrics import Interval
from testbench.stress.plan import StressConfig

Table = list[list[str]]


def largest_table(plan: StressConfig, rows: Sequence[Row], axis: str) -> Table:
    """Largest offsets of one axis: a line per contestant."""
    unit, factor = plan.chosen_axes()[axis].shown_unit
    start = f"{plan.chosen_axes()[axis].values[0] / factor:g}{f' {unit}' if unit else ''}"
    nmse, wrong = f"NMSE < {plan.nmse_limit_db:g} dB up to", f"wrong sign < {100 * plan.wrong_sign_limit:g} % up to"
    table = [["scheme", f"NMSE at {start}", nmse, f"wrong sign at {start}", wrong]]
    for row in rows:
        if row["axis"] == axis:
            table.append(
                [
                    row["label"],
                    _banded(row, "nmse_db", 1.0, "dB"),
                    row["_nmse"].shown(factor, unit),
                    _banded(row, "wrong_sign", 100.0, "%"),
                    row["_wrong_sign"].shown(factor, unit),
                ]
            )
    return table


def gradient_table(plan: StressConfig, compared: Sequence[Compared]) -> Table:
    """Scalar against gradient: largest offsets absolute and in T, and the ratios to both scalars."""
    stretch = plan.scalar_vs_gradient.stretch
    head = ["payload", "offset", "largest", "τ/T or f·T", "scalar / this", f"{stretch:g} T scalar / this", "rounds"]
    table = [head]
    for c in compared:
        unit, factor = ("us", 1e-6) if c.axis == "timing" else ("kHz", 1e3) if c.largest.value >= 1e3 else ("Hz", 1.0)
        table.append(
            [
                c.variant,
                "timing" if c.axis == "timing" else f"CFO, {1e3 * c.age_s:g} ms after the pilot",
                c.largest.shown(factor, unit),
                "" if c.largest.state == "none" else f"{c.normalised:.3g}",
                _ratio(c.scalar_ratio),
                _ratio(c.long_ratio),
                str(c.rounds),
            ]
        )
    return table


def hardware_table(known: Mapping[str, Hardware]) -> Table:
    """Presets: laws, and where each figure comes from."""
    table = [["preset", "what", "timing", "frequency", "phase", "source"]]
    for name, hardware in known.items():
        stated = "; ".join(f"{key}: {text}" for key, text in hardware.provenance.items())
        source = f"{hardware.source}{f' <{hardware.link}>' if hardware.link else ''}{f'. {stated}' if stated else ''}"
        table.append([name, hardware.label, *(hardware.in_words(key) for key in ("timing", "frequency", "phase")), source])
    return table


def cost_table(rows: Sequence[Row]) -> Table:
    """Energy and channel uses of a scalar, a line per scheme, from the first point of each."""
    table = [["scheme", "peak energy per scalar", "mean energy per scalar", "channel uses per scalar", "pilots per device"]]
    seen = set()
    for row in rows:
        if row["group"] in ("sweep", "preset") and row["contestant"] not in seen:
            seen.add(row["contestant"])
            uses = [row[key] for key in ("channel_uses_per_scalar", "pilot_symbols_per_device")]
            peak, mean = row["peak_power"], row["mean_power"]
            table.append([row["label"], f"{peak:.3g}", f"{mean:.3g}", *("" if use is None else f"{use:g}" for use in uses)])
    return table


def markdown(table: Table) -> str:
    """A table in Markdown."""
    head, *rest = table
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rest)) + "\n"


def _banded(row: Row, metric: str, factor: float, unit: str) -> str:
    """A metric at the first value with its 95 % band."""
    value, low, high = (factor * float(row[f"{metric}_at_first{end}"]) for end in ("", "_low", "_high"))
    return f"{plus_minus(value, low, high)} {unit}"


def _ratio(ratio: Interval) -> str:
    return "" if math.isnan(ratio.value) else plus_minus(ratio.value, ratio.low, ratio.high)
