"""The table of a comparison: tidy CSV, flat JSON, and what the terminal shows."""

import csv
import io
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from testbench.comparison.costs import RoundCosts
from testbench.comparison.folder import ComparisonFolder, write
from testbench.privacy.secrecy import of_several
from testbench.run_folder import spoken
from testbench.scenario import Scenario

Facts = dict[str, Any]

#: Columns of ``comparison.csv``; docs/baselines.md says what each means.
COLUMNS = (
    "method", "title", "seed", "round", "metric", "score", "loss", "channel_uses", "payload_uses", "pilot_uses", "uplink_bits",
    "downlink_bits", "forwards", "backwards", "seconds",
)  # fmt: skip


def rows(facts: Sequence[Facts]) -> list[dict[str, Any]]:
    """One row per method, seed and measurement; counts are totals up to it."""
    found = []
    for one in facts:
        costs = RoundCosts(**one["costs"])
        for at in one["track"]:
            done = at["round"]
            found.append(
                {
                    "method": one["method"],
                    "title": one["title"],
                    "seed": one["seed"],
                    "round": done,
                    "metric": at["metric"],
                    "score": at["score"],
                    "loss": at["loss"],
                    "channel_uses": done * costs.channel_uses,
                    "payload_uses": done * costs.payload_uses,
                    "pilot_uses": done * costs.pilot_uses,
                    "uplink_bits": done * costs.uplink_bits,
                    "downlink_bits": done * costs.downlink_bits,
                    "forwards": done * costs.forwards,
                    "backwards": done * costs.backwards,
                    "seconds": round(at["seconds"], 3),
                }
            )
    return found


def write_tables(folder: ComparisonFolder, scenario: Scenario, facts: Sequence[Facts]) -> None:
    """``comparison.csv`` and ``comparison.json``."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows(facts):
        writer.writerow({key: "" if value is None else _number(value) for key, value in row.items()})
    write(folder.table, text.getvalue())
    link = scenario.link
    content = {
        "scenario": scenario.name,
        "snr_max_db": link.snr_max_db,
        "n0": link.n0,
        "devices": scenario.federation.devices,
        "seeds": sorted({one["seed"] for one in facts}),
        "note": of_several([scenario]),
        "methods": [{key: value for key, value in one.items() if key != "track"} for one in facts],
    }
    write(folder.summary, json.dumps(content, indent=2, allow_nan=False) + "\n")


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else value


def show(console: Console, facts: Sequence[Facts]) -> None:
    """One line per method: final score and loss (mean over seeds, +- standard deviation), and costs.

    Uses and bits are those of a round, all devices together; the last bits are those of the whole run, up and down.
    """
    seeds = sorted({one["seed"] for one in facts})
    band = f"{len(seeds)} seeds, mean ± std" if len(seeds) > 1 else f"seed {seeds[0]}, one run"
    heads = (spoken(facts[0]["metric"]), "loss", "rounds", "seconds", "uses", "(pilots)", "bits up", "down", "bits in all")
    lines = []
    for mine in grouped(facts):
        costs, rounds = RoundCosts(**mine[0]["costs"]), mine[0]["rounds"]
        losses = [one["loss_final"] for one in mine if one["loss_final"] is not None]
        lines.append((
            mine[0]["title"],
            _mean([100 * one["score_final"] for one in mine], "{:.1f}") + " %",
            _mean(losses, "{:.3f}") if losses else "not a number",
            str(rounds),
            _mean([one["seconds"] for one in mine], "{:.1f}"),
            short(costs.channel_uses),
            short(costs.pilot_uses),
            short(costs.uplink_bits),
            short(costs.downlink_bits),
            short(rounds * (costs.uplink_bits + costs.downlink_bits)),
        ))  # fmt: skip
    # Scores and costs one below the other where a screen is too narrow for both.
    for first, last in ((0, 9),) if console.width >= 120 else ((0, 4), (4, 9)):
        table = Table(box=None, pad_edge=False)
        table.add_column(f"method ({band})", no_wrap=True)
        for head in heads[first:last]:
            table.add_column(head, justify="right", no_wrap=True)
        for title, *values in lines:
            table.add_row(title, *values[first:last])
        console.print(table)
    console.print("uses, pilots, bits up, down: of one round, all devices", markup=False, highlight=False)


def grouped(facts: Sequence[Facts]) -> list[list[Facts]]:
    """Runs of one method together, in the order of the methods."""
    order = list(dict.fromkeys(one["method"] for one in facts))
    return [[one for one in facts if one["method"] == name] for name in order]


def short(count: float) -> str:
    """A count with a decimal prefix: 1.34 M."""
    if not count:
        return "0"
    for limit, scale, prefix in ((1e12, 1e12, " T"), (1e9, 1e9, " G"), (1e6, 1e6, " M"), (1e4, 1e3, " k")):
        if abs(count) >= limit:
            return f"{count / scale:.3g}{prefix}"
    return f"{count:.0f}"


def _mean(values: Sequence[float], form: str) -> str:
    if not all(map(math.isfinite, values)):
        return "not a number"
    text = form.format(float(np.mean(values)))
    return text if len(values) < 2 else f"{text} ± {form.format(float(np.std(values, ddof=1)))}"
