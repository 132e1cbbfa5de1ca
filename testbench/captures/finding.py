"""Find the bursts of a link in a long recording: where a replay of it has to start.

The recording is cut into stretches of a slot, in each of which the link's own detector looks for the preamble at every lag,
with its false-alarm probability divided among the stretches: noise alone gives one burst in the whole recording with at most
that probability.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.captures.recording import Recording
from phy.burst.detection import detect
from phy.burst.layout import BurstLayout
from phy.config import LinkConfig
from testbench.captures.airs import silent_air, waveform_link
from testbench.errors import TestbenchError

# Samples on either side of what is searched, for the tails of a fractional delay.
_MARGIN_SAMPLES = 64


@dataclass(frozen=True)
class Bursts:
    """Bursts in the order of time, arrays [B].

    ``starts``: samples of the recording at which their slots begin, by the preamble's place in the slot; may be negative where
    the recording begins within a guard. ``metric``: normalised correlation, 0 to 1; ``frequency_hz``: carrier offset;
    ``power``: mean square over the preamble and the channels. ``slot_samples``: length of a slot.
    """

    starts: NDArray[np.float64]
    metric: NDArray[np.float64]
    frequency_hz: NDArray[np.float64]
    power: NDArray[np.float64]
    slot_samples: int


def find_bursts(recording: Recording, config: LinkConfig, seed: int, devices: int) -> Bursts:
    """All bursts of the link in a recording at the link's sample rate, whose channels are its antennas.

    Raises :class:`testbench.errors.TestbenchError` where the link has no preamble or another number of antennas, and
    :class:`bridge.captures.errors.CaptureError` where the sample rate is another.
    """
    recording.at_rate(config.burst.sample_rate_hz)
    samples = recording.samples
    if len(samples) != config.receive_antennas:
        raise TestbenchError(
            f"{recording.path} has {len(samples)} channels and the link {config.receive_antennas} receive antennas"
        )
    layout: BurstLayout = waveform_link(config, seed, silent_air).layout(devices, 1)
    if layout.preamble is None:
        raise TestbenchError("a burst without preamble cannot be searched for; set link.burst.preamble_symbols")
    wide = _searching(layout, samples.shape[1])
    assert wide.preamble is not None
    step, reach = 2 * wide.guard_samples + 1, wide.guard_samples
    length = layout.preamble.stop - layout.preamble.first
    found: list[tuple[float, float, float, float]] = []
    for low in range(-length, samples.shape[1], step):
        # The stretch begins a margin before the first lag, so that a burst at its edge is seen whole.
        window = _cut(samples, low, length + 2 * reach + _MARGIN_SAMPLES)
        if not window.any():
            continue
        finding = detect(wide, window, reach)
        if not finding.found:
            continue
        at = low + wide.preamble.first + finding.timing_samples
        heard = _cut(samples, round(at), length)
        power = float(np.square(np.abs(heard.astype(np.complex128))).mean())
        found.append((at - layout.preamble.first, finding.metric, finding.frequency_hz, power))
    kept = _strongest(found, length)
    table = np.array(kept, np.float64).reshape(-1, 4)
    return Bursts(table[:, 0], table[:, 1], table[:, 2], table[:, 3], layout.slot_samples)


def _searching(layout: BurstLayout, count: int) -> BurstLayout:
    """The same preamble between guards of half a slot, to be searched at every lag."""
    sps = layout.config.samples_per_symbol
    guard = max(layout.slot_samples // (2 * sps), 1)
    stretches = max(count // (2 * guard * sps + 1), 1) + 1
    update = {"guard_symbols": guard, "slot_symbols": None, "false_alarm": layout.config.false_alarm / stretches}
    return BurstLayout(layout.config.model_copy(update=update), layout.devices, layout.scalars, layout.tones, layout.looks)


def _strongest(found: list[tuple[float, float, float, float]], apart: int) -> list[tuple[float, float, float, float]]:
    """Of bursts closer than a preamble the one with the largest metric; in the order of time."""
    kept: list[tuple[float, float, float, float]] = []
    for one in sorted(found, key=lambda burst: -burst[1]):
        if all(abs(one[0] - other[0]) >= apart for other in kept):
            kept.append(one)
    return sorted(kept)


def _cut(samples: NDArray[np.complex64], first: int, count: int) -> NDArray[np.complex64]:
    """Samples first .. first + count - 1 of every channel, zeros beyond the ends."""
    low, high = max(first, 0), min(first + count, samples.shape[1])
    out = np.zeros((len(samples), count), np.complex64)
    if high > low:
        out[:, low - first : high - first] = samples[:, low:high]
    return out
