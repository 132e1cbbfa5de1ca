"""The strongest cheap attack on a privacy claim: two worlds at the physical layer, told apart by their likelihood ratio.

One device sends p in the first world and p' in the second, in each of T rounds; what the others send is known. Everything is
known but receiver noise and artificial noise, which every trial draws anew and the link's own chain carries. The observation y
is every complex number at every antenna (:class:`testbench.privacy.tap.Tap`). The difference of the worlds,

    d = E[y | first] - E[y | second],

is obtained by running the chain without noise, so no model of it is needed. For white noise CN(0, N0) the log-likelihood ratio
of y is 2 Re <d, y - m> / N0, m half way between the means, and the release is Gaussian-private with mu^2 = 2 |d|^2 / N0. With
artificial noise of standard deviation s that device k sends as it would a symbol, and that arrives as r_k times it, the noise
of a round is, with real and imaginary parts stacked, of covariance

    C = (N0 / 2) I + s^2 R R^T,    columns r_k,

not the same in all directions, and d is replaced by what the inverse of C makes of it (Woodbury's identity).

Scores of many trials give a lower limit on the loss (:mod:`learning.privacy.audit.bounds`). It exceeds an honest claim with
probability at most 1 - confidence, and catches what makes claims dishonest: the noise of the complex sample taken for that of
one axis, antennas or samples that are not counted, estimated channels that are inverted to gains above 1, artificial noise on
the wrong axis, a misaligned device taken for a more private one.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from learning.privacy.audit.bounds import epsilon_lower_bound, gaussian_epsilon, mu_lower_bound, mu_reach
from phy.backends import in_process
from phy.config import LinkConfig
from phy.config_listener import ListenerConfig
from phy.link import Link
from testbench.errors import TestbenchError
from testbench.privacy.tap import NoiseControl, Tap
from testbench.privacy.whitening import whitened

__all__ = ["AuditResult", "Verdict", "Worlds", "aligned_mu", "phy_audit"]

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]


@dataclass(frozen=True)
class Worlds:
    """Who is audited, and what is sent, in units of the clip.

    ``devices``: K. ``device``: the one that differs; None: the one whose difference arrives strongest. ``first``, ``second``:
    what it sends in either world. ``others``: what everybody else sends. ``directions``: n scalars a round, of which each is
    what ``first`` and ``second`` say, with the signs that together arrive strongest; ``joint``: of which the Euclidean norm is,
    along the direction that arrives strongest. ``colluders``: devices that are in league with the adversary.
    """

    devices: int = 5
    device: int | None = None
    first: float = 1.0
    second: float = -1.0
    others: float = 0.0
    directions: int = 1
    joint: bool = False
    colluders: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.devices < 1 or (self.device is not None and not 0 <= self.device < self.devices):
            raise TestbenchError(f"an audit needs a device in 0 .. {self.devices - 1}, got {self.device}")
        if not all(-1.0 <= value <= 1.0 for value in (self.first, self.second, self.others)):
            raise TestbenchError(
                f"payloads of an audit are in units of the clip, -1 .. 1, got {self.first}, {self.second} and {self.others}"
            )


@dataclass(frozen=True)
class Verdict:
    """One claim against the measurement.

    ``violated``: the empirical epsilon exceeds the claimed one. ``beyond reach``: not even an attack without a single error
    could have refuted the claim with so many trials. ``holds``: otherwise, which is no proof of the claim.
    """

    name: str
    claimed_epsilon: float
    empirical_epsilon: float
    verdict: Literal["holds", "violated", "beyond reach"]


@dataclass(frozen=True)
class AuditResult:
    """What an audit measured, at ``delta``; all lower limits hold jointly with probability ``confidence``.

    ``observed``: complex numbers seen per trial. ``signal_mu``, ``signal_epsilon``: the loss that follows from the
    noise-free difference and the configured noise, for comparison; no measurement. ``mu_lower``: lower limit on mu.
    ``epsilon_gaussian``: what it means for Gaussian noise. ``epsilon_any``: lower limit without any assumption.
    ``epsilon_reach``: largest ``epsilon_gaussian`` that so many trials can show. ``verdicts``: one per claim.
    """

    fidelity: str
    rounds: int
    trials: int
    devices: int
    device: int
    observed: int
    delta: float
    confidence: float
    signal_mu: float
    signal_epsilon: float
    mu_lower: float
    epsilon_gaussian: float
    epsilon_any: float
    epsilon_reach: float
    verdicts: tuple[Verdict, ...]

    @property
    def epsilon_lower(self) -> float:
        """The better of both lower limits on epsilon: what claims are held against."""
        return max(self.epsilon_gaussian, self.epsilon_any)

    @property
    def violated(self) -> bool:
        """Whether any claim is violated."""
        return any(v.verdict == "violated" for v in self.verdicts)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, claims as a list."""
        return {**asdict(self), "epsilon_lower": self.epsilon_lower, "violated": self.violated}


@dataclass(frozen=True)
class _Attack:
    """Score of a trial = Re sum of weights [T, D] conjugated times (seen - midpoint [T, D])."""

    weights: Complexes
    midpoint: Complexes
    mu: float

    def score(self, seen: NDArray[np.complex64]) -> float:
        return float(np.vdot(self.weights, seen - self.midpoint).real)


def phy_audit(
    link_config: LinkConfig,
    seed: int,
    rounds: int,
    trials: int,
    delta: float,
    claims: Mapping[str, float],
    *,
    worlds: Worlds | None = None,
    advantage_db: float = 0.0,
    listener: ListenerConfig | None = None,
    confidence: float = 0.95,
    progress: Callable[[int], None] | None = None,
) -> AuditResult:
    """Hold claimed epsilons at ``delta`` (name -> epsilon for all of rounds 0 .. T-1) against an attack at the antennas.

    The channels are those of the link with this ``seed``; half of the ``trials`` run in either world. ``advantage_db``: by how
    much the adversary's SNR exceeds the server's, at all its antennas, those of ``listener`` among them. ``progress`` is told
    the number of trials done. Raises :class:`testbench.errors.TestbenchError` for a link that cannot be audited or numbers out
    of range, and what the link itself raises.
    """
    worlds = worlds or Worlds()
    if rounds < 1 or trials < 8:
        raise TestbenchError(f"an audit needs at least 1 round and 8 trials, got {rounds} and {trials}")
    if not 0.0 < delta < 1.0:
        raise TestbenchError(f"delta must lie between 0 and 1, got {delta}")
    for name, claimed in claims.items():
        if not claimed >= 0.0:
            raise TestbenchError(f"claim {name!r} must be an epsilon of at least 0, got {claimed}")
    control = NoiseControl(scale=10.0 ** (-advantage_db / 20.0))
    tap = Tap(
        link_config, seed, rounds, worlds.devices, control, scalars=worlds.directions, listener=listener, known=worlds.colluders
    )
    noise = link_config.n0 * control.scale**2
    device, pattern, attack = _prepare(tap, worlds, link_config, noise)

    payloads = [_payloads(tap, worlds, device, value * pattern) * link_config.clip for value in (worlds.second, worlds.first)]
    scores = np.empty((2, -(-trials // 2)))
    sent = [tap.send(p) for p in payloads]
    control.silent = False
    for trial in range(scores.size):
        world = trial % 2
        control.shift_rounds = (1 + trial) * rounds
        redrawn = tap.send(payloads[world]) if link_config.power.adds_noise else sent[world]
        scores[world, trial // 2] = attack.score(tap.look(redrawn))
        if progress is not None and (trial + 1) % 1000 == 0:
            progress(trial + 1)
    return _judge(scores, attack, link_config.fidelity, worlds.devices, device, delta, confidence, claims)


def aligned_mu(link_config: LinkConfig, seed: int, rounds: int, worlds: Worlds | None = None) -> float:
    """The textbook claim: mu of a receiver that hears every device with the aligned amplitude a_t and no more.

    mu^2 = sum_t (Delta a_t / sigma_t)^2 with Delta = |first - second| in symbols, sigma_t^2 = N0 / 2 + K_t a_t^2 s^2, where s
    is the artificial noise and K_t the devices that transmit. Honest where the gain to all antennas is a_t: perfect channel
    knowledge, and one antenna or one device.
    """
    worlds = worlds or Worlds()
    silent = np.zeros((rounds, worlds.devices, 1))
    heard = Link(in_process(link_config), seed).aggregate(np.arange(rounds), silent).diagnostics
    gain = heard["aligned_gain"]
    artificial = np.square(_artificial(link_config, rounds))
    variance = link_config.n0 / 2.0 + heard["active"] * np.square(gain) * artificial
    return float(abs(worlds.first - worlds.second) * np.sqrt((np.square(gain) / variance).sum()))


def _payloads(tap: Tap, worlds: Worlds, device: int, values: Floats) -> Floats:
    """Payloads [T, K, n] in units of the clip where ``device`` sends ``values`` [T, n]."""
    out = np.full((tap.rounds, worlds.devices, tap.scalars), worlds.others)
    out[:, device] = values
    return out


def _prepare(tap: Tap, worlds: Worlds, config: LinkConfig, n0: float) -> tuple[int, Floats, _Attack]:
    """The device to be audited, what it sends in units of the worlds' values [T, n], and the attack, from noise-free runs."""
    n = worlds.directions

    def means(device: int, values: Floats) -> Complexes:
        return tap.look(tap.send(_payloads(tap, worlds, device, values) * config.clip)).astype(np.complex128)

    def units(device: int) -> Complexes:
        """What one unit of each of a device's symbols makes: half of the swing from -1 to 1. [T, D, n]."""
        found = []
        for j in range(n):
            one = np.full((tap.rounds, n), worlds.others)
            one[:, j] = 1.0
            other = one.copy()
            other[:, j] = -1.0
            found.append(0.5 * (means(device, one) - means(device, other)))
        return np.stack(found, axis=-1)

    suspects = range(worlds.devices) if worlds.device is None else (worlds.device,)
    suspects_left = [k for k in suspects if k not in worlds.colluders]
    adds_noise = config.power.adds_noise
    response = {k: units(k) for k in (range(worlds.devices) if adds_noise else suspects_left if n > 1 else ())}
    covering: Complexes | None = None
    if adds_noise:
        quiet = [response[k] for k in range(worlds.devices) if k not in worlds.colluders]
        covering = np.concatenate(quiet, axis=-1) * _artificial(config, tap.rounds)[:, None, None]
    best: tuple[int, Floats, _Attack] | None = None
    for device in suspects_left:
        pattern = np.ones((tap.rounds, 1)) if n == 1 else _pattern(response[device], covering, n0, worlds.joint)
        one, other = means(device, worlds.first * pattern), means(device, worlds.second * pattern)
        difference = one - other
        weights = whitened(difference, covering, n0)
        mu = math.sqrt(max(float(np.vdot(weights, difference).real), 0.0))
        if best is None or mu > best[2].mu:
            best = device, pattern, _Attack(weights, 0.5 * (one + other), mu)
    assert best is not None
    return best


def _pattern(units: Complexes, covering: Complexes | None, n0: float, joint: bool) -> Floats:
    """What to send along n directions so that it is told apart best: unit vectors, or signs. [T, n]."""
    weighed = np.stack([whitened(units[..., j], covering, n0) for j in range(units.shape[2])], axis=-1)
    form = (units.conj().transpose(0, 2, 1) @ weighed).real
    vectors = np.linalg.eigh(0.5 * (form + form.transpose(0, 2, 1)))[1][..., -1]
    if joint:
        return np.asarray(vectors)
    signs = np.where(vectors < 0, -1.0, 1.0)
    for t in range(len(signs)):  # climb: turn one sign after the other while it helps
        improved = True
        while improved:
            gains = -4.0 * signs[t] * (form[t] @ signs[t]) + 4.0 * np.diag(form[t])
            worst = int(np.argmax(gains))
            improved = bool(gains[worst] > 1e-12)
            if improved:
                signs[t, worst] *= -1.0
    return signs


def _artificial(config: LinkConfig, rounds: int) -> Floats:
    """Standard deviation of every device's own noise in rounds 0 .. T-1. [T]."""
    levels = np.atleast_1d(np.asarray(config.power.artificial_noise, np.float64))
    return np.array(np.broadcast_to(levels[:rounds], rounds))


def _judge(
    scores: Floats,
    attack: _Attack,
    fidelity: str,
    devices: int,
    device: int,
    delta: float,
    confidence: float,
    claims: Mapping[str, float],
) -> AuditResult:
    """Lower limits from scores [2, trials / 2], first row the second world; and the verdicts."""
    # Two limits are held against every claim, so each has half the probability of error.
    each = 1.0 - (1.0 - confidence) / 2.0
    # By symmetry the best threshold lies half way, which is score 0 and no choice of the trials.
    gaussian = mu_lower_bound(scores[0], scores[1], each, thresholds=[0.0])
    plain = epsilon_lower_bound(scores[0], scores[1], delta, each)
    epsilon_gaussian = gaussian_epsilon(gaussian.value, delta)
    lower = max(epsilon_gaussian, plain.value)
    reach = gaussian_epsilon(mu_reach(scores.shape[1], scores.shape[1], each), delta)

    def verdict(claimed: float) -> Literal["holds", "violated", "beyond reach"]:
        if lower > claimed:
            return "violated"
        return "holds" if claimed < reach else "beyond reach"

    return AuditResult(
        fidelity=fidelity,
        rounds=attack.weights.shape[0],
        trials=scores.size,
        devices=devices,
        device=device,
        observed=attack.weights.size,
        delta=delta,
        confidence=confidence,
        signal_mu=attack.mu,
        signal_epsilon=gaussian_epsilon(attack.mu, delta),
        mu_lower=gaussian.value,
        epsilon_gaussian=epsilon_gaussian,
        epsilon_any=plain.value,
        epsilon_reach=reach,
        verdicts=tuple(Verdict(name, claimed, lower, verdict(claimed)) for name, claimed in claims.items()),
    )
