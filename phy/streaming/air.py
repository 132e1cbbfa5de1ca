"""Superposition of sample streams: each transmitter's through its paths to each receiver, endless and in pieces of any length.

    y_m(n) = sum_j sum_p a_mjp(n / R) x_j(n (1 + e_j) - R tau_mjp - D),   R the sample rate, D the latency in samples

The channel is a filter whose taps are linear in n between knots. Knots lie on a grid of the output's sample numbers and taps
are functions of the knot alone, so cuts between pieces change nothing but rounding. The grid is fine enough that linear
interpolation errs by less than 1e-3 of a path's amplitude at the maximum Doppler shift and drift.
"""

import numpy as np
from numpy.typing import NDArray

from phy.errors import PhyError
from phy.streaming._transforms import fft, ifft
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
# Intervals transformed at once.
_TOGETHER = 16


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
        # An interval that just fills a transform costs the least per sample.
        filling = (1 << int(np.log2(grid + self._taps))) - self._taps + 1
        self._grid = filling if grid / 2 < filling <= grid else max(1, int(grid))
        self._filters = None if self._drifts else delay_filters(self._delays, self._taps).astype(np.complex64)
        self._queues = [SampleQueue(int(w) + self._taps + 2) for w in self._whole]
        self._turn_in, self._turn_out, self._noise = turn_in, turn_out, noise
        self.produced = 0
        self._coefficients: dict[int, Samples] = {}
        self._still: dict[int, Samples] = {}
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
        end, drift = self._queues[transmitter].end, float(self._paths.drift[transmitter])
        last = int((end + int(self._whole[transmitter])) / (1.0 + drift))
        while self._needed(transmitter, last + 1) <= end:
            last += 1
        while last > self.produced and self._needed(transmitter, last) > end:
            last -= 1
        return max(0, last - self.produced)

    def missing(self, transmitter: int, count: int) -> int:
        """How many samples of this transmitter are lacking before ``count`` can be produced."""
        if count <= 0:
            return 0
        return max(0, self._needed(transmitter, self.produced + count) - self._queues[transmitter].end)

    def _needed(self, transmitter: int, last: int) -> int:
        """How many samples of this transmitter all outputs below number ``last`` need."""
        return last + self._base(transmitter, max(0, last - 1) // self._grid) - int(self._whole[transmitter])

    def take(self, count: int) -> Samples:
        """The next ``count`` samples of every receiver, [M, count]; all transmitters must be ready for as many."""
        out = np.empty((self.receivers, count), np.complex64)
        pieces = []
        done = 0
        while done < count:
            knot, skip = divmod(self.produced + done, self._grid)
            length = min(count - done, self._grid - skip)
            pieces.append((knot, skip, slice(done, done + length)))
            done += length
        for low in range(0, len(pieces), _TOGETHER):
            some = pieces[low : low + _TOGETHER]
            (self._multiplied if self._taps == 1 else self._filtered)(some, out)
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

    def _window(self, transmitter: int, knot: int, skip: int, length: int) -> Samples:
        """The samples of a transmitter that ``length`` outputs need, from ``skip`` after a knot on. [L - 1 + length]."""
        first = knot * self._grid + skip + self._base(transmitter, knot) - int(self._whole[transmitter])
        return self._queues[transmitter].view(first - self._taps + 1, first + length)

    def _multiplied(self, pieces: list[tuple[int, int, slice]], out: Samples) -> None:
        """Channels of one tap."""
        before, after = self._taps_of([knot for knot, _, _ in pieces])
        for i, (knot, skip, place) in enumerate(pieces):
            length = place.stop - place.start
            ramp = self._ramp[skip : skip + length]
            for j in range(self.transmitters):
                window = self._window(j, knot, skip, length)
                for m in range(self.receivers):
                    gain = before[i, m, j, 0]
                    if after is not None:
                        gain = gain + (after[i, m, j, 0] - gain) * ramp
                    if j == 0:
                        np.multiply(window, gain, out=out[m, place])
                    else:
                        out[m, place] += gain * window

    def _filtered(self, pieces: list[tuple[int, int, slice]], out: Samples) -> None:
        """Channels of many taps, by overlap-save; transforms are made together, which is faster than one by one."""
        longest = max(place.stop - place.start for _, _, place in pieces)
        size = max(_SMALLEST_TRANSFORM, 1 << (longest + self._taps - 2).bit_length())
        knots = [knot for knot, _, _ in pieces]
        windows = np.zeros((len(pieces), self.transmitters, size), np.complex64)
        for i, (knot, skip, place) in enumerate(pieces):
            for j in range(self.transmitters):
                window = self._window(j, knot, skip, place.stop - place.start)
                windows[i, j, : len(window)] = window
        spectra = fft(windows)
        if not self._moves:
            if size not in self._still:
                self._still[size] = self._spectrum(self._taps_of(knots[:1])[0], size)
            heard = ifft(np.einsum("mjs,ijs->ims", self._still[size][0], spectra))
            parts = [heard]
        else:
            # Intervals follow one another: where no clock drifts, one ends with the taps with which the next begins.
            if self._drifts:
                before, after = (self._spectrum(self._taps_at(at, knots), size) for at in (knots, [k + 1 for k in knots]))
            else:
                at = [*knots, knots[-1] + 1]
                spectrum = self._spectrum(self._taps_at(at, at), size)
                before, after = spectrum[:-1], spectrum[1:]
            weights = np.stack((before, after - before))
            parts = list(ifft((weights * spectra[:, None]).sum(axis=3)))
        for i, (_, skip, place) in enumerate(pieces):
            length = place.stop - place.start
            part = slice(self._taps - 1, self._taps - 1 + length)
            out[:, place] = parts[0][i, :, part]
            if len(parts) > 1:
                out[:, place] += self._ramp[skip : skip + length] * parts[1][i, :, part]

    @staticmethod
    def _spectrum(taps: Samples, size: int) -> Samples:
        padded = np.zeros((*taps.shape[:-1], size), np.complex64)
        padded[..., : taps.shape[-1]] = taps
        return fft(padded)

    def _taps_of(self, knots: list[int]) -> tuple[Samples, Samples | None]:
        """Taps [I, M, J, L] at knots, and at the knots after each as its interval reads the streams; None: they stand still."""
        if not self._moves:
            knots = knots[:1] * len(knots)
        before = self._taps_at(knots, knots)
        return before, self._taps_at([knot + 1 for knot in knots], knots) if self._moves else None

    def _taps_at(self, knots: list[int], bases: list[int]) -> Samples:
        """Taps [I, M, J, L] at knots, as the intervals after the knots ``bases`` read the streams."""
        a = np.stack([self._coefficient(knot) for knot in knots])  # [I, M, J, P]
        if self._filters is not None:
            # [M, J, I, P] by [M, J, P, L]
            product = a.transpose(1, 2, 0, 3) @ self._filters
            return np.ascontiguousarray(product.transpose(2, 0, 1, 3))
        read = [[self._base(j, base) for j in range(self.transmitters)] for base in bases]
        ahead = self._paths.drift * (np.array(knots, np.float64) * self._grid)[:, None] - np.array(read)
        filters = delay_filters(self._delays - ahead[:, None, :, None], self._taps)
        taps: Samples = (a[..., None] * filters).sum(axis=3).astype(np.complex64)
        return taps

    def _coefficient(self, knot: int) -> Samples:
        """Coefficients [M, J, P] at a knot."""
        batch, index = divmod(knot, _BATCH) if self._paths.doppler_hz > 0 else (0, 0)
        if batch not in self._coefficients:
            if len(self._coefficients) > 1:
                del self._coefficients[min(self._coefficients)]
            step_s = self._grid / self._rate_hz
            self._coefficients[batch] = self._paths.coefficients(batch * _BATCH * step_s, _BATCH, step_s)
        return self._coefficients[batch][..., index]
