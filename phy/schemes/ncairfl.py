"""Signed sums by energy on one tone with a shared random sign (NCAirFL: H. Wen, N. Michelusi, O. Simeone, H. Xing,
"CSI-free over-the-air federated learning based on non-coherent detection", arXiv 2411.13000).

A dither phi = +-1, known to all, is drawn for each round and scalar. A device sends the energy max(phi p, 0) / clip: in each
round only the devices whose payload agrees with phi are heard. The paper's devices remember what was not sent and send it
later. A link here is a pure function and remembers nothing, so the half that a round loses on average is made up for by a
factor 2 (E[phi max(phi p, 0)] = p / 2): unbiased, at the price of the variance (sum |p_k| / K)^2 that the dither adds
(:func:`phy.theory_schemes.ncairfl_variance`). :class:`ErrorFeedback` is the paper's memory, for a learner to keep.
"""

import numpy as np
from numpy.typing import NDArray

from phy.config import LinkConfig
from phy.draws import KeyedDraws
from phy.errors import BadPayload
from phy.schemes._mean import masked_mean


class Part:
    """Energy max(phi p, 0) / clip on the only tone; estimate = 2 phi clip S / (devices heard).

    Counted as 16 bits per scalar, as scheme ``analog`` is.
    """

    detection = "energy"
    tones = 1
    dithered = True
    payload_bits = 16
    needs_csi = False

    def __init__(self, config: LinkConfig) -> None:
        self._clip = config.clip
        self._looks = config.noncoherent.looks

    def channel_uses(self, devices: int) -> int:
        """Channel uses of one scalar: one per look, however many devices."""
        del devices
        return self._looks

    def energies(self, payloads: NDArray[np.float64], dither: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """Payloads [B, K, n] in [-clip, clip] and dither [B, n] to energies [B, K, n, 1]."""
        return np.maximum(payloads * _given(dither)[:, None, :], 0.0)[..., None] / self._clip

    def decode(
        self, received: NDArray[np.float64], heard: NDArray[np.float64], dither: NDArray[np.float64] | None
    ) -> NDArray[np.float64]:
        """Estimated sums of energies [B, n, 1], devices heard [B] and dither [B, n] to estimates [B, n]."""
        return 2.0 * self._clip * _given(dither) * received[..., 0] / heard[:, None]

    def target(self, payloads: NDArray[np.float64], present: NDArray[np.bool_] | None) -> NDArray[np.float64]:
        """Mean of payloads [B, K] over present [B, K] (None: all), the dither's luck left out. [B]."""
        return masked_mean(payloads, present)


def _given(dither: NDArray[np.float64] | None) -> NDArray[np.float64]:
    if dither is None:
        raise BadPayload("scheme ncairfl needs the round's dither; pass what phy.energy.keyed_dither returns")
    return dither


class ErrorFeedback:
    """Memory of what was not sent: a pure recursion from values to the payloads that a device with memory hands to the link.

    In each round x = memory + value; where phi x > 0 the device sends x, limited to [-2 clip, 2 clip], else nothing; what was
    not sent, the excess over the limit included, is the next memory. The payload is half of what is sent, which the link's
    factor 2 restores: the link's estimate is that of mean(2 payload), and at any time the sum of 2 payload over all rounds plus
    the memory equals the sum of values.

    Memory couples rounds: one value is spread over all later payloads until the memory empties, so a round's release is no
    longer a function of that round's clipped value, and privacy accounts that take the sensitivity as ``clip`` per round
    do not apply.

    :param clip: the link's clip
    :param seed: the link's seed, from which both sides draw the same dither
    """

    def __init__(self, clip: float, seed: int) -> None:
        self._clip = clip
        self._draws = KeyedDraws(seed)

    def step(
        self, memory: NDArray[np.float64], round_index: int, values: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Memory [K, n] and values [K, n] of a round to (payloads [K, n], next memory [K, n]). Start with zeros."""
        from phy.energy import keyed_dither

        dither = keyed_dither(self._draws, round_index, 1, values.shape[1])
        wanted = memory + values
        payloads = np.where(dither * wanted > 0, np.clip(0.5 * wanted, -self._clip, self._clip), 0.0)
        return payloads, wanted - 2.0 * payloads

    def run(self, values: NDArray[np.float64], first_round: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Values [T, K, n] of consecutive rounds to (payloads [T, K, n], memory [K, n] after the last)."""
        memory = np.zeros(values.shape[1:])
        payloads = np.empty(values.shape)
        for t, value in enumerate(values):
            payloads[t], memory = self.step(memory, first_round + t, value)
        return payloads, memory
