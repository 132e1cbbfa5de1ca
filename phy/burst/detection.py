"""Finding a known waveform in a slot: is it there, when, how fast does its phase turn, with which gain.

The waveform is correlated by halves, c_1 and c_2 at each antenna, and the metric

    max over phi of sum_m |c_1m + e^{-j phi} c_2m|^2 / (|b|^2 sum_m |r_m|^2),    between 0 and 1,

is compared with a threshold (|b|^2 energy of the known waveform, r the samples of its window). A carrier frequency offset f
turns the halves against each other, which costs nothing, and loses sinc(f T_h) of the amplitude within each half of duration
T_h. Timing is the maximum of the band-limited correlation, frequency the maximum-likelihood estimate of a single tone, both by
Newton steps from the halves' estimate; that one is unique for |f| < 1 / (2 T_h), which is also where detection ends. Bursts of
one sample per symbol are found reliably only at delays of whole samples.

A peak above the threshold is no preamble yet. Silence is told by the threshold, what else may be on the air by three tests:

- *Half*: one half of a preamble, over half a window of something else, explains half the energy by itself. Both halves must be
  there: one gain for both has to explain at least as much as the stronger half alone, |c_weak| >= (sqrt 2 - 1) |c_strong|.
- *Elsewhere* (preamble): a preamble out of reach answers within reach by its side lobes. No window that overlaps one within
  reach may have a larger metric.
- *Foreign* (preamble): samples of somebody's burst in our band are no white noise: they have few degrees of freedom, one per
  symbol. So the metric is taken again of the pulse's matched filter once a symbol, where white noise and other symbols are both
  a random direction in P dimensions, P the number of symbols, and the threshold is that of P. A threshold that is configured
  replaces that of ``false_alarm``, and this test with it.

The laws are in :mod:`phy.burst.detection_laws`.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.fft import fft, fftfreq, ifft, next_fast_len

from phy.burst.detection_laws import threshold_for
from phy.burst.layout import BurstLayout, KnownWaveform
from phy.errors import PhyError

Complex = NDArray[np.complexfloating]

Why = Literal["", "noise", "half", "elsewhere", "foreign"]

# A waveform at least two samples away answers with less than this (half of it with a half): no other window need be looked at.
_SURE = 0.6
# Samples on either side of the window in which the fractional estimate sees the tails of a band-limited delay.
_MARGIN_SAMPLES = 32
_NEWTON_STEPS = 2


@dataclass(frozen=True)
class Finding:
    """What was found: every number but the metric is NaN where nothing was.

    ``why`` it was not found: "" (it was), "noise" (below the threshold), "half", "elsewhere" or "foreign" (see the module).

    ``metric``: largest normalised correlation. ``timing_samples``: later than nominal. ``frequency_hz``: carrier frequency
    offset; NaN as well for a waveform of one symbol. ``gains`` [M], complex128: received = gain * known waveform, with the
    phase that holds at ``instant_samples``, the centre of the waveform as received.
    """

    found: bool
    metric: float
    timing_samples: float
    frequency_hz: float
    gains: NDArray[np.complex128]
    instant_samples: float
    why: Why = ""

    def gains_at(self, instant_samples: float, sample_rate_hz: float) -> NDArray[np.complex128]:
        """Gains [M] turned on to another instant of the slot by the frequency found."""
        turns = self.frequency_hz * (instant_samples - self.instant_samples) / sample_rate_hz
        return np.asarray(self.gains * np.exp(2j * np.pi * turns))


@dataclass(frozen=True)
class PilotEstimates:
    """Each device's :class:`Finding` from its own pilots. Shapes [K] and [K, M]; NaN where not found.

    ``timing_s`` counts from the slot clock. ``gains`` hold at ``instants_samples``. Frequencies are unique up to half a turn
    from the first to the second half of the pilots.
    """

    found: NDArray[np.bool_]
    metric: NDArray[np.float64]
    gains: NDArray[np.complex128]
    timing_s: NDArray[np.float64]
    frequency_hz: NDArray[np.float64]
    instants_samples: NDArray[np.float64]


def detect(layout: BurstLayout, samples: Complex, search_samples: int | None = None) -> Finding:
    """Look for the preamble, no further than ``search_samples`` (none: the guard) from its nominal place.

    ``samples`` [M, N] on the slot clock. Raises :class:`phy.errors.PhyError` if the burst has no preamble.
    """
    if layout.preamble is None:
        raise PhyError("a burst without preamble cannot be detected; set burst.preamble_symbols, or synchronise by slot")
    reach = layout.guard_samples if search_samples is None else search_samples
    return find_waveform(layout.preamble_waveform, layout.preamble.first, samples, reach, layout, alone=False)


def pilot_estimates(layout: BurstLayout, samples: Complex) -> PilotEstimates:
    """Look for every device's pilots in its own slot, no further than the guard from their nominal place.

    ``samples`` [M, N] on the slot clock. Raises :class:`phy.errors.PhyError` if the burst has no pilots.
    """
    if not layout.pilots:
        raise PhyError("a burst without pilots has no channel estimates; set burst.pilot_symbols")
    reach = layout.guard_samples
    all_ = [find_waveform(layout.pilot_waveform, pilot.first, samples, reach, layout) for pilot in layout.pilots]
    return PilotEstimates(
        found=np.array([one.found for one in all_]),
        metric=np.array([one.metric for one in all_]),
        gains=np.array([one.gains for one in all_]),
        timing_s=np.array([one.timing_samples for one in all_]) / layout.config.sample_rate_hz,
        frequency_hz=np.array([one.frequency_hz for one in all_]),
        instants_samples=np.array([one.instant_samples for one in all_]),
    )


def frequency_limit_hz(layout: BurstLayout) -> float:
    """Largest |carrier frequency offset| that the preamble tells from others: half a turn from half to half."""
    return layout.config.sample_rate_hz / (layout.config.preamble_symbols * layout.config.samples_per_symbol)


def find_waveform(
    known: KnownWaveform, first: int, samples: Complex, reach: int, layout: BurstLayout, alone: bool = True
) -> Finding:
    """Look for a known waveform whose first sample is nominally ``first``, at most ``reach`` samples early or late.

    ``alone``: nothing else can be within reach, as where the slot clock has been found: the tests of what is elsewhere or
    foreign are left out.
    """
    width = known.samples.size
    metric, halves = _correlate(known, _cut(samples, first - reach, width + 2 * reach), reach)
    peak = int(np.argmax(metric))
    why = _refused(known, first, samples, reach, layout, alone, metric, halves, peak)
    if why:
        nothing = np.full(len(samples), complex(np.nan, np.nan))
        return Finding(False, float(metric[peak]), np.nan, np.nan, nothing, np.nan, why)
    lag = peak - reach
    window = _cut(samples, first + lag - _MARGIN_SAMPLES, width + 2 * _MARGIN_SAMPLES)
    fine, cycles, gains, centre = _refine(known, window, halves[:, :, peak])
    return Finding(
        True,
        float(metric[peak]),
        lag + fine,
        cycles * layout.config.sample_rate_hz,
        gains,
        first + lag + fine + centre,
    )


def symbol_metric(known: KnownWaveform, window: Complex, cycles: float = 0.0) -> float:
    """The metric of a window [M, W] once a symbol, after the pulse's matched filter: between 0 and 1.

    ``cycles`` per sample is a carrier offset that is turned back first.
    """
    window = window * np.exp(-2j * np.pi * cycles * np.arange(window.shape[1]))
    symbols = sliding_window_view(window, known.pulse.size, axis=1)[:, :: known.spacing_samples] @ known.pulse
    matched = symbols * known.sequence.conj()
    half = known.symbols // 2
    first, second = matched[:, :half].sum(axis=1), matched[:, half:].sum(axis=1)
    score = _energy(first) + _energy(second) + 2.0 * abs(np.vdot(first, second))
    total = _energy(known.sequence) * _energy(symbols)
    return score / total if total > 0 else 0.0


def _refused(
    known: KnownWaveform,
    first: int,
    samples: Complex,
    reach: int,
    layout: BurstLayout,
    alone: bool,
    metric: NDArray[np.float64],
    halves: Complex,
    peak: int,
) -> Why:
    """Why the peak is not the waveform; "" where it is."""
    config, width, lags = layout.config, known.samples.size, 2 * reach + 1
    threshold = config.detection_threshold
    if threshold is None:
        threshold = threshold_for(config.false_alarm, width, lags, len(samples))
    # Written so that NaN, from samples that are not finite, is not found either.
    if not metric[peak] >= threshold:
        return "noise"
    if known.symbols >= 2:
        first_part, second_part = halves[0, :, peak], halves[1, :, peak]
        powers = [_energy(first_part), _energy(second_part)]
        together = sum(powers) + 2.0 * abs(np.vdot(first_part, second_part))
        apart = max(power / _energy(part) for power, part in zip(powers, known.parts, strict=True))
        if not together >= _energy(known.samples) * apart:
            return "half"
    if alone:
        return ""
    if metric[peak] < _SURE or peak in (0, lags - 1):
        wider = reach + width - 1
        around, _ = _correlate(known, _cut(samples, first - wider, width + 2 * wider), wider)
        outside = max(around[: width - 1].max(), around[-(width - 1) :].max())
        # Rounding of another length of transform must not decide.
        if outside > metric[peak] + 1e-5:
            return "elsewhere"
    if config.detection_threshold is None:
        window = _cut(samples, first + peak - reach, width)
        cycles = float(np.angle(np.vdot(halves[0, :, peak], halves[1, :, peak]))) / (2 * np.pi * _separation(known))
        if symbol_metric(known, window, cycles) < threshold_for(config.false_alarm, known.symbols, lags, len(samples)):
            return "foreign"
    return ""


def _correlate(known: KnownWaveform, segment: Complex, reach: int) -> tuple[NDArray[np.float64], Complex]:
    """Metric [lags], and correlations with the two parts [2, M, lags], at the lags -reach .. reach."""
    width, lags = known.samples.size, 2 * reach + 1
    size = next_fast_len(segment.shape[1])
    parts = fft(known.parts.astype(np.complex64), size)
    halves = ifft(fft(segment, size) * parts.conj()[:, None])[:, :, :lags]
    power = (segment.real.astype(np.float64) ** 2 + segment.imag.astype(np.float64) ** 2).sum(axis=0)
    total = np.concatenate(([0.0], np.cumsum(power)))
    energy = total[width:] - total[:-width]
    across = np.abs((halves[0].conj() * halves[1]).sum(axis=0))
    score = (halves.real**2 + halves.imag**2).sum(axis=(0, 1)) + 2.0 * across
    # Where a window holds nothing, rounding of the running sum must not decide.
    floor = 1e-12 * total[-1]
    full = _energy(known.samples)
    return np.where(energy > floor, score / (full * np.maximum(energy, floor or 1.0)), 0.0), halves


def _refine(known: KnownWaveform, window: Complex, halves: Complex) -> tuple[float, float, NDArray[np.complex128], float]:
    """Fractional lag in samples, frequency in cycles per sample, gains [M] at the centre, and the centre in the waveform."""
    instants = np.arange(known.samples.size)
    centre = float((instants * np.abs(known.samples) ** 2).sum() / _energy(known.samples))
    single = known.symbols < 2
    cycles = 0.0 if single else float(np.angle((halves[0].conj() * halves[1]).sum())) / (2 * np.pi * _separation(known))
    since = np.arange(window.shape[1]) - (_MARGIN_SAMPLES + centre)
    still = window * np.exp(-2j * np.pi * cycles * since)

    size = next_fast_len(window.shape[1])
    turns = 2j * np.pi * fftfreq(size)
    template = fft(known.samples, size) * np.exp(-turns * _MARGIN_SAMPLES)
    lag = _best_lag(fft(still, size) * template.conj(), turns)

    shifted = ifft(template * np.exp(-turns * lag))[: window.shape[1]]
    product = still * shifted.conj()
    since = since - lag
    rest = 0.0 if single else _best_frequency(product, since)
    gains = (product * np.exp(-1j * rest * since)).sum(axis=1) / _energy(known.samples)
    # Removed about the centre of the integer lag; the gain belongs to the centre of the fractional one.
    gains = gains * np.exp(2j * np.pi * cycles * lag)
    return lag, np.nan if single else cycles + rest / (2 * np.pi), gains, centre


def _best_lag(cross: NDArray[np.complex128], turns: NDArray[np.complex128]) -> float:
    """Maximum over the lag of sum_m |sum_f cross e^{turns lag}|^2 near lag 0, by Newton steps from a parabola."""
    step = np.exp(turns)
    around = cross @ np.stack((step.conj(), np.ones_like(step), step), axis=1)
    below, here, above = (np.abs(around) ** 2).sum(axis=0)
    bend = below - 2.0 * here + above
    lag = start = float(np.clip(0.5 * (below - above) / bend, -1.0, 1.0)) if bend < 0 else 0.0
    powers = np.stack((np.ones_like(turns), turns, turns * turns), axis=1)
    for _ in range(_NEWTON_STEPS):
        zeroth, first, second = ((cross * np.exp(turns * lag)) @ powers).T
        slope = np.vdot(zeroth, first).real
        curve = np.vdot(first, first).real + np.vdot(zeroth, second).real
        if not curve < 0:
            return start
        lag -= float(np.clip(slope / curve, -0.5, 0.5))
    return lag if abs(lag - start) < 1.0 else start


def _best_frequency(product: NDArray[np.complex128], since: NDArray[np.floating]) -> float:
    """Maximum over w of sum_m |sum_n product e^{-j w since}|^2 near w = 0, in radians per sample, by Newton steps."""
    limit = np.pi / since.size
    powers = np.stack((np.ones_like(since), since, since * since), axis=1)
    w = 0.0
    for _ in range(_NEWTON_STEPS):
        zeroth, first, second = ((product * np.exp(-1j * w * since)) @ powers).T
        slope = np.vdot(zeroth, first).imag
        curve = np.vdot(first, first).real - np.vdot(zeroth, second).real
        if not curve < 0:
            return 0.0
        w -= float(slope / curve)
        if abs(w) > limit:
            return 0.0
    return w


def _separation(known: KnownWaveform) -> float:
    """Distance of the two parts' centres in samples."""
    instants = np.arange(known.samples.size)
    first, second = ((instants * np.abs(part) ** 2).sum() / _energy(part) for part in known.parts)
    return float(second - first)


def _energy(values: NDArray[np.complexfloating]) -> float:
    return float((np.abs(values) ** 2).sum())


def _cut(samples: Complex, first: int, length: int) -> Complex:
    """Samples first .. first + length - 1, zero beyond the slot's ends. Shape [M, length]."""
    low, high = max(first, 0), min(first + length, samples.shape[1])
    if low == first and high == first + length:
        return samples[:, low:high]
    out = np.zeros((samples.shape[0], length), samples.dtype)
    if high > low:
        out[:, low - first : high - first] = samples[:, low:high]
    return out
