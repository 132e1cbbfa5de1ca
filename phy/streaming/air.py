"""Superposition of sample streams: each transmitter's through its paths to each receiver, endless and in pieces of any length.

    y_m(n) = sum_j sum_p a_mjp(n / R) x_j(n (1 + e_j) - R tau_mjp - D),   R the sample rate, D the latency in samples

The channel is a filter whose taps are linear in n between knots. Knots lie on a grid of the output's sample numbers and taps
are functions of the knot alone, so cuts between pieces change nothing but rounding. The grid is fine enough that linear
interpolation errs by less than 1e-3 of a path's amplitude at the maximum Doppler shift and drift.
"""

import numpy as np
from numpy.typing import NDArray

from phy.errors import PhyError
from phy.streaming.delays import HALF_SAMPLES, delay_filters
from phy.streaming.noise import StreamNoise
from phy.streaming.paths import Paths
from phy.streaming.queue import SampleQueue
from phy.streaming.turning import Turning

__all__ = ["StreamingAir"]

Samples = NDArray[np.complex64]

# (2 pi f G)^2 / 8 < 1e-3 of a wave that turns f times per sample, between knots that are G samples apart.
_TURNS_BETWEEN_KNOTS = 0.0142
# The same for a delay that moves, at half the sample rate: (pi g)^2 / 8 < 1e-3 for g samples.
_DELAY_BETWEEN_KNOTS = 0.028
_LARGEST_TRANSFORM = 8192
_SMALLEST_TRANSFORM = 512
_LONGEST_SAMPLES = 1 << 20
# Knots evaluated at once.
_BATCH = 512


class StreamingAir:
    """J streams in, M streams out.

    :param paths: the channel
    :param rate_hz: samples per second of every stream
    :param turn_in: a rotation of each transmitter [J]; None: none
    :param turn_out: a rotation of each receiver [M], before the noise; None: none
    :param noise: noise of each receiver [M]

    Raises :class:`phy.errors.PhyError` where delays are longer than 2^20 samples.
    """

    def __init__(
        self,
        paths: Paths,
        rate_hz: float,
        turn_in: list[Turning] | None = None,
        turn_out: list[Turning] | None = None,
        noise: list[StreamNoise] | None = None,
    ) -> None:
        self._paths, self._rate_hz = paths, rate_hz
        delays = paths.delays_s * rate_hz
        delays = np.where(np.abs(delays - np.rint(delays)) < 1e-9, np.rint(delays), delays)
        self.receivers, self.transmitters = delays.shape[:2]
        self._drifts = bool(np.any(paths.drift))
        spread = HALF_SAMPLES if self._drifts or np.any(delays != np.rint(delays)) else 0
        margin = spread + 2 if self._drifts else spread
        # Filters look ahead and transmitters may be early; what is common to all is made up by waiting.
        self.latency_samples = max(0, margin + int(np.ceil(-delays.min())))
        delays = delays + self.latency_samples
        if delays.max() > _LONGEST_SAMPLES:
            raise PhyError(
                f"delays reach {delays.max() / rate_hz:g} s, which is {delays.max():.0f} samples; at most "
                f"{_LONGEST_SAMPLES} are kept"
            )
        self._whole = np.floor(delays.min(axis=(0, 2))).astype(np.int64) - margin  # [J], taken by reading earlier samples
        self._delays = delays - self._whole[:, None]
        self._taps = int(np.ceil(self._delays.max())) + margin + 1
        self._moves = paths.doppler_hz > 0 or self._drifts
        transform = max(_SMALLEST_TRANSFORM, 1 << int(np.ceil(np.log2(4 * self._taps))))
        transform = max(transform, _LARGEST_TRANSFORM)
        grid = float(transform - self._taps + 1)
        if paths.doppler_hz > 0:
            grid = min(grid, _TURNS_BETWEEN_KNOTS * rate_hz / paths.doppler_hz)
        if self._drifts:
            grid = min(grid, _DELAY_BETWEEN_KNOTS / float(np.abs(paths.drift).max()))
        self._grid = max(1, int(grid))
        self._filters = None if self._drifts else delay_filters(self._delays, self._taps)
        self._queues = [SampleQueue(int(w) + self._taps + 2) for w in self._whole]
        self._turn_in, self._turn_out, self._noise = turn_in, turn_out, noise
        self.produced = 0
        self._coefficients: tuple[int, NDArray[np.complex64]] | None = None
        self._interval: tuple[int, NDArray[np.complex64], NDArray[np.complex64] | None] | None = None
        self._spectra: dict[int, tuple[NDArray[np.complex64], NDArray[np.complex64] | None]] = {}
        self._ramp = (np.arange(self._grid) / self._grid).astype(np.float32)

    def push(self, transmitter: int, samples: Samples) -> None:
        """Append ``samples`` [N] to a transmitter's stream."""
        queue = self._queues[transmitter]
        first = queue.end
        place = queue.room(len(samples))
        if self._turn_in is None:
            place[:] = samples
        else:
            self._turn_in[transmitter].apply(samples, first, place)

    def silence(self, transmitter: int, count: int) -> None:
        """Append ``count`` zeros to a transmitter's stream."""
        self._queues[transmitter].room(count)[:] = 0

    def pushed(self, transmitter: int) -> int:
        """Samples of a transmitter so far."""
        return self._queues[transmitter].end

    def ready(self, transmitter: int) -> int:
        """How many samples can be produced with what this transmitter has sent."""
        queue = self._queues[transmitter]
        whole, drift = int(self._whole[transmitter]), float(self._paths.drift[transmitter])
        if drift == 0:
            return max(0, queue.end + whole - self.produced)
        count = max(0, int((queue.end + whole) / (1.0 + drift)) - self.produced - 2)
        return count if count > 0 else 0

    def missing(self, transmitter: int, count: int) -> int:
        """How many samples of this transmitter are lacking before ``count`` can be produced."""
        if count <= 0:
            return 0
        drift = float(self._paths.drift[transmitter])
        last = self.produced + count
        need = last if drift == 0 else int(np.ceil((last + 3) * (1.0 + drift))) + 1
        return max(0, need - int(self._whole[transmitter]) - self._queues[transmitter].end)

    def take(self, count: int) -> Samples:
        """The next ``count`` samples of every receiver, [M, count]; all transmitters must be ready for as many."""
        out = np.empty((self.receivers, count), np.complex64)
        done = 0
        while done < count:
            at = self.produced + done
            knot, skip = divmod(at, self._grid)
            length = min(count - done, self._grid - skip)
            self._piece(knot, skip, out[:, done : done + length])
            done += length
        for m in range(self.receivers):
            if self._turn_out is not None and not self._turn_out[m].idle:
                self._turn_out[m].apply(out[m], self.produced, out[m])
            if self._noise is not None:
                self._noise[m].add(out[m], self.produced)
        self.skip(count)
        return out

    def skip(self, count: int) -> None:
        """Go on by ``count`` samples that nobody wants; all transmitters must be ready for as many."""
        self.produced += count
        for j, queue in enumerate(self._queues):
            queue.forget(self.produced + self._base(j, self.produced // self._grid) - int(self._whole[j]))

    def _base(self, transmitter: int, knot: int) -> int:
        """By how many whole samples a transmitter is read ahead of its count, since its clock is fast, from a knot on."""
        return int(np.floor(self._paths.drift[transmitter] * float(knot * self._grid)))

    def _piece(self, knot: int, skip: int, out: Samples) -> None:
        """Write samples ``skip`` .. of the interval after a knot to ``out`` [M, N]."""
        length = out.shape[1]
        start = knot * self._grid + skip
        before, change = self._filters_of(knot)
        ramp = self._ramp[skip : skip + length]
        windows = []
        for j, queue in enumerate(self._queues):
            at = start + self._base(j, knot) - int(self._whole[j])
            windows.append(queue.view(at - self._taps + 1, at + length))
        if self._taps == 1:
            for m in range(self.receivers):
                out[m] = 0
                for j, window in enumerate(windows):
                    gain = before[m, j, 0] if change is None else before[m, j, 0] + change[m, j, 0] * ramp
                    out[m] += gain * window
            return
        size = max(_SMALLEST_TRANSFORM, 1 << (length + self._taps - 2).bit_length())
        if size not in self._spectra:
            self._spectra[size] = (
                _spectrum(before, size),
                None if change is None else _spectrum(change, size),
            )
        still, moving = self._spectra[size]
        spectra = [_spectrum(window, size) for window in windows]
        part = slice(self._taps - 1, self._taps - 1 + length)
        for m in range(self.receivers):
            out[m] = np.fft.ifft(_weighted(spectra, still[m]))[part]
            if moving is not None:
                out[m] += ramp * np.fft.ifft(_weighted(spectra, moving[m]))[part]

    def _filters_of(self, knot: int) -> tuple[NDArray[np.complex64], NDArray[np.complex64] | None]:
        """Taps [M, J, L] at a knot, and what is added to them until the next."""
        if not self._moves:
            knot = 0
        if self._interval is None or self._interval[0] != knot:
            before = self._taps_at(knot, knot)
            change = self._taps_at(knot + 1, knot) - before if self._moves else None
            self._interval = (knot, before, change)
            self._spectra = {}
        return self._interval[1], self._interval[2]

    def _taps_at(self, knot: int, base: int) -> NDArray[np.complex64]:
        """Taps [M, J, L] at a knot, as the interval after the knot ``base`` reads the streams."""
        batch, index = divmod(knot, _BATCH) if self._paths.doppler_hz > 0 else (0, 0)
        if self._coefficients is None or self._coefficients[0] != batch:
            step_s = self._grid / self._rate_hz
            self._coefficients = (batch, self._paths.coefficients(batch * _BATCH * step_s, _BATCH, step_s))
        a = self._coefficients[1][..., index]  # [M, J, P]
        filters = self._filters
        if filters is None:
            ahead = self._paths.drift * float(knot * self._grid)
            ahead = ahead - np.array([self._base(j, base) for j in range(self.transmitters)])
            filters = delay_filters(self._delays - ahead[:, None], self._taps)
        taps: Samples = (a[..., None] * filters).sum(axis=2).astype(np.complex64)
        return taps


def _spectrum(samples: Samples, size: int) -> Samples:
    """Along the last axis, padded with zeros; single precision stays single."""
    spectrum: Samples = np.fft.fft(samples, size).astype(np.complex64, copy=False)
    return spectrum


def _weighted(spectra: list[Samples], weights: Samples) -> Samples:
    """Sum over transmitters."""
    total: Samples = spectra[0] * weights[0]
    for spectrum, weight in zip(spectra[1:], weights[1:], strict=True):
        total += spectrum * weight
    return total
