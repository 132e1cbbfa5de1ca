"""Table T1: peak memory measured and by arithmetic, bits and passes; as CSV, JSON and on the terminal."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from testbench.comparison.table import short
from testbench.footprint import methods
from testbench.footprint.arithmetic import copies_mib
from testbench.footprint.subject import Measurement

#: Columns of ``memory.csv``; docs/baselines.md says what each means.
COLUMNS = (
    "model", "method", "title", "batch", "tokens", "device", "forward", "weights", "trained", "peak_mib", "over_inference",
    "over_adam", "model_mib", "imports_mib", "reserved_mib", "arithmetic_float32_mib", "arithmetic_half_mib", "forwards",
    "backwards", "uplink_bits", "downlink_bits", "uplink_bits_total", "downlink_bits_total", "seconds_per_step",
)  # fmt: skip

_REAL_BITS = 32


@dataclass(frozen=True)
class Federation:
    """What bits are counted for: K devices over T rounds."""

    devices: int
    rounds: int


def rows(found: Sequence[Measurement], federation: Federation) -> list[dict[str, Any]]:
    """One row per measurement."""
    peaks = {(m.spec.model, m.spec.batch, m.spec.tokens, m.spec.method): m.peak_mib for m in found}
    table = []
    for m in found:
        spec, facts = m.spec, methods.facts(m.spec.method)
        up, down = bits_per_device(spec.method, m.trained)
        up *= federation.devices
        inference = peaks.get((spec.model, spec.batch, spec.tokens, "inference_answer"))
        adam = peaks.get((spec.model, spec.batch, spec.tokens, "adam"))
        table.append(
            {
                "model": spec.model,
                "method": spec.method,
                "title": facts.TITLE,
                "batch": spec.batch,
                "tokens": spec.tokens,
                "device": spec.device,
                "forward": spec.forward,
                "weights": m.weights,
                "trained": m.trained,
                "peak_mib": round(m.peak_mib, 1),
                "over_inference": None if not inference else round(m.peak_mib / inference, 4),
                "over_adam": None if not adam else round(m.peak_mib / adam, 4),
                "model_mib": round(m.model_mib, 1),
                "imports_mib": round(m.imports_mib, 1),
                "reserved_mib": m.reserved_mib,
                "arithmetic_float32_mib": round(copies_mib(m.weights, facts.COPIES, 4, m.trained), 2),
                "arithmetic_half_mib": round(copies_mib(m.weights, facts.COPIES, trained=m.trained), 2),
                "forwards": facts.FORWARDS,
                "backwards": facts.BACKWARDS,
                "uplink_bits": up,
                "downlink_bits": down,
                "uplink_bits_total": up * federation.rounds,
                "downlink_bits_total": down * federation.rounds,
                "seconds_per_step": round(m.seconds_per_step, 3),
            }
        )
    return table


def bits_per_device(method: str, trained: int) -> tuple[int, int]:
    """(uplink bits of one device, bits of the broadcast) of a round: as in ``pairzero compare`` (docs/baselines.md)."""
    facts = methods.facts(method)
    if hasattr(facts, "UPLINK_BITS"):
        return int(facts.UPLINK_BITS), _REAL_BITS
    if facts.BACKWARDS:
        return _REAL_BITS * trained, _REAL_BITS * trained
    return 0, 0


def as_csv(table: Sequence[dict[str, Any]]) -> str:
    """The table as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in table:
        writer.writerow({key: "" if value is None else value for key, value in row.items()})
    return text.getvalue()


def as_json(table: Sequence[dict[str, Any]], federation: Federation, versions: dict[str, str]) -> str:
    """The table as JSON, with what its bits are counted for."""
    content = {**asdict(federation), "versions": versions, "rows": list(table)}
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def show(console: Console, table: Sequence[dict[str, Any]], federation: Federation) -> None:
    """Table T1, one block per model and batch."""
    for key in dict.fromkeys((row["model"], row["batch"], row["tokens"]) for row in table):
        mine = [row for row in table if (row["model"], row["batch"], row["tokens"]) == key]
        weights = mine[0]["weights"]
        heads = ("peak MiB", "/ infer.", "/ Adam", "paper's", "(half)", "bits up", "down", "total", "passes", "s/step")
        console.print(f"{key[0]}, {weights / 1e6:.4g} M weights, {key[1]} x {key[2]} tokens", markup=False, highlight=False)
        cells = []
        for row in mine:
            total = row["uplink_bits_total"] + row["downlink_bits_total"]
            cells.append((
                row["title"],
                f"{row['peak_mib']:.0f}",
                _ratio(row["over_inference"]),
                "-" if row["over_adam"] is None else f"{100 * row['over_adam']:.1f} %",
                f"{row['arithmetic_float32_mib']:.0f}",
                f"{row['arithmetic_half_mib']:.2f}",
                short(row["uplink_bits"]),
                short(row["downlink_bits"]),
                short(total),
                f"{row['forwards']}F" + (f"+{row['backwards']}B" if row["backwards"] else ""),
                f"{row['seconds_per_step']:.2f}",
            ))  # fmt: skip
        # Memory and traffic one below the other where a screen is too narrow for both.
        for first, last in ((0, 10),) if console.width >= 128 else ((0, 5), (5, 10)):
            shown = Table(box=None, pad_edge=False)
            shown.add_column("", no_wrap=True)
            for head in heads[first:last]:
                shown.add_column(head, justify="right", no_wrap=True)
            for title, *values in cells:
                shown.add_row(title, *values[first:last])
            console.print(shown)
    console.print(
        "paper's: copies of the weights, MiB in float32 and in half precision\n"
        f"bits: of a round, K = {federation.devices} devices; total: up and down over T = {federation.rounds} rounds",
        markup=False, highlight=False,
    )  # fmt: skip


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
