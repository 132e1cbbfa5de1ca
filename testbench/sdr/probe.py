"""Ask a signal path what it does: patterns through every branch, a table, and the section ``[stream]`` that fits."""

import json
import time
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from bridge.streams.config import StreamConfig
from bridge.streams.opening import Proof
from bridge.streams.session import StreamSession
from testbench.errors import TestbenchError
from testbench.scenario import Scenario

__all__ = ["PathReport", "probe", "section", "show_probe"]

SLOT_SAMPLES = 4096
# A deadline is to be missed by a path that stands still, and by no other: so many times the slowest slots.
_DEADLINE_TIMES = 20.0


@dataclass(frozen=True)
class PathReport:
    """What was measured: the opening, then empty slots.

    ``n0``: variance of a complex sample of noise. ``slots``, ``lost``: sent and lost. ``median_s``, ``slow_s``: of their round
    trips, and the 95th percentile. ``opening_s``: from connecting to the first proof. ``returned``: samples per sample sent.
    """

    proof: Proof
    n0: float
    slots: int
    lost: int
    median_s: float
    slow_s: float
    opening_s: float
    returned: float


def _config(scenario: Scenario) -> StreamConfig:
    if not scenario.stream.on:
        raise TestbenchError(
            "this scenario has no signal path to probe: name one in its section [stream]: --set stream.flowgraph=passthrough"
        )
    stated = scenario.stream.resolved(scenario.link, scenario.seed)
    # What the scenario says is to be measured, and not to be believed.
    return StreamConfig.of({**stated.model_dump(), "latency_samples": "auto", "withheld_samples": "auto"}, "[stream]")


def probe(scenario: Scenario, slots: int = 100) -> PathReport:
    """Connect, or start the flowgraph; send patterns, then empty slots; stop it again. No payload is sent.

    Raises :class:`bridge.streams.errors.StreamError` where the path does not pass what is sent, in a sentence that says what
    to change, and :class:`testbench.errors.TestbenchError` where there is none.
    """
    config, devices = _config(scenario), scenario.federation.devices
    session = StreamSession(config, antennas=scenario.link.receive_antennas, rate_hz=scenario.link.burst.sample_rate_hz)
    try:
        began = time.monotonic()
        proof = session.open(devices)
        opening_s = time.monotonic() - began
        silence = np.zeros((devices, SLOT_SAMPLES), np.complex64)
        times = []
        for number in range(slots):
            began = time.monotonic()
            if session.slot(silence, number) is not None:
                times.append(time.monotonic() - began)
        proof = session.open(devices)
        ledger = session.ledger
        assert ledger is not None
        returned = (min(ledger.received) + max(0, proof.withheld_samples)) / ledger.sent
        return PathReport(
            proof,
            session.measured["stream_n0"],
            slots,
            session.lost_slots,
            float(np.median(times)) if times else float("nan"),
            float(np.quantile(times, 0.95)) if times else float("nan"),
            opening_s,
            returned,
        )
    finally:
        session.close()


def section(scenario: Scenario, report: PathReport) -> str:
    """The section ``[stream]`` that fits what was measured, as TOML."""
    stream = scenario.stream
    lines = ["[stream]"]
    for name in type(stream).model_fields:
        value = getattr(stream, name)
        if name in ("latency_samples", "withheld_samples", "deadline_s") or value == type(stream).model_fields[name].default:
            continue
        lines.append(f"{name} = {json.dumps(list(value) if isinstance(value, tuple) else value)}")
    # What came in front may be of an earlier run, and then is none of the path's latency.
    latency = report.proof.latency_samples if report.proof.withheld_samples >= 0 else "auto"
    lines.append(f"latency_samples = {json.dumps(latency)}")
    lines.append(f"withheld_samples = {max(0, report.proof.withheld_samples)}")
    deadline = max(stream.deadline_s if report.lost else 1.0, round(_DEADLINE_TIMES * report.slow_s, 1))
    lines.append(f"deadline_s = {min(60.0, deadline) if np.isfinite(deadline) else stream.deadline_s}")
    return "\n".join(lines)


def show_probe(console: Console, scenario: Scenario, report: PathReport) -> None:
    """Print the table of branches, what holds for all, and the section that fits."""
    rate = scenario.link.burst.sample_rate_hz
    table = Table(box=None, pad_edge=False, title="what the path does to each device", title_justify="left")
    names = ("device", "antenna", "latency", "gain, dB", "phase, deg", "CFO, Hz", "spread", "SNR max, dB")
    for name in names:
        table.add_column(name, justify="right")
    for branch in report.proof.branches:
        power = abs(branch.gain) ** 2
        snr = f"{10 * np.log10(power / report.n0):.1f}" if report.n0 > 0 else "no noise"
        table.add_row(
            str(branch.device),  # whose address is the one of its place in [stream] below
            str(branch.antenna),
            str(branch.lag_samples),
            f"{10 * np.log10(power):.2f}",
            f"{np.degrees(np.angle(branch.gain)):.1f}",
            f"{branch.cycles_per_sample * rate:.1f}",
            str(branch.spread_samples),
            snr,
        )
    console.print(table)
    proof = report.proof
    lines = [
        f"noise     N0 {report.n0:.3g} measured, {scenario.link.n0:.3g} configured (link.snr_max_db "
        f"{scenario.link.snr_max_db:g})",
        f"count     {report.returned:.4f} samples return per sample sent; {max(0, proof.withheld_samples)} are withheld until "
        f"more follow{_in_front(proof)}",
        f"slots     {report.slots} of {SLOT_SAMPLES} samples, {report.lost} lost; round trip {1e3 * report.median_s:.2f} ms "
        f"(median), {1e3 * report.slow_s:.2f} ms (95th percentile); opened in {report.opening_s:.2f} s",
        *([f"step      branches were out of step; {', '.join(map(str, proof.realigned))} zeros more brought them into step"]
          if any(proof.realigned) else []),
        "",
        section(scenario, report),
    ]  # fmt: skip
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _in_front(proof: Proof) -> str:
    if proof.withheld_samples >= 0:
        return ""
    return f"; {-proof.withheld_samples} came in front, of a block that puts samples there or of an earlier run"
