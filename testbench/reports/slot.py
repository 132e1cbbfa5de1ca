"""One slot of a run, computed anew and looked into: the samples, their spectrum, and what each device adds to the sum.

The weights before the slot's round are rebuilt from the journal, the devices' scalars measured at them, and sent once more
through the same link with the same draws. Every burst is then sent alone too: an emulated air adds bursts and noise, and its
draws are keyed, so that the difference to silence is what that device adds, without noise.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy.signal import welch

from learning.federation import Federation
from learning.journal import Journal
from learning.uplink import Aggregate
from phy.backends import in_process
from phy.blocks import waveform_air
from phy.burst.receiver import matched_filters, receive
from phy.config import LinkConfig
from testbench.captures.airs import refuse_private, waveform_link
from testbench.captures.uplink import LinkUplink
from testbench.errors import TestbenchError
from testbench.reports.drawing import COLOURS, GREY, Panel, panel
from testbench.reports.runs import Run
from testbench.runner import Watcher, prepare

Complexes = NDArray[np.complex64]


@dataclass(frozen=True)
class Slot:
    """A round's slot at the first antenna.

    ``sent`` [K, N] bursts as transmitted, ``received`` [N] with noise; ``alone`` [K, R] and ``heard`` [R]: matched-filter
    outputs of the payload's R resources for every device by itself without noise, and as received. ``same``: the estimate has
    the bits of the run's; None where the run had no waveforms, and this is the twin of its link.
    """

    round: int
    layout: Any
    sent: Complexes
    received: Complexes
    alone: Complexes
    heard: Complexes | None
    estimates: tuple[float, ...] | None
    same: bool | None
    n0: float
    sample_rate_hz: float


class _Seen:
    """An air of which the last slot is kept, with what it was asked."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.asked: tuple[Complexes, int, Complexes, int] | None = None
        self.samples: Complexes | None = None

    def transmit(self, bursts: Complexes, round_index: int, sounded: Complexes, reference_sample: int) -> Complexes:
        """What the air behind it returns."""
        self.asked = (bursts, round_index, sounded, reference_sample)
        self.samples = self.inner.transmit(*self.asked)
        return self.samples


class _Keeping:
    """An uplink that remembers how many scalars its last payloads had."""

    def __init__(self, uplink: LinkUplink) -> None:
        self._uplink = uplink
        self.scalars = 1

    def aggregate(self, round_index: int, payloads: NDArray[np.float64], present: Any = None) -> Aggregate:
        """See :class:`learning.uplink.Uplink`."""
        self.scalars = payloads.shape[1]
        return self._uplink.aggregate(round_index, payloads, present)


def compute_slot(run: Run, index: int, watcher: Watcher | None = None) -> Slot:
    """Round ``index`` of a run, once more, with its waveforms.

    Raises :class:`testbench.errors.TestbenchError` where the run has no such round, claims privacy, went over another air than
    the emulated one, or nothing was sent in the round; and what the link itself raises.
    """
    scenario, watcher = run.scenario, watcher or Watcher()
    refuse_private(scenario)
    if scenario.fleet.deposits:
        raise TestbenchError("a slot shows what each device sent, which this fleet kept to the air; leave out --slot")
    if not 0 <= index < run.rounds:
        raise TestbenchError(f"{run.folder.path} has rounds 0 to {run.rounds - 1}, not {index}")
    if scenario.uplink.transport == "none":
        raise TestbenchError(f"{run.folder.path} went over a noise-free link, which has no slots")
    config = in_process(scenario.link)
    if config.burst.air != "emulated":
        raise TestbenchError(f"the air {config.burst.air} is not asked again; look at what passed with: pairzero capture")
    twin = config.fidelity != "waveform"
    if twin:
        config = LinkConfig.model_validate({**config.model_dump(), "fidelity": "waveform"})
    airs: list[_Seen] = []

    def see(*of_link: Any) -> _Seen:
        airs.append(_Seen(waveform_air(*of_link)))
        return airs[0]

    link = waveform_link(config, scenario.seed, see)
    uplink = _Keeping(LinkUplink(link))
    data, build = prepare(scenario, watcher)
    with Journal(run.folder.journal, read_only=True) as source, Journal(":memory:") as journal:
        federation = Federation(build(), data, scenario.federation, scenario.zeroth_order, uplink, journal)
        rows = list(source.rows(index + 1))
        for row in rows[:index]:
            journal.append(row.round, row.seed, row.estimates, row.diagnostics, row.learning_rate)
        federation.resume(lambda done, total: watcher.preparing("replay", done, total))
        record = next(iter(federation.run(1)))
    seen = airs[0]
    if seen.asked is None or seen.samples is None:
        raise TestbenchError(f"nothing was sent in round {index}: every device was silent; choose another --slot")
    layout = link.layout(scenario.federation.devices, uplink.scalars)
    same = None if twin else record.estimates == rows[index].estimates
    alone, heard = _apart(seen, layout, config.n0)
    return Slot(
        index,
        layout,
        seen.asked[0],
        seen.samples[0],
        alone,
        heard,
        record.estimates,
        same,
        config.n0,
        config.burst.sample_rate_hz,
    )


def _apart(seen: _Seen, layout: Any, n0: float) -> tuple[Complexes, Complexes | None]:
    """Matched-filter outputs [K, R] of every device alone without noise, and [R] as received and synchronised."""
    assert seen.asked is not None
    assert seen.samples is not None
    bursts, *rest = seen.asked
    silence = seen.inner.transmit(np.zeros_like(bursts), *rest)
    alone = []
    for device in range(len(bursts)):
        single = np.zeros_like(bursts)
        single[device] = bursts[device]
        difference = (seen.inner.transmit(single, *rest) - silence).astype(np.complex64)
        alone.append(matched_filters(layout, difference)[:, :, 0].reshape(-1))
    reception = receive(layout, seen.samples, n0)
    return np.stack(alone), reception.statistics[:, :, 0].reshape(-1) if reception.found else None


def slot_panels(slot: Slot) -> list[Panel]:
    """Constellation, spectrum and envelope of a slot."""
    return [
        panel("Constellation", _constellation_text(slot), lambda axes: _constellation(axes, slot)),
        panel(
            "Spectrum",
            "Power spectral density of the slot over that of the noise (Welch's method, Hann window).",
            lambda axes: _spectrum(axes, slot),
        ),
        panel(
            "Slot in time",
            "Envelope at the first antenna over the root of N0; sections as the receiver's clock has them.",
            lambda axes: _envelope(axes, slot),
        ),
    ]


def _constellation_text(slot: Slot) -> str:
    missed = " The receiver missed the preamble: nothing was decided." if slot.heard is None else ""
    return (
        "Payload after the matched filter at the first antenna: each device alone and without noise, their sum, and what was "
        f"received. The circle is one standard deviation of the noise.{missed}"
    )


def _constellation(axes: Axes, slot: Slot) -> None:
    total = slot.alone.sum(axis=0)
    marks = ("o", "s", "^", "D", "v", "P", "X", "*")
    for device, points in enumerate(slot.alone[: len(marks) * len(COLOURS)]):
        label = f"device {device}" if len(slot.alone) <= 6 else ("devices, each alone" if device == 0 else None)
        colour = COLOURS[device % len(COLOURS)] if len(slot.alone) <= 6 else COLOURS[0]
        mark = marks[device % len(marks)] if len(slot.alone) <= 6 else "o"
        axes.plot(points.real, points.imag, mark, color=colour, markersize=5, linestyle="none", label=label)
    axes.plot(total.real, total.imag, "+", color="black", markersize=11, label="sum, without noise")
    around = np.exp(2j * np.pi * np.linspace(0, 1, 100))
    for point in total:
        circle = point + math.sqrt(slot.n0) * around
        axes.plot(circle.real, circle.imag, color=GREY, linewidth=0.8)
    if slot.heard is not None:
        axes.plot(slot.heard.real, slot.heard.imag, "x", color=COLOURS[1], markersize=9, markeredgewidth=2, label="received")
    axes.axhline(0, color=GREY, linewidth=0.6)
    axes.axvline(0, color=GREY, linewidth=0.6)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set(xlabel="in phase", ylabel="quadrature")
    axes.set_position((0.15, 0.16, 0.53, 0.80))
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0.0, fontsize=6.5, frameon=False)


def _spectrum(axes: Axes, slot: Slot) -> None:
    fs = slot.sample_rate_hz
    scale, unit = (1e6, "MHz") if fs >= 2e6 else (1e3, "kHz")
    count = min(256, slot.received.size)
    for samples, label, colour in (
        (slot.sent.sum(axis=0), "sent, all devices", COLOURS[1]),
        (slot.received, "received", COLOURS[0]),
    ):
        at, density = welch(samples, fs, nperseg=count, return_onesided=False, detrend=False)
        order = np.argsort(at)
        level = 10 * np.log10(np.maximum(density[order] * fs / slot.n0, 1e-9))
        axes.plot(at[order] / scale, level, color=colour, label=label, linewidth=1.2)
    axes.axhline(0, color=GREY, linestyle=":", label="noise alone, N0")
    top = axes.get_ylim()[1]
    axes.set(xlabel=f"frequency [{unit}]", ylabel="density over N0 [dB]", ylim=(max(-40.0, top - 70.0), top))
    axes.legend(fontsize=7)


def _envelope(axes: Axes, slot: Slot) -> None:
    at_us = 1e6 * np.arange(slot.received.size) / slot.sample_rate_hz
    axes.plot(at_us, np.abs(slot.received) / math.sqrt(slot.n0), color=COLOURS[0], linewidth=0.7, rasterized=True)
    layout = slot.layout
    named = [("preamble", layout.preamble)] if layout.preamble is not None else []
    named += [("pilots" if i == 0 else "", section) for i, section in enumerate(layout.pilots)] + [("payload", layout.payload)]
    shades = {"preamble": COLOURS[2], "payload": COLOURS[1]}
    for name, section in named:
        begin, end = (1e6 * edge / slot.sample_rate_hz for edge in (section.first, section.stop))
        axes.axvspan(begin, end, color=shades.get(name, COLOURS[5]), alpha=0.2, linewidth=0)
        if name:
            axes.annotate(name, (begin, 0.97), xycoords=("data", "axes fraction"), fontsize=7, va="top")
    axes.set(xlabel="time in the slot [us]", ylabel="envelope / √N0")


def explain(slot: Slot, rounds: int) -> str:
    """Where the slot comes from, in a sentence or two."""
    origin = f"Round {slot.round} of {rounds}, computed anew: weights from the journal, the same batches, channels and noise."
    if slot.same is None:
        return (
            f"{origin} The run was of symbol fidelity, which has no samples: this is its twin at waveform fidelity, with "
            "its own noise."
        )
    if slot.same:
        return f"{origin} Its estimate has the bits of the run's journal."
    return (
        f"{origin} Its estimate differs from the run's journal: another machine, another number of threads, or another version."
    )
