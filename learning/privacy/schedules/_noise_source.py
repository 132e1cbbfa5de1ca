"""Whose noise protects: the receiver's, artificial noise of the devices, or both; against an adversary of one's choice.

pAirZero's optimum has no artificial noise, so all its privacy is the noise of the server's own receiver, and anybody with a
better one has none of it. Here the adversary's receiver noise is a parameter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from learning.privacy.errors import PrivacyError
from learning.privacy.power_problem import Floats

__all__ = ["NoiseDesign", "NoiseSource", "adversary_noise_variance", "design_noise"]

NoiseSource = Literal["receiver", "artificial", "both"]


def adversary_noise_variance(n0: float, advantage_db: float = 0.0, antennas: int = 1) -> float:
    """Real-axis noise variance of an adversary with ``advantage_db`` more SNR and ``antennas`` combined coherently [linear]."""
    if antennas < 1:
        raise PrivacyError(f"the adversary has {antennas} antennas; it needs at least one")
    return float(n0 / (2.0 * 10.0 ** (advantage_db / 10.0) * antennas))


@dataclass(frozen=True)
class NoiseDesign:
    """Amplitudes and artificial noise, each float64[T].

    :param amplitudes: aligned amplitude a_t
    :param artificial_std: standard deviation of each device's artificial noise, in symbol units (full scale 1)
    :param mu: mu_t against the adversary, with the noise that ``source`` counts
    :param mu_server: mu_t against the server itself, with the noise it truly has
    :param estimate_std: of the server's estimate of the mean payload, in the payload's unit; infinite in silent rounds
    :param mean_power: a_t^2 (1 + artificial_std^2), at most cap_t^2
    """

    source: NoiseSource
    amplitudes: Floats
    artificial_std: Floats
    mu: Floats
    mu_server: Floats
    estimate_std: Floats
    mean_power: Floats

    @property
    def statement(self) -> str:
        """What protects, and how power was counted, in one sentence."""
        who = {
            "receiver": "the adversary's receiver noise alone",
            "artificial": "artificial noise alone, whatever the adversary receives with",
            "both": "artificial noise and the adversary's receiver noise",
        }[self.source]
        return (
            f"Protected by {who}; power is the peak of the payload plus the mean square of the artificial noise, as the paper "
            "counts it, so single symbols may exceed it."
        )


def design_noise(
    source: NoiseSource,
    mu: Floats,
    caps: Floats,
    *,
    adversary_variance: float,
    server_variance: float | Floats,
    devices: int | Floats,
    sensitivity_ratio: float = 2.0,
    noisy_devices: int | Floats | None = None,
    clip: float = 1.0,
) -> NoiseDesign:
    """Amplitudes and artificial noise that keep mu_t against the adversary and give the server its best estimate.

    With N noisy devices and r = Delta / clip, mu_t = r a / sqrt(v_adv + a^2 N s^2) asks for N s^2 = (r / mu)^2 - v_adv / a^2,
    and the server's estimate has the variance (clip / K)^2 (v_srv / a^2 + K s^2). So

    - ``receiver``: s = 0, a = mu sqrt(v_adv) / r or the cap, whichever is less;
    - ``artificial``: v_adv is given no credit, s = r / (mu sqrt(N)), and a takes the whole power;
    - ``both``: where v_srv > (K / N) v_adv, louder is better and s fills up what is missing:
      a^2 (1 + s^2) = cap^2 at a^2 = (cap^2 + v_adv / N) / (1 + (r / mu)^2 / N). Elsewhere artificial noise cannot help and
      ``both`` is ``receiver``.

    :param mu: float64[T], largest allowed mu_t, 0 for a silent round
    :param caps: float64[T], a_t^2 (1 + s_t^2) <= cap_t^2
    :param adversary_variance: real-axis noise variance v_adv of the adversary, see :func:`adversary_noise_variance`
    :param server_variance: real-axis noise variance v_srv of the server, a number or [T]
    :param devices: devices K that transmit, all with artificial noise; a number, or [T]
    :param noisy_devices: how many of them are trusted to add their noise and to keep it secret, a number or [T] (default: all)
    :raises PrivacyError: a value out of its range
    """
    if source not in ("receiver", "artificial", "both"):
        raise PrivacyError(f'no noise source is called "{source}"; choose receiver, artificial or both')
    trusted = np.asarray(devices if noisy_devices is None else noisy_devices, np.float64)
    if not (np.all(trusted >= 1) and np.all(trusted <= devices)):
        raise PrivacyError(f"{noisy_devices} of {devices} devices add noise; it takes at least one and at most all")
    if adversary_variance < 0.0 or not math.isfinite(adversary_variance) or not _sound(server_variance):
        raise PrivacyError("a noise variance is negative or not finite; give v_adv and v_srv as numbers of at least 0")
    if not (0.0 < sensitivity_ratio < math.inf and 0.0 < clip < math.inf):
        raise PrivacyError("sensitivity_ratio and clip must be positive and finite")
    mu, caps = np.asarray(mu, dtype=np.float64), np.asarray(caps, dtype=np.float64)
    if mu.shape != caps.shape or not all(_sound(x) for x in (mu, caps)):
        raise PrivacyError("mu and caps must have one entry per round, finite and not negative")

    active = (mu > 0.0) & (caps > 0.0)
    noise = np.square(sensitivity_ratio / np.where(active, mu, 1.0))  # (r / mu)^2, the variance asked for at a = 1
    if source == "artificial":
        spread = noise / trusted
        square = np.square(caps) / (1.0 + spread)
    else:
        square = np.minimum(adversary_variance / noise, np.square(caps))
        spread = np.zeros_like(square)
        if source == "both":
            # Below the cap with the adversary's noise alone, and where that pays: speak up, and cover the difference.
            fill = (square < np.square(caps)) & (server_variance > devices / trusted * adversary_variance)
            louder = (np.square(caps) + adversary_variance / trusted) / (1.0 + noise / trusted)
            with np.errstate(divide="ignore", invalid="ignore"):
                missing = np.maximum(noise - adversary_variance / louder, 0.0) / trusted
            square, spread = np.where(fill, louder, square), np.where(fill, missing, spread)
    square, spread = np.where(active, square, 0.0), np.where(active, spread, 0.0)

    counted = 0.0 if source == "artificial" else adversary_variance
    with np.errstate(divide="ignore", invalid="ignore"):
        against_adversary = sensitivity_ratio * np.sqrt(square / (counted + square * trusted * spread))
        against_server = sensitivity_ratio * np.sqrt(square / (server_variance + square * trusted * spread))
        std = clip / devices * np.sqrt(server_variance / square + devices * spread)
    silent = square == 0.0
    return NoiseDesign(
        source=source,
        amplitudes=np.sqrt(square),
        artificial_std=np.sqrt(spread),
        mu=np.where(silent, 0.0, against_adversary),
        mu_server=np.where(silent, 0.0, against_server),
        estimate_std=np.where(silent, np.inf, std),
        mean_power=square * (1.0 + spread),
    )


def _sound(values: float | Floats) -> bool:
    return bool(np.all(np.isfinite(values)) and np.all(np.asarray(values) >= 0.0))
