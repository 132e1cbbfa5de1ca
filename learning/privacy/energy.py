"""Privacy of energy detection (schemes fsk_mv, reed, ncairfl): a device changes the variance of what is received, not its mean.

In Rayleigh fading that nobody knows, a complex sample on a tone is CN(0, e + E + N0): e of the device, E of the others.
Neighbours give two variances with the ratio r = (e + E + N0) / (e' + E + N0), and per sample the divergences of two
exponentials,

    D_a(wide || narrow) = -ln r - ln(a + (1 - a) r) / (a - 1)    where a < r / (r - 1), else infinite,
    D_a(narrow || wide) =  ln r - ln(a + (1 - a) / r) / (a - 1).

Both grow with r > 1: their derivatives in ln r are -1 + r / (a - (a - 1) r) and 1 - 1 / (1 + a (r - 1)). So E = 0 is the
worst, which also follows for every divergence because other devices only add independent noise, and e' = 0 is.

Looks and antennas. Where every look fades anew, the L M samples of a tone are independent and each carries e / L. Where the
fade of a round is common to its looks (and to its n scalars), reveal the random phases to the observer, which can only help:
each antenna then has a rank-one signal, a matched filter is sufficient, and one sample per antenna carries all of the energy
n e. That leaks more, and is the default.

Two tones. A device uses one tone or the other, with energies that are Lipschitz in its payload, so that a change of the
payload by Delta changes each tone by at most s = min(1, Delta / clip), and the pair (s, 0) against (0, s) dominates: the
divergence of two independent tones, one up and one down. It is attained by client values (s = 1). A dithered scheme has one
tone that goes up or down with a public sign: the larger of the two in Renyi divergence, and as a pair dominated by the two
tones. Scalars under a common fade are one rank-one signal x against another y: the variances I + x x* and I + y y* have
generalised eigenvalues within [1 / (1 + |y|^2), 1 + |x|^2], again one up and one down, but a small change of the energies
may turn x by much, so that s = 1.

Fades are taken to be independent between rounds and between antennas. Nothing of this holds for channels that do not fade,
or that the observer knows: energies then carry means.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import gammaincc, gammaln

from learning.privacy.errors import PrivacyError, check_delta, check_epsilon

__all__ = ["EnergyRound", "renyi_narrow_to_wide", "renyi_wide_to_narrow"]

Floats = npt.NDArray[np.float64]

_TONES = {"fsk_mv": 2, "reed": 2, "ncairfl": 1}
_NUMERICAL_DELTA = 1e-11  # above the error of the quadrature, which the tests bound by 1e-13
_PANELS, _NODES = 200, 8


def renyi_wide_to_narrow(order: Floats, ratio: float) -> Floats:
    """D_a(Exp with mean r || Exp with mean 1), r >= 1; infinite from a = r / (r - 1) on."""
    a = np.asarray(order, np.float64)
    inside = a - (a - 1) * ratio
    with np.errstate(invalid="ignore", divide="ignore"):
        value = -np.log(ratio) - np.log(inside) / (a - 1)
    return np.asarray(np.where(inside > 0, value, np.inf))


def renyi_narrow_to_wide(order: Floats, ratio: float) -> Floats:
    """D_a(Exp with mean 1 || Exp with mean r), r >= 1; finite at every order."""
    a = np.asarray(order, np.float64)
    return np.asarray(np.log(ratio) - np.log(a - (a - 1) / ratio) / (a - 1))


@dataclass(frozen=True)
class EnergyRound:
    """What a round of energy detection reveals about one device, at worst.

    :param scheme: ``fsk_mv``, ``reed`` or ``ncairfl`` without memory (error feedback spreads a value over rounds: refused)
    :param n0: noise variance of the observer's complex sample (:func:`learning.privacy.release.adversary_n0` without antennas)
    :param looks: L; :param antennas: the observer's; :param scalars: payload scalars of a round
    :param sensitivity_ratio: Delta / clip; 2 or more: any value may be replaced by any other; one vote is 2
    :param energy: mean energy per antenna that a full-scale scalar is received with; 1 without path loss
    :param common_fade: whether the looks and scalars of a round share one fade; the safe choice
    :param error_feedback: whether devices keep what was not sent
    """

    scheme: str
    n0: float
    looks: int = 1
    antennas: int = 1
    scalars: int = 1
    sensitivity_ratio: float = 2.0
    energy: float = 1.0
    common_fade: bool = True
    error_feedback: bool = False

    def __post_init__(self) -> None:
        if self.scheme not in _TONES:
            raise PrivacyError(f"scheme {self.scheme!r} is not one of energy detection; choose {', '.join(_TONES)}")
        if self.error_feedback:
            raise PrivacyError(
                "error feedback spreads one value over all later rounds, so a round's sensitivity is not bounded; switch it off"
            )
        if not 0 < self.n0 < math.inf:
            raise PrivacyError(f"energy detection hides a device only in noise; N0 must be positive and finite, got {self.n0}")
        if min(self.looks, self.antennas, self.scalars) < 1:
            raise PrivacyError("looks, antennas and scalars must be at least 1")
        if not (0 < self.sensitivity_ratio < math.inf and 0 < self.energy < math.inf):
            raise PrivacyError("the sensitivity and the energy of full scale must be positive and finite")

    @property
    def ratio(self) -> float:
        """r = 1 + s e / N0 of one sample."""
        # A vote flips whatever the sensitivity of what it is the sign of; for scalars under a common fade see above.
        step = 1.0 if self.scheme == "fsk_mv" or self._turning else min(1.0, self.sensitivity_ratio)
        carried = self.scalars * self.energy if self.common_fade else self.energy / self.looks
        return 1.0 + step * carried / self.n0

    @property
    def samples(self) -> int:
        """Independent samples of a tone and round."""
        return self.antennas if self.common_fade else self.looks * self.antennas * self.scalars

    @property
    def _turning(self) -> bool:
        """Whether a change of the payload can turn a rank-one signal."""
        return self.common_fade and self.scalars > 1

    def renyi(self, orders: npt.ArrayLike) -> Floats:
        """Renyi divergence of a round at ``orders`` > 1, the worse of both directions."""
        a = np.asarray(orders, np.float64)
        if not np.all(a > 1):
            raise PrivacyError("Renyi orders must be above 1")
        up, down = renyi_wide_to_narrow(a, self.ratio), renyi_narrow_to_wide(a, self.ratio)
        return self.samples * (up + down if _TONES[self.scheme] == 2 or self._turning else np.maximum(up, down))

    def epsilon_renyi(self, rounds: int, delta: float) -> float:
        """Epsilon after ``rounds`` by Renyi composition and the conversion of C. Canonne et al. (arXiv 2004.00010).

        Valid for adaptively chosen payloads. Orders end at r / (r - 1): at high SNR this is infinite, and ``epsilon`` is not.
        """
        check_delta(delta)
        if _count(rounds) == 0:
            return 0.0
        try:
            rdp = importlib.import_module("dp_accounting.rdp")
        except ImportError as error:
            raise PrivacyError("Renyi accounting needs the package dp-accounting; install it") from error
        last = self.ratio / (self.ratio - 1)
        orders = 1 + np.concatenate((np.geomspace(1e-3, 1e6, 400), (last - 1) * np.linspace(0.01, 0.99, 99)))
        orders = np.sort(orders[(orders < last) & (orders > 1)])
        return float(rdp.compute_epsilon(orders.tolist(), (rounds * self.renyi(orders)).tolist(), delta)[0])

    def delta(self, rounds: int, epsilon: float) -> float:
        """Delta after ``rounds`` rounds from the exact distribution of the privacy loss, rounded up.

        The loss of the dominating pair is (1 - 1/r) (r U - V) with U, V ~ Gamma(rounds samples): with one tone up and one down
        the logarithms of r cancel. So delta = P(r U - V > c) - e^epsilon P(U - r V > c), c = epsilon r / (r - 1), each an
        integral over V. Valid for adaptively chosen payloads, as the pair dominates every round whatever came before.

        :raises PrivacyError: epsilon not positive and finite, or rounds negative
        """
        check_epsilon(epsilon)
        if _count(rounds) == 0:
            return 0.0
        return min(1.0, self._hockey_stick(rounds * self.samples, epsilon) + _NUMERICAL_DELTA)

    def epsilon(self, rounds: int, delta: float) -> float:
        """Smallest certified epsilon after ``rounds`` rounds: the smaller of the exact pair and Renyi.

        The two agree but for dithered schemes, whose dominating pair is loose, and for Renyi's own loss.
        """
        check_delta(delta)
        renyi = self.epsilon_renyi(rounds, delta)
        left = delta - _NUMERICAL_DELTA
        if rounds == 0 or left <= 0:
            return renyi
        shape = rounds * self.samples
        if self._hockey_stick(shape, 1e-12) <= left:
            return 0.0
        high = 1.0
        while self._hockey_stick(shape, high) > left:
            high *= 2
        low = high / 2 if high > 1 else 1e-12
        root = float(brentq(lambda x: self._hockey_stick(shape, x) - left, low, high, xtol=1e-10))
        while root < high and self._hockey_stick(shape, root) > left:
            root = min(high, root * (1 + 1e-9) + 1e-9)
        return min(root, renyi)

    def _hockey_stick(self, shape: int, epsilon: float) -> float:
        r = self.ratio
        c = epsilon * r / (r - 1)
        v, log_weight = _gamma_nodes(shape)
        above = float(np.exp(log_weight) @ gammaincc(shape, (v + c) / r))
        with np.errstate(divide="ignore"):
            scaled = float(np.exp(log_weight + epsilon + np.log(gammaincc(shape, r * v + c))).sum())
        return max(0.0, above - scaled)


def _count(rounds: int) -> int:
    if rounds < 0:
        raise PrivacyError(f"the number of rounds must not be negative, got {rounds}")
    return rounds


def _gamma_nodes(shape: int) -> tuple[Floats, Floats]:
    """Nodes and log-weights of an integral over the law Gamma(shape, 1): Gauss-Legendre panels over all but 1e-15 of it."""
    spread = 9.0 * math.sqrt(shape)
    low, high = max(0.0, shape - spread), shape + spread + 40.0
    x, w = np.polynomial.legendre.leggauss(_NODES)
    edges = np.linspace(low, high, _PANELS + 1)
    half = (edges[1:] - edges[:-1])[:, None] / 2
    nodes = ((edges[1:] + edges[:-1])[:, None] / 2 + half * x).ravel()
    return nodes, np.log((half * w).ravel()) + (shape - 1) * np.log(nodes) - nodes - gammaln(shape)
