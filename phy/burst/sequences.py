"""Known sequences: preamble, pilots, spreading. All are functions of their length alone, the same at every device.

One sequence for all devices is what superposition asks for: the bursts must add up, not be told apart.
"""

from math import gcd

import numpy as np
from numpy.typing import NDArray

_GOLDEN = (5.0**0.5 - 1.0) / 2.0


def zadoff_chu_root(length: int) -> int:
    """The root of the Zadoff-Chu sequence of this length: coprime to it and nearest to its golden section.

    A plain chirp, root 1, answers a frequency offset of one turn per sequence with a shift of its correlation peak by one
    symbol. For root u the shifts d that offsets of few turns f cause solve u d = f modulo the length; the golden section, the
    number worst approximated by fractions, keeps all of them long.
    """
    return min((u for u in range(1, max(length, 2)) if gcd(u, length) == 1), key=lambda u: abs(u - _GOLDEN * length))


def zadoff_chu(length: int) -> NDArray[np.complex128]:
    """Zadoff-Chu sequence of modulus 1 and vanishing periodic autocorrelation. Shape [length].

    D. C. Chu, "Polyphase codes with good periodic correlation properties", IEEE Trans. Inf. Theory 18(4), 1972.
    """
    i = np.arange(length, dtype=np.int64)
    # The phase is reduced modulo two turns in integers: i^2 would cost float64 its digits at great lengths.
    turns = zadoff_chu_root(length) * i * (i + length % 2) % (2 * length)
    return np.asarray(np.exp(-1j * np.pi * turns / length))


def preamble_sequence(symbols: int) -> NDArray[np.complex128]:
    """Two equal halves, each a Zadoff-Chu sequence. ``symbols`` must be even. Shape [symbols]."""
    return np.tile(zadoff_chu(symbols // 2), 2)


def pilot_sequence(symbols: int) -> NDArray[np.complex128]:
    """Two equal halves where ``symbols`` is even, else one Zadoff-Chu sequence. Shape [symbols]."""
    return preamble_sequence(symbols) if symbols % 2 == 0 else zadoff_chu(symbols)


def spreading_sequence(chips: int) -> NDArray[np.float64]:
    """Rudin-Shapiro sequence: chip i is -1 where i in binary holds an odd number of adjacent ones, else +1. Shape [chips].

    Its spectrum is flat: |sum_i s_i e^{-j w i}|^2 <= 2 chips at every frequency for a power of two.
    W. Rudin, "Some theorems on Fourier coefficients", Proc. AMS 10, 1959; H. S. Shapiro, 1951.
    """
    i = np.arange(chips, dtype=np.uint64)
    pairs = np.bitwise_count(i & (i >> np.uint64(1)))
    return np.where(pairs % 2, -1.0, 1.0)
