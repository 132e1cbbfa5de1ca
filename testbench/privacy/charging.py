"""How a round is charged: the amplitude at which the loudest device arrives, against the noise that protects it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learning.privacy.errors import PrivacyError
from learning.privacy.gain_bound import GainLaw, choose_g_max, gain_law, tail_failure
from learning.privacy.release import Csi, Release, adversary_n0, gaussian_mu
from learning.privacy.sensitivity import Relation, Sensitivity
from phy.config import LinkConfig
from phy.faults import parse
from testbench.privacy.sounding import Sounding
from testbench.scenario import Scenario

__all__ = ["Charging"]

Floats = NDArray[np.float64]

#: Amplitudes are charged this much larger, for the float32 arithmetic of the emulation.
_ROUNDING = 1.0 + 1e-6
_TAIL_SHARE = 0.1  # of delta, spent on gains beyond the bound where none is given


@dataclass(frozen=True)
class Charging:
    """Constants by which amplitudes become mu.

    :param n0: the adversary's, variance of a complex sample; 0 where only artificial noise is given credit
    :param server_n0: the server's own
    :param ratio: sensitivity over full scale
    :param full_scale: largest value of a device, in the unit of the estimate
    :param csi: how gains above 1 are charged
    :param g_max: of ``tail``, else 1
    :param extra_delta: probability that a gain exceeds it in any round
    :param excess: [T] loudest over aligned amplitude with everybody present
    :param credit: [T] devices whose artificial noise is sure to cover a device: all that transmit where everything is aligned,
        else only its own, as that of others may lie on another axis or antenna
    :param shared: whether ``credit`` counts all that transmit
    :param sampling_rate: see :class:`learning.privacy.release.Release`
    """

    n0: float
    server_n0: float
    ratio: float
    full_scale: float
    csi: Csi
    g_max: float
    extra_delta: float
    excess: Floats
    credit: Floats
    shared: bool
    relation: Relation
    sampling_rate: float | None

    @classmethod
    def of(cls, scenario: Scenario, sensitivity: Sensitivity, sounding: Sounding, rate: float | None) -> "Charging":
        """:raises PrivacyError: gains that nothing bounds, or a tail bound without a closed form"""
        settings, link, faults = scenario.privacy, scenario.link, scenario.federation.faults
        _refuse_what_is_not_counted(link)
        exact = is_exact(link)
        csi: Csi = "perfect" if exact else "unbounded" if settings.csi_gain == "refuse" else settings.csi_gain
        if rate is not None and faults.any and link.receive_antennas > 1 and csi == "realised":
            raise PrivacyError(
                "with faults and several antennas the loudest gain depends on who is present, and sampled rounds must be "
                "announced; take link.receive_antennas 1, or set privacy.amplification false"
            )
        shared = exact and not faults.any and not any(law.on for law in link.offsets.laws) and not link.clock.moves
        g_max, extra = _tail(scenario, int(np.count_nonzero(sounding.caps))) if csi == "tail" else (1.0, 0.0)
        n0 = adversary_n0(link.n0, settings.adversary_advantage_db, settings.adversary_antennas)
        return cls(
            n0=0.0 if settings.noise_source == "artificial" else n0,
            server_n0=link.n0,
            ratio=sensitivity.ratio,
            full_scale=1.0 if sensitivity.payload == "sign" else link.clip,
            csi=csi,
            g_max=g_max,
            extra_delta=extra,
            excess=sounding.excess,
            credit=np.maximum(sounding.active, 1.0) if shared else np.ones_like(sounding.active),
            shared=shared,
            relation=sensitivity.relation,
            sampling_rate=rate,
        )

    @property
    def loudness(self) -> Floats:
        """Amplitude that is charged per unit of the aligned one. [T]."""
        return np.full_like(self.excess, self.g_max) if self.csi == "tail" else self.excess

    def mu(self, amplitudes: Floats, noise: Floats | float, *, as_printed: bool = False) -> Floats:
        """mu_t of aligned amplitudes [T] with everybody present."""
        return self._mu(amplitudes * self.loudness, noise, self.credit, as_printed)

    def release(self, amplitudes: Floats, noise: Floats | float, *, as_printed: bool = False) -> Release:
        """The whole run's."""
        return Release(
            self.mu(amplitudes, noise, as_printed=as_printed),
            sampling_rate=self.sampling_rate,
            relation=self.relation,
            csi=self.csi,
            extra_delta=self.extra_delta,
        )

    def bound(self, amplitude: float, excess: float, index: int, noise: float, *, as_printed: bool = False) -> float:
        """mu of one round before it is sent, given the excess of those who will be present."""
        gain = self.g_max if self.csi == "tail" else excess
        return float(self._mu(np.array([amplitude * gain]), noise, self.credit[index : index + 1], as_printed)[0])

    def realised(self, diagnostics: Mapping[str, float], noise: float, *, as_printed: bool = False) -> float:
        """mu of a round that was sent, from what the link reports: ``loudest_gain``, ``aligned_gain``, ``active``."""
        loudest = diagnostics["aligned_gain"] * self.g_max if self.csi == "tail" else diagnostics["loudest_gain"]
        credit = max(diagnostics["active"], 1.0) if self.shared else 1.0
        return float(self._mu(np.array([loudest]), noise, np.array([credit]), as_printed)[0])

    def noise_variance(self, aligned: Floats | float, noise: Floats | float, active: Floats | float) -> Floats:
        """Variance of the server's estimate of the mean, (full scale / K)^2 (N0 / (2 a^2) + K s^2); infinite where silent."""
        with np.errstate(divide="ignore", invalid="ignore"):
            count = np.maximum(active, 1.0)
            found = (self.full_scale / count) ** 2 * (self.server_n0 / (2.0 * np.square(aligned)) + count * np.square(noise))
        return np.asarray(found, np.float64)

    def estimate_std(self, aligned: Floats, noise: Floats | float, active: Floats) -> Floats:
        """Standard deviation of the server's estimate. [T]."""
        return np.sqrt(self.noise_variance(aligned, noise, active))

    def _mu(self, loudest: Floats, noise: Floats | float, credit: Floats, as_printed: bool) -> Floats:
        return gaussian_mu(loudest * _ROUNDING, self.n0, self.ratio, artificial_std=noise, active=credit, as_printed=as_printed)


def is_exact(link: LinkConfig) -> bool:
    """Whether no device can arrive louder than the aligned amplitude."""
    ages = link.csi.age_s > 0 and link.ageing_correlation < 1
    return (
        link.csi.estimator == "perfect"
        and not ages
        and link.receive_antennas == 1
        and link.channel.model in ("rayleigh", "awgn")
    )


def _refuse_what_is_not_counted(link: LinkConfig) -> None:
    faults = [fault.name for fault in parse(link.impairments) if fault.part.stage == "transmitter"]
    if faults:
        raise PrivacyError(
            f"link.impairments.{faults[0]} changes how loudly a device arrives, which no claim of privacy counts; leave it out"
        )
    if link.fidelity == "waveform" and link.channel.variation == "sample" and link.channel.doppler_hz > 0:
        raise PrivacyError(
            'with link.channel.variation "sample" gains change within a burst, which no claim of privacy counts; take "block"'
        )


def _tail(scenario: Scenario, rounds: int) -> tuple[float, float]:
    """(g_max, probability that any round exceeds it)."""
    settings, law = scenario.privacy, _law(scenario.link)
    threshold = scenario.link.power.threshold if scenario.link.power.control == "truncated" else 0.0
    if settings.gain_margin is None:
        g_max = choose_g_max(law, rounds, _TAIL_SHARE * settings.delta, threshold)
    else:
        g_max = settings.gain_margin
    return g_max, tail_failure(law, g_max, rounds, threshold)


def _law(link: LinkConfig) -> GainLaw:
    """The law of a device's gain.

    :raises PrivacyError: there is no closed form
    """
    known = link.csi.estimator in ("perfect", "ls", "mmse") and link.channel.model == "rayleigh"
    alike = link.channel.placement.law == "none" and link.channel.doppler_hz == 0
    if not known or not alike or link.receive_antennas > 1:
        raise PrivacyError(
            'csi_gain "tail" has a closed form for estimators perfect, ls and mmse, Rayleigh fading without doppler_hz and '
            'placement, and one antenna; take csi_gain "realised"'
        )
    correlation = min(1.0, abs(link.ageing_correlation)) if link.csi.age_s > 0 else 1.0
    if link.csi.estimator == "perfect":
        return gain_law("ls", 0.0, correlation)
    return gain_law(link.csi.estimator, link.pilot_error_variance, correlation)
