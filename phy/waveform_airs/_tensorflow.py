"""The airs of Sionna 1.x on TensorFlow: each slot is one or a few calls of a ``tf.function``.

Sample counts and lags of a link do not change, so a graph is traced once and stays.
"""

from typing import Any

import numpy as np

from phy.config import LinkConfig
from phy.draws import CachedDraws, KeyedDraws
from phy.modes import Complexes, Floats
from phy.propagation import Propagation
from phy.ramps import ramp_array, tables
from phy.runtimes.tensorflow import compiled, fed, tf
from phy.waveform_airs._emulation import Emulation
from phy.waveform_airs._lags import Lags

# After the runtime, which says how TensorFlow is to be loaded.
from sionna.phy.channel import AWGN, ApplyTimeChannel, cir_to_time_channel  # isort: skip

_awgn = AWGN(precision="single")


class _Tensors(Emulation):
    """What both airs have in common: tensors throughout, and noise from Sionna's AWGN fed with keyed draws."""

    def taken(self, bursts: Complexes) -> Any:
        """The bursts as a tensor."""
        return tf.constant(bursts)

    def given(self, y: Any) -> Complexes:
        """The samples as an array."""
        return np.ascontiguousarray(y.numpy())

    def turned(self, x: Any, cycles_per_sample: Floats, start_cycles: Floats) -> Any:
        """Bursts on their own carriers."""
        return x * tf.constant(ramp_array(cycles_per_sample, int(x.shape[1]), start_cycles))

    def with_noise(self, y: Any, unit: Complexes) -> Any:
        """Samples with receiver noise."""
        return _noisy(y, tf.constant(unit), tf.constant(np.float32(self._noise_std**2)))


@compiled(2, 2, "real")
def _noisy(y: Any, unit: Any, n0: Any) -> Any:
    with fed(unit):
        return _awgn(y, n0)


class Emulated(_Tensors):
    """Delays of any size as phase ramps on the spectrum of the slot; see :mod:`phy.waveform_airs.emulated`."""

    keyed = True

    def flat(self, x: Any, gains: Complexes, timing_s: Floats) -> Any:
        """Bursts through one path."""
        if not timing_s.any():
            return tf.constant(gains) @ x
        return self.filtered(x, gains[:, :, None], np.zeros((len(timing_s), 1)), timing_s)

    def filtered(self, x: Any, paths: Complexes, delays_s: Floats, timing_s: Floats) -> Any:
        """Paths with delays on the spectra, summed over devices before the one inverse transform."""
        coarse, fine = self._tables(timing_s[:, None] + delays_s, int(x.shape[1]))
        return _filtered(x, tf.constant(paths), tf.constant(coarse), tf.constant(fine))

    def by_sample(self, x: Any, paths: Complexes, delays_s: Floats) -> Any:
        """One delayed burst for each path and device, times the path's gain at every sample."""
        coarse, fine = self._tables(delays_s, int(x.shape[1]))
        return _by_sample(x, tf.constant(paths), tf.constant(coarse), tf.constant(fine))

    def _tables(self, delays_s: Floats, count: int) -> tuple[Complexes, Complexes]:
        cycles = -delays_s * (self._rate / count)
        return tables(cycles, count, -(count // 2) * cycles)


@compiled(2, 3, 3, 3)
def _filtered(x: Any, paths: Any, coarse: Any, fine: Any) -> Any:
    """Paths [M, K, P] times ramps [K, P, I] x [K, P, J] on bursts [K, N], N <= I J: the sum [M, N]."""
    count = tf.shape(x)[1]
    weighted = tf.transpose(paths, [1, 0, 2])[:, :, None, :] * tf.transpose(coarse, [0, 2, 1])[:, None]  # [K, M, I, P]
    shape = tf.shape(weighted)
    joined = tf.reshape(weighted, [shape[0], -1, shape[3]]) @ fine  # [K, M I, J]
    response = tf.reshape(joined, [shape[0], shape[1], -1])[:, :, :count]
    spectra = tf.signal.fftshift(tf.signal.fft(x), axes=[-1])
    total = tf.reduce_sum(response * spectra[:, None], axis=0)
    return tf.signal.ifft(tf.signal.ifftshift(total, axes=[-1]))


@compiled(2, 4, 3, 3)
def _by_sample(x: Any, paths: Any, coarse: Any, fine: Any) -> Any:
    """Gains [M, K, P, N] times bursts [K, N] delayed by ramps [K, P, I] x [K, P, J]: the sum [M, N]."""
    count = tf.shape(x)[1]
    shape = tf.shape(coarse)
    ramps = tf.reshape(coarse[..., :, None] * fine[..., None, :], [shape[0], shape[1], -1])[:, :, :count]
    delayed = tf.signal.ifft(tf.signal.fft(x)[:, None] * tf.signal.ifftshift(ramps, axes=[-1]))  # [K, P, N]
    return tf.reduce_sum(paths * delayed, axis=[1, 2])


class TimeChannel(_Tensors):
    """Sionna 1.x's own discrete-time channel; see :mod:`phy.waveform_airs.time_channel`."""

    keyed = True

    def __init__(self, config: LinkConfig, draws: KeyedDraws, cached: CachedDraws, propagation: Propagation) -> None:
        super().__init__(config, draws, cached, propagation)
        self._lags = Lags(config, propagation)
        self._carry: tuple[int, Any] | None = None

    def steps(self, count: int) -> int:
        """Outputs of the whole convolution."""
        return count + self._lags.count - 1

    def start_s(self, reference_sample: int) -> float:
        """Outputs start at the first lag."""
        return super().start_s(reference_sample) + self._lags.first / self._rate

    def flat(self, x: Any, gains: Complexes, timing_s: Floats) -> Any:
        """Bursts through one path."""
        return self.filtered(x, gains[:, :, None], np.zeros((len(timing_s), 1)), timing_s)

    def filtered(self, x: Any, paths: Complexes, delays_s: Floats, timing_s: Floats) -> Any:
        """Paths that stand still."""
        return self.by_sample(x, paths[..., None], timing_s[:, None] + delays_s)

    def by_sample(self, x: Any, paths: Complexes, delays_s: Floats) -> Any:
        """Paths [M, K, P, T] at every output, T = 1 where they stand still."""
        self._lags.refuse_beyond(delays_s)
        count = int(x.shape[1])
        if self._carry is None or self._carry[0] != count:
            self._carry = (count, _time_channel(count, self._rate, self._lags))
        return self._carry[1](x, tf.constant(paths), tf.constant(delays_s.astype(np.float32)))


def _time_channel(count: int, rate_hz: float, lags: Lags) -> Any:
    """Taps and convolution of slots of ``count`` samples as one graph."""
    apply = ApplyTimeChannel(count, lags.count, precision="single")

    @compiled(2, 4, "delays")
    def carry(x: Any, paths: Any, delays: Any) -> Any:
        taps = cir_to_time_channel(rate_hz, paths[None, None, :, :, None], delays[None, None], lags.first, lags.last)
        return apply(x[None, :, None], taps)[0, 0, :, -lags.first : count - lags.first]

    return carry
