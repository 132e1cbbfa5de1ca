"""What a slot says of its own noise and of the phase that all devices share, whatever the link was configured to.

Noise is the mean power of the middle halves of the guards, where nobody sends. A guard into which a device spills that is off
by more than a quarter of it stands out of the quietest one, and is left out.

The common phase is that of the preamble, which coherent devices send so that it adds up on the positive real axis. It is
removed where it stands out of its estimate's error, for which the Cramer-Rao bounds stand: phase (2 E / N0)^-1/2 at the centre
of the preamble, frequency f_s (6 N0 / E)^1/2 / (2 pi W) for W samples, carried on to the payload where that is significant.
"""

import numpy as np
from numpy.typing import NDArray

from phy.burst.layout import BurstLayout
from phy.burst.receiver import Reception

# Standard deviations by which a common phase must stand out, and the least one that is worth turning (cos: 5e-5).
_SIGNIFICANT = 3.0
_LEAST_RAD = 0.01
# Standard deviations by which a guard that somebody spills into is louder than the quietest one.
_SPILL = 3.0


def noise_variance(layout: BurstLayout, samples: NDArray[np.complex64], timing_samples: float) -> float:
    """Variance N0 of a complex sample of [M, N], from the guards of a burst that is so late. NaN where no guard is seen."""
    shift = int(np.round(timing_samples))
    powers, counts = [], []
    for low, high in _guards(layout):
        heard = samples[:, max(low + shift, 0) : max(high + shift, 0)]
        if heard.size:
            powers.append(float((heard.real.astype(np.float64) ** 2 + heard.imag.astype(np.float64) ** 2).mean()))
            counts.append(heard.size)
    if not powers:
        return float("nan")
    power, count = np.array(powers), np.array(counts, np.float64)
    least = int(np.argmin(power))
    kept = power <= power[least] * (1.0 + _SPILL * np.sqrt(1.0 / count + 1.0 / count[least]))
    return float((power * count)[kept].sum() / count[kept].sum())


def common_phase(layout: BurstLayout, reception: Reception, vector: NDArray[np.complexfloating] | None, n0: float) -> float:
    """Phase in rad that all devices share at the payload, or 0.0 where it does not stand out of its error.

    ``vector`` [M]: conjugate of the combiner, None for one antenna. ``n0``: variance of a complex sample.
    """
    weights = np.ones(1) if vector is None else vector
    gain = complex((weights * reception.gains).sum())
    energy = float((np.abs(layout.preamble_waveform.samples) ** 2).sum()) * abs(gain) ** 2
    noise = n0 * float((np.abs(weights) ** 2).sum()) / energy if energy > 0 else np.inf
    fs, width = layout.config.sample_rate_hz, layout.preamble_waveform.samples.size
    elapsed = layout.reference_sample - reception.instant_samples
    turned = 2.0 * np.pi * reception.frequency_hz * elapsed / fs
    spread = 6.0 * noise / width**2  # of the frequency, in (rad per sample)^2
    variance = noise / 2.0
    phase = float(np.angle(gain))
    if abs(2.0 * np.pi * reception.frequency_hz / fs) > _SIGNIFICANT * np.sqrt(spread):
        variance += spread * elapsed**2
    else:
        phase = float(np.angle(gain * np.exp(-1j * turned)))
    return phase if abs(phase) > max(_SIGNIFICANT * np.sqrt(variance), _LEAST_RAD) else 0.0


def _guards(layout: BurstLayout) -> list[tuple[int, int]]:
    """First sample, and the one after the last, of the middle half of each guard."""
    sections = [*([layout.preamble] if layout.preamble else []), *layout.pilots, layout.payload]
    starts = [0, *(section.stop for section in sections)]
    stops = [*(section.first for section in sections), layout.slot_samples]
    return [(low + (high - low) // 4, high - (high - low) // 4) for low, high in zip(starts, stops, strict=True)]
