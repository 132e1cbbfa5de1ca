"""One scalar against a gradient of d entries: the largest offsets that each stands, and their ratio."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from testbench.stress.limits import Largest, Row, largest
from testbench.stress.metrics import Interval
from testbench.stress.plan import StressConfig
from testbench.stress.points import gradient_variants

COLUMNS = (
    "contestant", "variant", "entries", "symbol_duration_s", "rounds", "axis", "age_s", "state", "largest", "largest_low",
    "largest_high", "unit", "largest_times_T", "scalar_over_this", "scalar_over_this_low", "scalar_over_this_high",
    "long_scalar_over_this", "long_scalar_over_this_low", "long_scalar_over_this_high",
)  # fmt: skip


@dataclass(frozen=True)
class Compared:
    """One line: a variant, an axis, an age of the pilot, and the largest offset there."""

    contestant: str
    variant: str
    entries: int
    duration_s: float
    rounds: int
    axis: str
    age_s: float
    largest: Largest
    scalar_ratio: Interval
    long_ratio: Interval

    @property
    def normalised(self) -> float:
        """tau / T, or f T, with T the duration of one entry of this variant."""
        return self.largest.value / self.duration_s if self.axis == "timing" else self.largest.value * self.duration_s

    def row(self) -> Row:
        """As a row of the table."""
        return {
            "contestant": self.contestant,
            "variant": self.variant,
            "entries": self.entries,
            "symbol_duration_s": self.duration_s,
            "rounds": self.rounds,
            "axis": self.axis,
            "age_s": self.age_s,
            "state": self.largest.state,
            "largest": self.largest.value,
            "largest_low": self.largest.low,
            "largest_high": self.largest.high,
            "unit": "s" if self.axis == "timing" else "Hz",
            "largest_times_T": self.normalised,
            **_columns("scalar_over_this", self.scalar_ratio),
            **_columns("long_scalar_over_this", self.long_ratio),
        }


def curve_of(rows: Sequence[Row], contestant: str, axis: str, entries: int, duration_s: float, age_s: float) -> list[Row]:
    """The rows of one curve, by ascending value."""
    return sorted(
        (
            row
            for row in rows
            if row["group"] == "gradient"
            and (row["contestant"], row["axis"], row["entries"]) == (contestant, axis, entries)
            and row["symbol_duration_s"] == duration_s
            and row["age_s"] == age_s
        ),
        key=lambda row: float(row["value"]),
    )


def compare(plan: StressConfig, rows: Sequence[Row]) -> list[Compared]:
    """All lines of the comparison: timing at the first age, frequency at each."""
    section = plan.scalar_vs_gradient
    found = []
    for contestant in section.contestants if section.run else ():
        for axis, ages in (("timing", section.ages_s[:1]), ("cfo", section.ages_s)):
            for age_s in ages:
                lines = []
                for variant, entries, duration_s in gradient_variants(plan):
                    curve = curve_of(rows, contestant, axis, entries, duration_s, age_s)
                    if curve:
                        result = largest(curve, "nmse_db", plan.nmse_limit_db)
                        lines.append((variant, entries, duration_s, int(curve[0]["rounds"]), result))
                scalar = next((r for _, d, t, _, r in lines if d == 1 and t == section.symbol_duration_s), None)
                long = next((r for _, d, t, _, r in lines if d == 1 and t != section.symbol_duration_s), None)
                for variant, entries, duration_s, rounds, result in lines:
                    ratios = (_ratio(scalar, result), _ratio(long, result))
                    found.append(Compared(contestant, variant, entries, duration_s, rounds, axis, age_s, result, *ratios))
    return found


def _columns(name: str, ratio: Interval) -> Row:
    return {name: ratio.value, f"{name}_low": ratio.low, f"{name}_high": ratio.high}


def _ratio(above: Largest | None, below: Largest) -> Interval:
    """Ratio with the ends that both bands allow together, 1 of a figure over itself; NaN unless both are figures.

    Where ``above`` held to its range's end, the ratio is a lower bound.
    """
    if above is None or above.state == "none" or below.state != "found" or below.value <= 0:
        return Interval(math.nan, math.nan, math.nan)
    if above is below:
        return Interval(1.0, 1.0, 1.0)
    low = above.low / below.high if below.high > 0 else math.nan
    high = above.high / below.low if below.low > 0 else math.nan
    return Interval(above.value / below.value, low, high)
