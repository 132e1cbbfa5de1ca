"""Channel sounding: taps, timing, carrier offset, gain and noise of every device and slot of a capture.

Of each device the section that it sends alone is known: its pilots, or the preamble where it is the only one on the air. With
the carrier offset f turned back about the slot's reference instant, and the timing tau that its correlator found removed by an
exact band-limited shift, the received section is y = A h + noise with A the convolution by what was sent. The taps are the
regularised least-squares solution

    h = (A^H A + lambda I)^-1 A^H y,    lambda = sigma^2 L / |g|^2,

the linear minimum mean square error estimate for L taps that share the energy |g|^2 which the correlator found; sigma^2 is the
variance of what an unregularised fit leaves, per degree of freedom. Bursts do not fill the band of their samples: outside of it
the data say nothing and taps stay small, so that a single path is a few taps of a sampled band-limited pulse.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, toeplitz

from bridge.captures.sounding import Sounding
from phy.burst.detection import Finding, find_waveform
from phy.burst.layout import BurstLayout, KnownWaveform, Section
from phy.burst.receiver import advance, carrier
from testbench.captures.airs import silent_air, waveform_link
from testbench.captures.capture import Capture
from testbench.errors import TestbenchError

# Relative to the energy of what was sent: keeps the equations solvable where taps are closer than the band resolves.
_FLOOR = 1e-9
_NEWTON_STEPS = 3


@dataclass(frozen=True)
class _Estimate:
    taps: NDArray[np.complex128]
    timing_s: float
    frequency_hz: float
    noise_variance: float


def sound(capture: Capture, taps: int = 8, lead: int | None = None) -> Sounding:
    """Estimate every device's channel in every slot, with ``taps`` taps a sample apart, ``lead`` of them before the strongest.

    ``lead``: none means a quarter of the taps. ``timing_s`` is the instant of the first tap on the slot clock. One tap
    means a flat channel. Raises :class:`testbench.errors.TestbenchError` where devices do not send alone, or one is
    never heard.
    """
    lead = taps // 4 if lead is None else lead
    if not 1 <= taps <= 256 or not 0 <= lead < taps:
        raise TestbenchError(f"taps must be 1 to 256 and lead less than that, got {taps} and {lead}")
    link = waveform_link(capture.config, capture.seed, silent_air)
    layout: BurstLayout = link.layout(capture.devices, capture.scalars)
    if not layout.pilots and (layout.preamble is None or capture.devices > 1):
        raise TestbenchError(
            f"{capture.path} has no section that each device sends alone; record with --set link.burst.pilot_symbols=32"
        )
    rounds, antennas, devices = len(capture.rounds), capture.slots.shape[1], capture.devices
    rate = layout.config.sample_rate_hz
    shape = (rounds, devices)
    coefficients = np.zeros((rounds, antennas, devices, taps), np.complex64)
    found = np.zeros(shape, np.bool_)
    timing, frequency, noise = (np.full(shape, np.nan) for _ in range(3))
    for i in range(rounds):
        for k in range(devices):
            sent = None if capture.bursts is None else capture.bursts[i, k]
            one = _device(layout, capture.slots[i], sent, k, taps, lead)
            if one is None:
                continue
            found[i, k] = True
            coefficients[i, :, k] = one.taps
            timing[i, k], frequency[i, k], noise[i, k] = one.timing_s, one.frequency_hz, one.noise_variance
    silent = np.flatnonzero(~found.any(axis=0))
    if len(silent):
        raise TestbenchError(
            f"{capture.path}: device {silent[0]} was heard in none of {rounds} slots; its channel cannot be sounded"
        )
    return Sounding(
        coefficients=coefficients,
        delays_s=np.tile(np.arange(taps, dtype=np.float64) / rate, (devices, 1)),
        times_s=capture.rounds.astype(np.float64) * capture.config.channel.round_duration_s,
        sample_rate_hz=rate,
        frequency_offset_hz=frequency,
        timing_s=timing,
        noise_variance=noise,
        found=found,
        carrier_hz=capture.config.clock.carrier_hz if capture.frequency_hz is None else capture.frequency_hz,
        source=f"capture {capture.path.name}, seed {capture.seed}",
        path=str(capture.path),
    )


def _device(
    layout: BurstLayout, samples: NDArray[np.complex64], sent: NDArray[np.complex64] | None, device: int, taps: int, lead: int
) -> _Estimate | None:
    """One device in one slot [M, N]; None where it was silent or not found."""
    section, known = _alone(layout, device)
    template = known.samples if sent is None else sent[section.first : section.stop].astype(np.complex128)
    energy = float(np.square(np.abs(template)).sum())
    if energy == 0:
        return None
    finding = find_waveform(known, section.first, samples, layout.guard_samples, layout, alone=bool(layout.pilots))
    if not finding.found:
        return None
    rate = layout.config.sample_rate_hz
    offset_hz = finding.frequency_hz if np.isfinite(finding.frequency_hz) else 0.0
    first, more_hz = _fit(layout, samples, template, section, finding, offset_hz, taps, lead)
    # Several paths bend the correlator's phase: its offset is refined against what the taps found make of the section.
    for _ in range(_NEWTON_STEPS):
        offset_hz += more_hz
        first, more_hz = _fit(layout, samples, template, section, finding, offset_hz, taps, lead)
    # A carrier offset that does not stand out of its error would only turn the phase at random (Cramer-Rao bound of a tone).
    received = max(float(np.square(np.abs(finding.gains)).sum() * np.square(np.abs(known.samples)).sum()), 1e-300)
    spread_hz = rate * np.sqrt(6.0 * first.noise_variance / received) / (2.0 * np.pi * len(template))
    if abs(offset_hz) > 3.0 * spread_hz:
        return first
    kept, _ = _fit(layout, samples, template, section, finding, 0.0, taps, lead)
    return _Estimate(kept.taps, kept.timing_s, offset_hz, kept.noise_variance)


def _fit(
    layout: BurstLayout,
    samples: NDArray[np.complex64],
    template: NDArray[np.complex128],
    section: Section,
    finding: Finding,
    offset_hz: float,
    taps: int,
    lead: int,
) -> tuple[_Estimate, float]:
    """Taps with the carrier offset ``offset_hz`` removed, and the offset that is left by a step of Gauss and Newton."""
    rate = layout.config.sample_rate_hz
    still = samples * carrier(-offset_hz / rate, samples.shape[1], layout.reference_sample)
    shifted = advance(still, finding.timing_samples).astype(np.complex128)
    begin, rows = section.first - lead, len(template) + taps - 1
    if begin < 0 or begin + rows > samples.shape[1]:
        raise TestbenchError(f"{taps} taps reach beyond the slot; use fewer, or lengthen burst.guard_symbols")
    y = shifted[:, begin : begin + rows].T  # [rows, M]
    a = toeplitz(np.concatenate((template, np.zeros(taps - 1))), np.zeros(taps))
    gram = a.conj().T @ a
    energy = float(np.square(np.abs(template)).sum())
    right = a.conj().T @ y
    plain = gram + _FLOOR * energy * np.eye(taps)
    loose = cho_solve(cho_factor(plain), right)
    freedom = rows - float(np.trace(cho_solve(cho_factor(plain), gram)).real)
    noise = float(np.square(np.abs(y - a @ loose)).sum() / (freedom * y.shape[1]))
    heard = max(float(np.square(np.abs(right)).sum(axis=0).max()) / energy**2 - noise / energy, _FLOOR)
    ridge = max(noise * taps / heard, _FLOOR * energy)
    solved = cho_solve(cho_factor(gram + ridge * np.eye(taps)), right)
    timing_s = (finding.timing_samples - lead) / rate
    fitted = a @ loose
    weight = np.square(np.abs(fitted)).sum(axis=1)
    since = np.arange(rows) - (weight * np.arange(rows)).sum() / weight.sum()
    slope = (since * (fitted.conj() * y).imag.sum(axis=1)).sum() / (np.square(since) * weight).sum()
    return _Estimate(solved.T, timing_s, offset_hz, noise), float(slope) * rate / (2.0 * np.pi)


def _alone(layout: BurstLayout, device: int) -> tuple[Section, KnownWaveform]:
    """The section of the slot that a device sends alone."""
    if layout.pilots:
        return layout.pilots[device], layout.pilot_waveform
    assert layout.preamble is not None
    return layout.preamble, layout.preamble_waveform
