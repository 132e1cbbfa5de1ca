"""What the capture commands print."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bridge.captures.opening import Stated, open_all
from bridge.captures.overlay import OverlayConfig
from bridge.captures.recording import Recording
from bridge.captures.sounding import Sounding
from phy.link import LinkResult
from testbench.captures.capture import Capture, find_capture
from testbench.captures.doubts import WHY, doubts, layout_of, reasons
from testbench.captures.finding import Bursts
from testbench.captures.overlaying import Comparison
from testbench.captures.playback import exact
from testbench.clip import beyond_clip
from testbench.errors import TestbenchError

Floats = NDArray[np.float64]

OPEN_LOOP = (
    "open loop: these samples answer what was sent when they were recorded, and cannot react; no model is trained on them"
)


def describe(file: Path, stated: Stated) -> Iterator[str]:
    """Lines on a capture; reading it checks every hash."""
    path = find_capture(file)
    recordings = open_all(path, stated)
    first = recordings[0]
    yield f"{path}: {len(recordings)} recording{'s' if len(recordings) > 1 else ''}"
    link = first.own("link")
    if isinstance(link, dict):
        yield (
            f"link      scheme {link.get('scheme')}, {first.own('devices')} devices, {first.own('antennas')} antennas, "
            f"snr_max_db {link.get('snr_max_db')}, seed {first.own('seed')}, slots of {first.own('slot_samples')} samples"
        )
        rounds = [note.own("round") for note in first.annotations]
        if rounds:
            yield f"rounds    {len(rounds)}, from {min(rounds)} to {max(rounds)}"
    for recording in recordings:
        channels, count = recording.samples.shape
        power = float(np.square(np.abs(recording.samples.astype(np.complex128))).mean()) if count else 0.0
        level = f"{10 * np.log10(power):.1f} dB" if power > 0 else "silent"
        many = f" x {channels} channels" if channels > 1 else ""
        hashed = "sha512 matches" if recording.verified else "no sha512 stated"
        frequency = "" if recording.frequency_hz is None else f", {recording.frequency_hz / 1e6:g} MHz"
        yield (
            f"{recording.path.name:24} {recording.format}, {count} samples{many} at {recording.sample_rate_hz:g} Hz{frequency}"
            f", mean power {level}, {len(recording.annotations)} annotations, {hashed}"
        )
        if recording.unused():
            yield f"{'':24} without effect: {', '.join(recording.unused())}"
        yield from recording.notes


def show_replay(console: Console, capture: Capture, result: LinkResult, show: int, doubted: Iterable[str] = ()) -> None:
    """Estimates beside the recorded ones, what the receiver found and measured, and what is to be doubted, as sentences.

    ``doubted`` are doubts of the caller's own. Raises :class:`TestbenchError` where a recorded estimate was not met exactly.
    """
    layout = layout_of(capture)
    why = reasons(capture, layout, result)
    values = result.diagnostics
    table = Table(box=None, pad_edge=False)
    names = ("round", "estimate") if capture.truth is None else ("round", "estimate", "recorded", "mean payload")
    for name in (*names, "metric", "late", "CFO Hz", "phase", "SNR dB"):
        table.add_column(name, justify="right")
    table.add_column("", no_wrap=True)
    means = capture.mean_payloads()
    unknown = np.full(len(capture.rounds), np.nan)
    late = values.get("timing_s", unknown) * capture.config.burst.sample_rate_hz
    for i in range(min(show, len(capture.rounds))):
        cells = [str(capture.rounds[i]), _cell(result.estimates[i, 0])]
        if capture.truth is not None:
            cells += [_cell(capture.truth.estimates[i, 0]), _cell(means[i, 0])]
        cells += [_cell(values.get("preamble_metric", unknown)[i], 3), _cell(late[i], 2)]
        measured = (("frequency_hz", 1), ("phase_rad", 2), ("snr_measured_db", 1))
        cells += [_cell(values.get(name, unknown)[i], digits) for name, digits in measured]
        beyond = bool(beyond_clip(result.estimates[i], capture.config.clip).any())
        table.add_row(*cells, "beyond the clip" if beyond else {**WHY, "air": "lost by the air", "": ""}[why[i]])
    if show:
        console.print(table)
    for note in capture.notes:
        _say(console, note)
    _say(console, OPEN_LOOP)
    _say(console, f"{len(capture.rounds)} rounds, {int(result.lost.sum())} lost{_lost(why)}")
    _say(console, _noise(capture, values))
    for doubt in (*doubted, *doubts(capture, layout, result)):
        _say(console, f"doubt: {doubt}")
    if capture.truth is None:
        _say(console, "the recording does not say what was sent: there is nothing to compare with")
        return
    same = exact(capture, result)
    if not same.all():
        raise TestbenchError(
            f"{int((~same).sum())} of {len(same)} rounds differ from what was recorded, the first is round "
            f"{capture.rounds[np.flatnonzero(~same)[0]]}: another machine, another version, or altered metadata"
        )
    _say(console, "all estimates have the bits of those recorded")


def show_bursts(console: Console, recording: Recording, own_rate_hz: float, bursts: Bursts, show: int) -> None:
    """One line per burst, places in samples of the file, and where a replay has to start."""
    for note in recording.notes:
        _say(console, note)
    if not len(bursts.starts):
        _say(
            console,
            f"{recording.path}: no burst of this link in {recording.samples.shape[1]} samples: wrong scenario, sample rate "
            "or format, a carrier offset beyond the preamble's limit, or too little signal",
        )
        return
    file_samples = bursts.starts * own_rate_hz / recording.sample_rate_hz
    gaps = np.diff(bursts.starts, prepend=np.nan) / bursts.slot_samples
    table = Table(box=None, pad_edge=False)
    for name in ("slot starts at", "time s", "slots later", "metric", "carrier Hz", "power dB"):
        table.add_column(name, justify="right")
    for i in range(min(show, len(bursts.starts))):
        table.add_row(
            str(round(file_samples[i])),
            _cell(bursts.starts[i] / recording.sample_rate_hz),
            _cell(gaps[i], 3),
            _cell(bursts.metric[i], 3),
            _cell(bursts.frequency_hz[i], 1),
            _cell(10.0 * np.log10(bursts.power[i]), 1),
        )
    console.print(table)
    _say(
        console,
        f"{len(bursts.starts)} bursts, slots of {bursts.slot_samples * own_rate_hz / recording.sample_rate_hz:.12g} samples",
    )
    # Replay cuts by count: it follows bursts that come slot after slot, to within a guard.
    first = next((round(start) for start in file_samples if start >= -0.5), None)
    if first is not None:
        _say(console, f"replay from the first whole slot with --start {max(first, 0)}")
    odd = np.flatnonzero(np.abs(gaps[1:] - 1.0) > 1e-3)
    if len(odd):
        _say(
            console,
            f"{len(odd)} of {len(gaps) - 1} bursts do not come one slot after the one before, the first at sample "
            f"{round(file_samples[odd[0] + 1])}: replay cuts slot after slot, so start again there, with its --first-round",
        )


def _lost(why: list[str]) -> str:
    """For what reasons, and how often."""
    counts = {reason: why.count(reason) for reason in WHY if reason in why}
    return "".join(f"; {count} x {WHY[reason]}" for reason, count in counts.items())


def _noise(capture: Capture, values: dict[str, Floats]) -> str:
    """Measured noise and SNR beside the configured ones."""
    config = capture.config
    words = []
    for name, power, unit in (("n0_measured", config.n0, "N0"), ("snr_measured_db", config.snr_max_db, "SNR_max")):
        known = values.get(name, np.empty(0))
        known = known[np.isfinite(known)]
        decibel = unit == "SNR_max"
        seen = "not measured" if len(known) == 0 else f"{np.median(known):.1f} dB" if decibel else f"{known.mean():.3g}"
        words.append(f"{unit} {seen} (configured: {f'{power:.1f} dB' if decibel else f'{power:.3g}'})")
    return "measured  " + ", ".join(words)


def show_comparison(console: Console, comparison: Comparison, settings: OverlayConfig) -> None:
    """Errors with the overlay and without."""
    table = Table(box=None, pad_edge=False)
    for name in ("", "NMSE", "lost rounds", "beyond the clip"):
        table.add_column(name, justify="left" if not name else "right")
    for name, estimates in (("without", comparison.bare), ("with the overlay", comparison.estimates)):
        lost = f"{int(np.isnan(estimates).sum())} of {len(estimates)}"
        table.add_row(name, f"{comparison.nmse_db(estimates):.1f} dB", lost, str(comparison.beyond(estimates)))
    reference = "the receiver noise N0" if settings.relative_to == "n0" else "the received power of each slot"
    _say(console, f"{settings.file}: mean power {settings.level_db:+g} dB over {reference}")
    console.print(table)
    _say(
        console,
        f"held-out accuracy {100 * comparison.accuracy_before:.1f} % before and {100 * comparison.accuracy_after:.1f} % after "
        f"{len(comparison.estimates)} rounds with the overlay (one run, one seed)",
    )


def show_sounding(console: Console, sounding: Sounding, path: Path) -> None:
    """One line per device, and how to play the file."""
    instants, antennas, devices, taps = sounding.coefficients.shape
    _say(
        console,
        f"{path}: {instants} instants, {antennas} antennas, {devices} devices, {taps} taps at {sounding.sample_rate_hz:g} Hz",
    )
    table = Table(box=None, pad_edge=False)
    for name in ("device", "heard", "gain dB", "first tap us", "carrier Hz", "noise dB"):
        table.add_column(name, justify="right")
    for k in range(devices):
        heard = np.ones(instants, np.bool_) if sounding.found is None else sounding.found[:, k]
        energy = np.power(10.0, sounding.gain_db[heard, k] / 10.0)
        noise = None if sounding.noise_variance is None else sounding.noise_variance[heard, k]
        table.add_row(
            str(k),
            f"{int(heard.sum())}/{instants}",
            _cell(10.0 * np.log10(energy.mean()) if energy.size and energy.mean() > 0 else np.nan, 1),
            _median(sounding.timing_s, heard, k, 1e6, 3),
            _median(sounding.frequency_offset_hz, heard, k, 1.0, 1),
            _cell(10.0 * np.log10(noise.mean()) if noise is not None and noise.size and noise.mean() > 0 else np.nan, 1),
        )
    console.print(table)
    gain_db = round(sounding.mean_gain_db(), 1) + 0.0  # no minus zero
    if sounding.source:
        _say(console, sounding.source)
    _say(
        console,
        f"mean gain {gain_db:.1f} dB, {sounding.gain_reference_db:.1f} dB were scaled away"
        + ("" if abs(gain_db) <= 1 else "; link.snr_max_db holds at 0 dB: add --unit-gain, or change it by as much"),
    )
    _say(
        console,
        f"play it: pairzero run SCENARIO --set link.channel.file={path}",
    )


def _median(values: Floats | None, heard: NDArray[np.bool_], device: int, factor: float, digits: int) -> str:
    if values is None or not heard.any() or np.isnan(values[heard, device]).all():
        return "-"
    return f"{factor * float(np.nanmedian(values[heard, device])):.{digits}f}"


def _cell(value: float, digits: int = 6) -> str:
    return "-" if np.isnan(value) else f"{value:.{digits}f}"


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
