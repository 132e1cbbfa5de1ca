"""How rounds are charged: what of every device arrives at the adversary, against the noise that protects it there.

Without noise a device's symbols arrive as a linear map R_k (:mod:`phy.exposure`); the noise is white, of variance v on each
real axis (N0/2, or 0 for an adversary whose receiver has none), plus what devices add themselves, which arrives as their
symbols do: covariance C = v I + s^2 sum_j R_j R_j'. A round then costs device k

    mu_k^2 = max over admissible changes x of its symbols of (R_k x)' C^-1 (R_k x),

and a run costs it the sum over its rounds, exactly. What is claimed is the device that loses most.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learning.privacy.errors import PrivacyError
from learning.privacy.gain_bound import GainLaw, choose_g_max, gain_law, tail_failure
from learning.privacy.release import Csi, Release, adversary_n0, envelope
from learning.privacy.sensitivity import Relation, Sensitivity
from phy.config import LinkConfig
from phy.exposure import symbol_gram
from phy.faults import parse
from testbench.privacy.adversary import check_adversary
from testbench.privacy.directions import Directions
from testbench.privacy.overlap import overlap_of
from testbench.privacy.sounding import Sounding
from testbench.scenario import Scenario

__all__ = ["Charging"]

Floats = NDArray[np.float64]

#: Amplitudes are charged this much larger, for the float32 arithmetic of the emulation.
_ROUNDING = 1.0 + 1e-6
_TAIL_SHARE = 0.1  # of delta, spent on gains beyond the bound where none is given
_AMBIGUOUS = 1e-13  # eigenvalues below this share of the largest are neither zero nor known


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
    :param sounding: what arrives of every device, with everybody present
    :param overlap: energy of the worst admissible change over that of the same symbols each on its own
    :param spectral: the same for the worst direction whatever the clipping, which is charged where devices add noise
    :param victims: bool[K], the devices that are not in league with the adversary
    :param sampling_rate: see :class:`learning.privacy.release.Release`
    """

    n0: float
    server_n0: float
    ratio: float
    full_scale: float
    csi: Csi
    g_max: float
    extra_delta: float
    sounding: Sounding
    overlap: float
    spectral: float
    victims: NDArray[np.bool_]
    relation: Relation
    sampling_rate: float | None

    @classmethod
    def of(cls, scenario: Scenario, sensitivity: Sensitivity, sounding: Sounding, rate: float | None) -> "Charging":
        """:raises PrivacyError: an adversary that is not stated, gains that nothing bounds, or a tail without a closed form"""
        settings, link = scenario.privacy, scenario.link
        check_adversary(scenario)
        _refuse_what_is_not_counted(link)
        csi: Csi = "perfect" if sounding.exact else "unbounded" if settings.csi_gain == "refuse" else settings.csi_gain
        apart = scenario.federation.faults.any or scenario.fleet.on
        if rate is not None and apart and link.receive_antennas > 1 and csi == "realised":
            raise PrivacyError(
                "where devices can be missing and several antennas listen, the loudest gain depends on who is present, and "
                "sampled rounds must be announced; take link.receive_antennas 1, or set privacy.amplification false"
            )
        g_max, extra = _tail(scenario, int(np.count_nonzero(sounding.caps))) if csi == "tail" else (1.0, 0.0)
        heard = sounding
        if csi == "tail":
            heard = replace(sounding, energy=(sounding.limits > 0).astype(np.float64), axes=None)
        elif apart:  # who is missing adds no noise either: nobody is covered but by its own
            heard = replace(sounding, axes=None)
        several = Directions.of(scenario)
        gram = symbol_gram(link, several.count)
        victims = np.ones(scenario.federation.devices, np.bool_)
        victims[list(settings.adversary.colluders)] = False
        return cls(
            n0=0.0 if settings.noise_source == "artificial" else adversary_n0(link.n0, settings.adversary_advantage_db),
            server_n0=link.n0,
            ratio=sensitivity.ratio,
            full_scale=1.0 if sensitivity.payload == "sign" else link.clip,
            csi=csi,
            g_max=g_max,
            extra_delta=extra,
            sounding=heard,
            overlap=overlap_of(gram, several.joint),
            spectral=overlap_of(gram, True),
            victims=victims,
            relation=sensitivity.relation,
            sampling_rate=rate,
        )

    @property
    def loudness(self) -> Floats:
        """Amplitude at which the loudest device is charged, per unit of the aligned one. [T]."""
        gain = self.g_max if self.csi == "tail" else self.sounding.excess
        return np.broadcast_to(np.asarray(gain * np.sqrt(self.overlap)), self.sounding.caps.shape)

    @property
    def credit(self) -> Floats:
        """Devices whose artificial noise covers a device about as its own does, a guess by which plans are made. [T]."""
        if not (self.sounding.exact and self.sounding.axes is not None):
            return np.ones_like(self.sounding.active)
        return np.maximum(self.sounding.active - np.count_nonzero(~self.victims), 1.0)

    def squares(
        self, amplitudes: Floats, noise: Floats | float, *, as_printed: bool = False, sounding: Sounding | None = None
    ) -> Floats:
        """mu^2 of every device in every round. [T, K]; 0 for a device in league with the adversary.

        :param amplitudes: [T] largest aligned amplitude a_t; :param noise: [T] standard deviation of each device's own noise,
            in units of full scale
        :param sounding: of these rounds, where not everybody is present
        """
        heard = self.sounding if sounding is None else self._heard(sounding)
        own = np.broadcast_to(np.asarray(noise, np.float64), amplitudes.shape)
        margin = 1.0 / np.sqrt(1.0 + np.square(own))
        level = np.minimum(heard.limits * margin[:, None], amplitudes[:, None]) * (self.g_max * _ROUNDING)
        variance = self.n0 if as_printed else self.n0 / 2.0
        if not own.any():
            with np.errstate(divide="ignore", invalid="ignore"):
                found = self.overlap * np.square(level) * heard.energy / variance
            found = np.where(level * heard.energy > 0, found, 0.0)
        elif heard.axes is None:
            found = _by_own_noise(self.spectral * np.square(level) * heard.energy, np.square(own)[:, None], variance)
        else:
            quiet = np.where(self.victims, level, 0.0)  # what covers: the adversary knows its friends' noise
            found = _covered(
                heard.axes * (level * np.sqrt(self.spectral))[:, :, None],
                quiet,
                level,
                own,
                variance,
                heard.exact and heard.axes.shape[2] == 1,
            )
        found = np.where(self.victims, self.ratio**2 * found, 0.0)
        return np.asarray(found, np.float64)

    def mu(self, amplitudes: Floats, noise: Floats | float, *, as_printed: bool = False) -> Floats:
        """mu_t of the device that loses most over the run (under sampling, of the one that loses most in each round). [T]."""
        return self.release(amplitudes, noise, as_printed=as_printed).announced

    def release(self, amplitudes: Floats, noise: Floats | float, *, as_printed: bool = False) -> Release:
        """The whole run's: of the device with the largest sum of mu^2, as Gaussian rounds add up.

        Under sampling nothing so simple holds: it is a sequence that costs no device less than its own
        (:func:`learning.privacy.release.envelope`).
        """
        squares = self.squares(amplitudes, noise, as_printed=as_printed)[:, self.victims]
        if self.sampling_rate is None:
            return self._release(np.sqrt(squares[:, int(np.argmax(squares.sum(axis=0)))]))
        table = np.sqrt(squares)
        if np.ptp(table, axis=1).max(initial=0.0) <= 1e-6 * table.max(initial=0.0):  # all alike: rounds keep their order
            return self._release(table.max(axis=1))
        return self._release(envelope(table), table)

    def release_of(self, device: int, squares: Floats) -> Release:
        """Device ``device``'s own, from mu^2 [T, K]."""
        return self._release(np.sqrt(squares[:, device]))

    def _release(self, mu: Floats, table: Floats | None = None) -> Release:
        words: dict[str, Any] = {"relation": self.relation, "csi": self.csi, "extra_delta": self.extra_delta}
        return Release(mu, sampling_rate=self.sampling_rate, table=table, **words)

    def at_gain(self, amplitudes: Floats, noise: Floats, gain: float, *, as_printed: bool = False) -> Release:
        """The release if the loudest device arrived ``gain`` times as loud as the aligned amplitude in every round."""
        reckoned = replace(self.sounding, energy=np.where(self.sounding.limits > 0, gain**2, 0.0), axes=None)
        return replace(self, sounding=reckoned).release(amplitudes, noise, as_printed=as_printed)

    def noise_variance(self, aligned: Floats | float, noise: Floats | float, active: Floats | float) -> Floats:
        """Variance of the server's estimate of the mean, (full scale / K)^2 (N0 / (2 a^2) + K s^2); infinite where silent."""
        with np.errstate(divide="ignore", invalid="ignore"):
            count = np.maximum(active, 1.0)
            found = (self.full_scale / count) ** 2 * (self.server_n0 / (2.0 * np.square(aligned)) + count * np.square(noise))
        return np.asarray(found, np.float64)

    def estimate_std(self, aligned: Floats, noise: Floats | float, active: Floats) -> Floats:
        """Standard deviation of the server's estimate. [T]."""
        return np.sqrt(self.noise_variance(aligned, noise, active))

    def _heard(self, sounding: Sounding) -> Sounding:
        if self.csi == "tail":
            return replace(sounding, energy=(sounding.limits > 0).astype(np.float64), axes=None)
        return replace(sounding, axes=None) if self.sounding.axes is None else sounding


def _by_own_noise(energy: Floats, noise: Floats, variance: float) -> Floats:
    """mu^2 per unit change where a device's own noise alone covers it: e / (v + s^2 e)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = energy / (variance + noise * energy)
    return np.where(energy > 0, found, 0.0)


def _covered(axes: Floats, quiet: Floats, level: Floats, own: Floats, variance: float, exact: bool) -> Floats:
    """mu^2 per unit change [T, K] where all devices' noise covers: columns ``axes`` [T, K, R] of C in R real dimensions."""
    noisy = axes * (quiet > 0)[:, :, None] * own[:, None, None]
    cover = noisy.transpose(0, 2, 1) @ noisy
    turned = axes.transpose(0, 2, 1)
    if variance > 0:
        cover = cover + variance * np.eye(cover.shape[1])
        return np.asarray((turned * np.linalg.solve(cover, turned)).sum(axis=1))
    # Nothing but the devices' noise: what lies in a direction that it does not reach is seen without any.
    values, vectors = np.linalg.eigh(cover)
    largest = values[:, -1:]
    reached = values > _AMBIGUOUS * largest
    seen = vectors.transpose(0, 2, 1) @ turned  # [T, R, K]
    weight = np.divide(1.0, values, out=np.zeros_like(values), where=reached)
    found = (np.square(seen) * weight[:, :, None]).sum(axis=1)
    beside = (np.square(seen) * ~reached[:, :, None]).sum(axis=1)
    free = beside > _AMBIGUOUS * np.square(axes).sum(axis=2)
    found = np.where(free & (quiet == 0), np.inf, found)
    if not exact:  # a small eigenvalue may be a direction that tells devices apart: then only a device's own noise covers it
        doubtful = (values[:, 0] <= _AMBIGUOUS * largest[:, 0]) & (largest[:, 0] > 0)
        with np.errstate(divide="ignore"):
            alone = np.where(level > 0, 1.0 / np.square(own)[:, None], 0.0)
        found = np.where(doubtful[:, None], alone, found)
    found = np.where(level > 0, found, 0.0)
    return np.where((level > 0) & (own[:, None] == 0), np.inf, found)


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
    settings, law = scenario.privacy, _law(scenario)
    threshold = scenario.link.power.threshold if scenario.link.power.control == "truncated" else 0.0
    if settings.gain_margin is None:
        g_max = choose_g_max(law, rounds, _TAIL_SHARE * settings.delta, threshold)
    else:
        g_max = settings.gain_margin
    return g_max, tail_failure(law, g_max, rounds, threshold)


def _law(scenario: Scenario) -> GainLaw:
    """The law of a device's gain.

    :raises PrivacyError: there is no closed form
    """
    link = scenario.link
    known = link.csi.estimator in ("perfect", "ls", "mmse") and link.channel.model == "rayleigh"
    alike = link.channel.placement.law == "none" and link.channel.doppler_hz == 0
    if not known or not alike or link.receive_antennas > 1 or scenario.privacy.adversary.antennas:
        raise PrivacyError(
            'csi_gain "tail" has a closed form for estimators perfect, ls and mmse, Rayleigh fading without doppler_hz and '
            'placement, and one antenna, the server\'s; take csi_gain "realised"'
        )
    correlation = min(1.0, abs(link.ageing_correlation)) if link.csi.age_s > 0 else 1.0
    if link.csi.estimator == "perfect":
        return gain_law("ls", 0.0, correlation)
    return gain_law(link.csi.estimator, link.pilot_error_variance, correlation)
