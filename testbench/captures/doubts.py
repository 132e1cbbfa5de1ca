"""What a replay doubts aloud: signs in the samples that they are not what the options say.

A recording by others is cut into slots by count, and the link that sent it is an assumption. Most assumptions leave a trace:
where bursts begin and how often they come, how their level follows the channels of the rounds they are taken for, how the
noise compares with the one configured, how integers lie in their range.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bridge.captures.errors import CaptureError
from bridge.captures.recording import Recording
from bridge.captures.resampling import resampled
from phy.burst.detection import detect, find_waveform, pilot_estimates
from phy.burst.layout import BurstLayout
from phy.burst.receiver import advance
from phy.link import LinkResult
from testbench.captures.airs import silent_air, waveform_link
from testbench.captures.capture import Capture
from testbench.captures.playback import Playback
from testbench.clip import beyond_clip

Floats = NDArray[np.float64]

# Slots that are searched for bursts, rounds on which another first round is tried, and how far away it is looked for.
_SLOTS, _ROUNDS, _SHIFTS = 32, 16, 20
# Of one stretch of a recording that is searched for bursts; there are many, and several ways to look.
_FALSE_ALARM = 1e-7
# Rates in Hz that receivers commonly have, tried beside simple multiples of the link's.
_RATES_HZ = (0.96e6, 1.024e6, 1.2e6, 1.8e6, 1.92e6, 2.048e6, 2.4e6, 2.56e6, 2.8e6, 3.2e6, 8e6, 10e6, 20e6)
# What differs by less is not worth a word: level, its spread from round to round, and noise.
_LEVEL_DB, _SPREAD_DB, _NOISE_DB = 1.0, 0.5, 3.0

WHY = {
    "noise": "no preamble",
    "half": "half a preamble",
    "elsewhere": "preamble out of reach",
    "foreign": "other signal",
}


def layout_of(capture: Capture) -> BurstLayout:
    """The burst that a capture's slots hold."""
    return waveform_link(capture.config, capture.seed, silent_air).layout(capture.devices, capture.scalars)


def reasons(capture: Capture, layout: BurstLayout, result: LinkResult) -> list[str]:
    """Why each round was lost [B]: a key of ``WHY``; "air": the air lost it; "": nobody sent, or it was not lost."""
    out: list[str] = []
    for i, lost in enumerate(result.lost):
        searched = lost and capture.config.burst.synchronisation == "preamble" and capture.slots[i].any()
        out.append("air" if capture.slot_lost[i] else detect(layout, capture.slots[i]).why if searched else "")
    return out


def doubts(capture: Capture, layout: BurstLayout, result: LinkResult) -> Iterator[str]:
    """One sentence for each thing that is not as assumed. Our own captures state what they are: they are asked little."""
    values = result.diagnostics
    beyond = beyond_clip(result.estimates, capture.config.clip)
    if beyond.any():
        yield (
            f"{int(beyond.any(axis=1).sum())} of {len(beyond)} rounds have estimates beyond the clip {capture.config.clip:g}, "
            "where no mean of clipped scalars can be"
        )
    snr = _median(values, "snr_measured_db")
    if abs(snr - capture.config.snr_max_db) > _NOISE_DB:
        yield f"the SNR is {snr:.1f} dB as measured and {capture.config.snr_max_db:g} dB as link.snr_max_db says"
    noise = _median(values, "n0_measured")
    if np.isnan(snr) and noise > 0 and abs(10.0 * np.log10(noise / capture.config.n0)) > _NOISE_DB:
        yield f"the guards hold a power of {noise:.3g} a sample, and N0 is {capture.config.n0:.3g} as link.snr_max_db says"
    if capture.truth is not None or layout.preamble is None:
        return
    yield from _places(capture, layout, values)
    if capture.config.burst.synchronisation == "preamble":
        yield from _levels(capture, layout, values)
        yield from _pilots(capture, layout, result)


def doubts_of_integers(recording: Recording, scale: float = 1.0) -> Iterator[str]:
    """Whether integers look like signed ones read as unsigned, or the other way round: they then lie at both ends of the range.

    ``scale`` is the factor by which the samples were multiplied already.
    """
    kind = recording.format[1:2]
    if kind not in "iu" or scale == 0:
        return
    values = recording.samples[:, : 1 << 20].view(np.float32) / np.float32(scale)
    swapped = values - np.where(values >= 0, np.float32(1), np.float32(-1))
    if values.size and float(np.square(swapped).mean()) < 0.25 * float(np.square(values).mean()):
        other = recording.format.replace("cu" if kind == "u" else "ci", "ci" if kind == "u" else "cu", 1)
        yield (
            f"samples of {recording.path.name} lie at both ends of their range and hardly between: {recording.format} looks "
            f"like {other} read wrongly; try --format {other}"
        )


def positions(samples: NDArray[np.complex64], layout: BurstLayout) -> Floats:
    """Where bursts begin in samples [M, N], as the sample at which a slot would have to start, in order."""
    preamble = layout.preamble
    assert preamble is not None
    layout = replace(layout, config=layout.config.model_copy(update={"false_alarm": _FALSE_ALARM}))
    known, reach = layout.preamble_waveform, layout.preamble_waveform.samples.size
    found = []
    for centre in range(0, samples.shape[1], 2 * reach + 1):
        finding = find_waveform(known, centre, samples, reach, layout, alone=False)
        if finding.found:
            found.append(centre + finding.timing_samples - preamble.first)
    begin = np.sort(np.array(found, np.float64))
    if layout.pilots and layout.config.pilot_symbols == layout.config.preamble_symbols and len(begin):
        # Pilots of the preamble's length are the same waveform: a preamble is what all pilots follow.
        after = np.array([pilot.first - preamble.first for pilot in layout.pilots])
        near = np.abs(begin[:, None, None] + after[:, None] - begin) <= 2 * layout.guard_samples
        begin = begin[near.any(axis=2).all(axis=1)]
    return begin


def _places(capture: Capture, layout: BurstLayout, values: dict[str, Floats]) -> Iterator[str]:
    """Bursts that do not begin where slots do, do not come as often, or are not there at all."""
    count = layout.slot_samples
    slots = capture.slots[:_SLOTS]
    joined = np.ascontiguousarray(slots.transpose(1, 0, 2).reshape(slots.shape[1], -1))
    begin = positions(joined, layout)
    if len(begin) == 0:
        yield from _absent(capture, layout, joined)
        return
    gaps = np.diff(begin)
    period = float(np.median(gaps)) if len(gaps) else float(count)
    ppm = 1e6 * (period / count - 1.0)
    drift = _drift(values.get("timing_s", np.zeros(0)) * layout.config.sample_rate_hz)
    if abs(period - count) > 0.5 and not _near_multiple(gaps, count):
        yield (
            f"bursts come every {period:.1f} samples and slots are of {count}: sent by another number of --devices or scalars, "
            f"by another burst, or at another rate (by {ppm:+.0f} ppm)"
        )
        return
    if abs(drift) > 0.05:
        yield (
            f"bursts slip by {drift:+.3f} samples a slot: the sample rate is off by {1e6 * drift / count:+.0f} ppm, or slots "
            "are of another length"
        )
    offset = float(np.median((begin + count / 2) % count - count / 2))
    # Who trusts the slot clock is off by what others would correct.
    corrects = layout.config.synchronisation == "preamble"
    if abs(offset) > (layout.guard_samples if corrects else 0.5):
        where = "later" if offset > 0 else "earlier"
        limit = f"beyond the guard of {layout.guard_samples}" if corrects else 'and synchronisation is "slot"'
        yield (
            f"bursts begin {abs(offset):.0f} samples {where} than slots do, {limit}: move --start by {offset:+.0f} samples (at "
            "the link's rate)"
        )


def _absent(capture: Capture, layout: BurstLayout, joined: NDArray[np.complex64]) -> Iterator[str]:
    """Nothing was found: is it there in a mirrored spectrum, or at another rate?"""
    if not joined.any():
        yield "the recording is silent"
        return
    if len(positions(joined.conj(), layout)):
        yield "bursts are found in the mirrored spectrum alone: I and Q are swapped"
        return
    rate = layout.config.sample_rate_hz
    nearby = [other for other in _RATES_HZ if rate / 4 <= other <= 20 * rate]
    for other in (2 * rate, rate / 2, 4 * rate, rate / 4, *nearby):
        as_if = Recording(capture.path, joined, other, None, (), {}, False, "cf32_le")
        try:
            samples = resampled(as_if, rate).samples
        except CaptureError:
            continue
        if samples.shape[1] >= layout.preamble_waveform.samples.size and len(positions(samples, layout)):
            yield f"bursts are found if the recording is of {other:g} Hz: state that --sample-rate, and --resample"
            return
    yield (
        "no burst of this link is anywhere in the recording: check --scenario, --sample-rate and --format, and whether anybody "
        "sent"
    )


def _levels(capture: Capture, layout: BurstLayout, values: dict[str, Floats]) -> Iterator[str]:
    """A level that does not follow the channels which the rounds of this link have."""
    level, spread = _level(values)
    if spread > _SPREAD_DB + _jitter_db(values, layout.preamble_waveform.samples.size):
        fits = _fitting(capture, spread)
        yield (
            f"the preamble's level differs by {spread:.1f} dB from round to round from what the channels of these rounds and "
            f"{capture.devices} devices promise: {fits or 'check --first-round, --devices, the seed and link.channel'}"
        )
    elif abs(level) > _LEVEL_DB:
        yield (
            f"the preamble arrives {level:+.1f} dB from where {capture.devices} devices of this link would put it, and "
            f"estimates err with it: check --devices and --scale (times {10 ** (-level / 20):.3g} it would fit)"
        )


def _fitting(capture: Capture, spread: float) -> str:
    """Another first round, or number of devices, that the levels fit much better; "" where there is none."""
    first, some = int(capture.rounds[0]), slice(0, _ROUNDS)
    part = replace(capture, rounds=capture.rounds[some], slots=capture.slots[some], slot_lost=capture.slot_lost[some])
    tried = {f"--first-round {r}": (r, capture.devices) for r in range(max(0, first - _SHIFTS), first + _SHIFTS + 1)}
    if capture.config.burst.pilot_symbols == 0:
        tried |= {f"--devices {k}": (first, k) for k in range(1, 2 * capture.devices + 3)}
    best, name = spread / 3.0, ""
    for option, (begin, devices) in tried.items():
        rounds = np.arange(begin, begin + len(part.rounds), dtype=np.int64)
        _, one = _level(Playback(replace(part, rounds=rounds, devices=devices)).replay().diagnostics)
        if one < best:
            best, name = one, option
    return f"they fit {name}" if name else ""


def _pilots(capture: Capture, layout: BurstLayout, result: LinkResult) -> Iterator[str]:
    """Preambles that no pilots follow; pilots of the preamble's length are the same sequence, and one may be taken for it."""
    found = np.flatnonzero(~result.lost)[:_ROUNDS]
    if not layout.pilots or len(found) == 0:
        return
    late = result.diagnostics["timing_s"] * layout.config.sample_rate_hz
    heard = [pilot_estimates(layout, advance(capture.slots[i], float(late[i]))).found.any() for i in found]
    if not np.mean(heard) > 0.5:
        yield (
            f"no pilots follow the preamble in {len(heard) - int(np.sum(heard))} of {len(heard)} rounds: what was found may be "
            "pilots itself, or another link's preamble; check --start and --scenario"
        )


def _level(values: dict[str, Floats]) -> tuple[float, float]:
    """Median of the level in dB, and 1.48 times the median deviation from it: the standard deviation of normal ones."""
    level = values["level_db"][np.isfinite(values["level_db"])] if "level_db" in values else np.empty(0)
    if len(level) == 0:
        return 0.0, 0.0
    return float(np.median(level)), 1.4826 * float(np.median(np.abs(level - np.median(level)))) if len(level) > 2 else 0.0


def _jitter_db(values: dict[str, Floats], samples: int) -> float:
    """Three standard deviations of a level in dB that noise explains: a metric m of W samples means E / N0 = W m / (1 - m)."""
    metric = _median(values, "preamble_metric")
    return 26.0 * float(np.sqrt((1.0 - metric) / (2.0 * samples * metric))) if 0 < metric < 1 else 0.0


def _drift(timing_samples: Floats) -> float:
    """Slope in samples per slot, 0 where it does not stand out of the scatter (three deviations and a tenth of a sample)."""
    at = np.flatnonzero(np.isfinite(timing_samples))
    if len(at) < 3:
        return 0.0
    since = at - at.mean()
    slope = float((since * timing_samples[at]).sum() / np.square(since).sum())
    rest = timing_samples[at] - timing_samples[at].mean() - slope * since
    error = float(np.sqrt(np.square(rest).sum() / (len(at) - 2) / np.square(since).sum()))
    return slope if abs(slope) > 3.0 * error and abs(slope) * np.ptp(at) > 0.1 else 0.0


def _near_multiple(gaps: Floats, count: int) -> bool:
    """Whether bursts come in whole slots, some of them missing."""
    return bool(np.median(np.abs((gaps + count / 2) % count - count / 2)) < 0.5)


def _median(values: dict[str, Floats], name: str) -> float:
    known = values[name][np.isfinite(values[name])] if name in values else np.empty(0)
    return float(np.median(known)) if len(known) else float("nan")
