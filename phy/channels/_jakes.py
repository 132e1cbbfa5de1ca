"""Fading with Jakes' Doppler spectrum as a function of absolute time, keyed by device.

    h(t) = N^(-1/2) sum_n exp(j (2 pi f_d t cos theta_n + phi_n)),  theta_n = 2 pi (n + u) / N,

with phases phi_n uniform on [0, 2 pi) and u uniform on [0, 1).

Given u the process is stationary with autocorrelation (1/N) sum_n exp(j x cos theta_n), x = 2 pi f_d tau:
the trapezoidal rule over a full circle, hence J0(x) + 2 cos(2 pi u) j^N J_N(x) + ..., which is J0(x) to float32 rounding for
x < N/2. Averaged over u it is J0(x) at every lag. (A rule over half a circle would leave an imaginary part of order 1/N.)
The power of the waves is the same for every device, so that the mean over a long time is 1 and not only the mean over devices;
the price is a law that is Gaussian up to 1/N (E|h|^4 = 2 - 1/N, N = 64). Nothing is stepped: any instant can be evaluated
alone, so the result depends on neither batch nor history. The antennas of the server see the same angles, with independent
phases; paths and devices have angles of their own.
"""

import numpy as np
from numpy.typing import NDArray

from phy.channels._uniform import uniform
from phy.draws import GROUP_ROUNDS, CachedDraws

WAVES = 64
# Elements (instants x links x waves) worked on at once: small enough to stay in a core's cache.
_CHUNK_ELEMENTS = 65536
_TURN = np.float32(2.0 * np.pi)


class JakesFading:
    """Unit-power fading of ``paths`` independent paths per device and antenna.

    :param draws: keyed source of amplitudes (purpose ``jakes``) and angles (``jakesang``)
    :param doppler_hz: maximum Doppler shift f_d
    """

    def __init__(self, draws: CachedDraws, doppler_hz: float) -> None:
        self._draws = draws
        self._doppler_hz = doppler_hz
        self._kept: tuple[tuple[int, int, int], tuple[NDArray[np.float64], NDArray[np.complex64]]] | None = None

    def at(self, times_s: NDArray[np.float64], devices: int, antennas: int, paths: int) -> NDArray[np.complex64]:
        """Coefficients [B, M, K, P] at the instants [B]."""
        shifts_hz, amplitudes = self._waves(devices, antennas, paths)
        out = np.empty((len(times_s), antennas, len(shifts_hz)), np.complex64)
        links = max(1, min(len(shifts_hz), _CHUNK_ELEMENTS // WAVES))
        instants = max(1, _CHUNK_ELEMENTS // (links * WAVES))
        for low in range(0, len(shifts_hz), links):
            some = slice(low, low + links)
            for start in range(0, len(times_s), instants):
                when = slice(start, start + instants)
                cosine, sine = _phasors(times_s[when, None, None] * shifts_hz[some])
                for m in range(antennas):
                    wave = amplitudes[m, some]
                    # Real products and sums along the last axis round alike for every batch; complex ones may be fused.
                    out.real[when, m, some] = (wave.real * cosine - wave.imag * sine).sum(axis=-1)
                    out.imag[when, m, some] = (wave.real * sine + wave.imag * cosine).sum(axis=-1)
        return out.reshape(len(times_s), antennas, devices, paths)

    def series(
        self, starts_s: NDArray[np.float64], steps: int, rate_hz: float, devices: int, antennas: int, paths: int
    ) -> NDArray[np.complex64]:
        """Coefficients [B, M, K, P, T] at the instants ``starts_s[b] + i / rate_hz``, i = 0 .. T - 1.

        Instants are split into a coarse and a fine grid of sqrt(T) points: exponentials are needed on these only, and a
        matrix product per link, of a size that does not depend on the batch, joins them.
        """
        shifts_hz, amplitudes = self._waves(devices, antennas, paths)
        fine = int(np.ceil(np.sqrt(steps)))
        coarse = -(-steps // fine)
        out = np.empty((len(starts_s), antennas, len(shifts_hz), steps), np.complex64)
        for link, shift_hz in enumerate(shifts_hz):
            inner = _complex(*_phasors(shift_hz[:, None] * (np.arange(fine) / rate_hz)))
            for b, start_s in enumerate(starts_s):
                cosine, sine = _phasors((start_s + np.arange(coarse) * (fine / rate_hz))[:, None] * shift_hz)
                for m in range(antennas):
                    wave = amplitudes[m, link]
                    outer = _complex(wave.real * cosine - wave.imag * sine, wave.real * sine + wave.imag * cosine)
                    out[b, m, link] = (outer @ inner).reshape(-1)[:steps]
        return out.reshape(len(starts_s), antennas, devices, paths, steps)

    def _waves(self, devices: int, antennas: int, paths: int) -> tuple[NDArray[np.float64], NDArray[np.complex64]]:
        """Doppler shifts [K P, N] and amplitudes [M, K P, N]; those of the last shape are kept."""
        shape = (devices, antennas, paths)
        if self._kept is None or self._kept[0] != shape:
            turn = uniform(self._draws, "jakesang", devices, 0, paths).T.reshape(-1, 1)
            shifts_hz = self._doppler_hz * np.cos(2.0 * np.pi * (np.arange(WAVES) + turn) / WAVES)
            # Waves take the place of rounds. A whole group is asked for: it is drawn anyway, and then not cached twice.
            drawn = self._draws.complex_normal("jakes", devices, 0, GROUP_ROUNDS, antennas * paths)[:WAVES]
            drawn = (drawn / np.abs(drawn)).astype(np.complex64)
            waves = drawn.reshape(WAVES, antennas, paths, devices).transpose(1, 3, 2, 0) * np.float32(WAVES**-0.5)
            self._kept = (shape, (shifts_hz, np.ascontiguousarray(waves).reshape(antennas, -1, WAVES)))
        return self._kept[1]


def instants_s(first_round: int, rounds: int, round_duration_s: float, start_s: float) -> NDArray[np.float64]:
    """Times ``r round_duration_s + start_s`` of consecutive rounds r. Shape [B]."""
    return np.asarray((first_round + np.arange(rounds)) * round_duration_s + start_s, np.float64)


def _phasors(turns: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """cos and sin of 2 pi ``turns``, which are reduced in float64: times may be hours."""
    turns = turns - np.rint(turns)
    angle = turns.astype(np.float32)
    angle *= _TURN
    return np.cos(angle), np.sin(angle)


def _complex(real: NDArray[np.float32], imag: NDArray[np.float32]) -> NDArray[np.complex64]:
    out = np.empty(real.shape, np.complex64)
    out.real = real
    out.imag = imag
    return out
