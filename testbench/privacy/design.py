"""From a scenario to its privacy plan: who may be how loud in which round, what that releases, and what it claims.

All of it is derived from the scenario before the first round, and is the same whenever it is derived again. Schedules may know
the channels of all rounds, which are a pure function of the seed (``online`` looks at them one by one).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from learning.privacy.accountants import AccountantLike
from learning.privacy.accountants import find as find_accountant
from learning.privacy.accountants import names as accountant_names
from learning.privacy.errors import PrivacyError, UnsupportedRelease
from learning.privacy.power_problem import Plan, PowerProblem
from learning.privacy.release import PRINTED_NOISE, Release
from learning.privacy.sensitivity import Sensitivity, delta_warning
from phy.config import LinkConfig
from phy.config_listener import ListenerConfig
from testbench.privacy.adversary import check_adversary, listener_of
from testbench.privacy.charging import Charging
from testbench.privacy.directions import Directions, sensitivity_of
from testbench.privacy.fitting import fit
from testbench.privacy.settings import PrivacyConfig
from testbench.privacy.sounding import Sounding, sound
from testbench.privacy.wording import statements
from testbench.scenario import Scenario

__all__ = ["Design", "counts_of", "design", "sampling_rate"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Design:
    """The privacy plan of a run; arrays are float64[T].

    :param settings: section ``[privacy]`` of the scenario
    :param link: the scenario's link with the plan in it, ``power.caps`` and ``power.artificial_noise``: what the run uses
    :param directions: values of a device and round, all charged at once
    :param sensitivity: what may change between neighbours, and by how much
    :param problem: what the schedule was asked, with caps that leave room for artificial noise
    :param plan: what it answered
    :param sounding: what the channels allow
    :param charging: how rounds are charged: the adversary, the gains, the noise that counts
    :param amplitudes: largest aligned amplitude a_t of each round, 0 in a silent one
    :param artificial_noise: standard deviation of every device's own noise in each round, in units of full scale
    :param listener: the adversary's own antennas; None: it has those of the server
    :param squares: [T, K] true mu^2 of every device in every round against the stated adversary
    :param release: what is charged of it, for all accountants: the most exposed device's
    :param charged: what this run counts: ``release``, or the printed formulas' with ``as_printed``
    :param sampling_rate: probability of the record that is sampled most often; None: no amplification is claimed
    :param epsilon: accountant -> epsilon of ``release`` at ``settings.delta``, for those that can say
    :param refusals: accountant -> why it cannot
    :param planned_epsilon: epsilon of ``charged`` by the chosen accountant: what a whole run spends
    :param estimate_std: of the noise in the server's estimate, in its unit (scalars, or votes); infinite in a silent round
    :param statement: what is claimed, sentence by sentence
    :param notes: remarks and warnings
    """

    settings: PrivacyConfig
    link: LinkConfig
    directions: Directions
    sensitivity: Sensitivity
    problem: PowerProblem
    plan: Plan
    sounding: Sounding
    charging: Charging
    amplitudes: Floats
    artificial_noise: Floats
    listener: ListenerConfig | None
    squares: Floats
    release: Release
    charged: Release
    sampling_rate: float | None
    epsilon: dict[str, float]
    refusals: dict[str, str]
    planned_epsilon: float
    estimate_std: Floats
    statement: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def mu(self) -> Floats:
        """The true mu_t against the stated adversary."""
        return self.release.announced

    @property
    def full_scale(self) -> float:
        """Largest magnitude that a device's value can have, in the unit of the estimate."""
        return 1.0 if self.sensitivity.payload == "sign" else self.link.clip


def design(
    scenario: Scenario,
    examples_per_device: int | Sequence[int],
    progress: Callable[[int, int], None] | None = None,
) -> Design:
    """Plan the privacy of ``scenario``.

    :param examples_per_device: how many training examples a device holds, or each of them
    :param progress: told (rounds sounded, rounds in all)
    :raises PrivacyError: what is asked for cannot be claimed, in one sentence
    """
    settings, devices = scenario.privacy, scenario.federation.devices
    if settings.epsilon is None:
        raise PrivacyError("no privacy is asked for; set privacy.epsilon")
    counts = counts_of(examples_per_device, devices)
    rate = sampling_rate(scenario, counts)
    sensitivity = sensitivity_of(scenario)
    check_adversary(scenario)
    listener = listener_of(scenario)
    sounding = sound(scenario.link, scenario.seed, devices, scenario.federation.rounds, progress, listener)
    charging = Charging.of(scenario, sensitivity, sounding, rate)
    accountant = find_accountant(settings.accounting)()
    _refuse(accountant, charging.release(np.zeros(len(sounding.caps)), 0.0))
    problem, plan, amplitudes, noise = fit(scenario, charging, sounding, accountant)
    squares = charging.squares(amplitudes, noise)
    release = charging.release(amplitudes, noise)
    charged = charging.release(amplitudes, noise, as_printed=settings.as_printed)
    planned = accountant.epsilon(charged, settings.delta)
    epsilon, refusals = _epsilons(release, settings, {} if settings.as_printed else {settings.accounting: planned})
    notes = [warning for warning in [delta_warning(settings.delta, sum(counts))] if warning]
    if settings.noise_source == "artificial" and settings.schedule == "full_power":
        notes.append("with artificial noise every round has full power anyway; schedule full_power makes all rounds cost alike")
    if scenario.link.fidelity == "waveform" and scenario.link.burst.air != "emulated":
        notes.append(
            f"the air {scenario.link.burst.air} has its own noise and gains; the claim holds only if they are those of [link]"
        )
    table = scenario.link.power.model_copy(update={"caps": tuple(amplitudes.tolist()), "artificial_noise": _levels(noise)})
    made = Design(
        settings=settings,
        link=scenario.link.model_copy(update={"power": table}),
        directions=Directions.of(scenario),
        sensitivity=sensitivity,
        problem=problem,
        plan=plan,
        sounding=sounding,
        charging=charging,
        amplitudes=amplitudes,
        artificial_noise=noise,
        listener=listener,
        squares=squares,
        release=release,
        charged=charged,
        sampling_rate=rate,
        epsilon=epsilon,
        refusals=refusals,
        planned_epsilon=planned,
        estimate_std=charging.estimate_std(amplitudes, noise, sounding.active),
        statement=(),
        notes=tuple(notes),
    )
    errata = plan.errata or ((PRINTED_NOISE,) if settings.as_printed else ())
    return replace(made, statement=statements(scenario, charging, sensitivity, rate, noise, _summary(made), errata))


def _levels(noise: Floats) -> float | tuple[float, ...]:
    """As the link takes them: one number where all rounds have the same."""
    return float(noise[0]) if np.all(noise == noise[0]) else tuple(noise.tolist())


def counts_of(examples_per_device: int | Sequence[int], devices: int) -> list[int]:
    """Training examples of each device. :raises PrivacyError: not one positive number per device."""
    counts = [examples_per_device] * devices if isinstance(examples_per_device, int) else list(examples_per_device)
    if len(counts) != devices or min(counts) < 1:
        raise PrivacyError(f"{devices} devices need as many numbers of examples, each at least 1, got {counts}")
    return counts


def _summary(made: Design) -> str:
    silent = int((made.amplitudes == 0).sum())
    capped = 0 if made.plan.capped is None else int((made.plan.capped & (made.amplitudes > 0)).sum())
    return (
        f"schedule {made.settings.schedule}: of {len(made.amplitudes)} rounds {silent} silent, {capped} at peak power; all "
        f"together spend epsilon = {made.planned_epsilon:.4g} of {made.settings.epsilon:g}"
    )


def _refuse(accountant: AccountantLike, release: Release) -> None:
    if release.csi == "unbounded":
        raise PrivacyError(
            "devices can arrive louder than the aligned amplitude (estimated or ageing channels, several antennas, antennas of "
            'the adversary\'s own, or echoes): set privacy.csi_gain to "realised" or "tail", or take perfect channel knowledge '
            "and one antenna"
        )
    if (sentence := accountant.supports(release)) is not None:
        raise UnsupportedRelease(sentence)


def sampling_rate(scenario: Scenario, counts: Sequence[int]) -> float | None:
    """q of the most often sampled record, where amplification is claimed; refuses batches that repeat a record."""
    federation, settings = scenario.federation, scenario.privacy
    size = federation.batch_size
    if settings.sensitivity != "client_value" and federation.sampling == "fixed" and min(counts) < size:
        raise PrivacyError(
            f"a device with {min(counts)} examples fills its batch of {size} by repeating some, so one record moves its "
            f"value by more than 1/{size} of the clip; lower federation.batch_size to at most {min(counts)}"
        )
    return min(1.0, size / min(counts)) if settings.amplification else None


def _epsilons(release: Release, settings: PrivacyConfig, known: dict[str, float]) -> tuple[dict[str, float], dict[str, str]]:
    """Epsilon by every accountant that can say, and why the others cannot; ``known`` ones are not asked again."""
    found = dict(known)
    refusals: dict[str, str] = {}
    for name in accountant_names():
        if name in known:
            continue
        accountant = find_accountant(name)()
        sentence = accountant.supports(release)
        if sentence is None:
            found[name] = accountant.epsilon(release, settings.delta)
        else:
            refusals[name] = sentence
    return found, refusals
