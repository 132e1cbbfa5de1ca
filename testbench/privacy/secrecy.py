"""Who knows the randomness that a privacy claim rests on: said with every claim, and refused where it is not as asked.

Public randomness (perturbations, splits, the emulation's fades) is a function of the scenario's seed. What protects (receiver
noise, artificial noise, each device's draw of its batches; for energy detection the fades as well) is keyed by the seed too,
which makes an emulation reproducible and its guarantee void for whoever has the seed; or by secrets from the system's entropy.
"""

from collections.abc import Iterable, Mapping

from testbench.elsewhere import STREAM_AIR
from testbench.errors import TestbenchError
from testbench.privacy.settings import ENERGY_SCHEMES
from testbench.scenario import Scenario

__all__ = [
    "SEED_WORTH",
    "SHARED_SEED",
    "is_secret",
    "of_several",
    "randomness",
    "refuse_link",
    "refuse_public_seed",
    "sentences",
]

SEED_WORTH = (
    "the guarantee is that of the emulated system and void for anyone who has the scenario's seed, who can draw all of it "
    "again and subtract it: runs that share a seed share their noise and compose to nothing"
)
#: Of several runs, in the caption of what compares them.
SHARED_SEED = "Runs that share a seed share their noise: a promise is that of one run alone, and promises do not add up."
_WAY_OUT = 'set privacy.randomness = "secret"'


def is_secret(scenario: Scenario) -> bool:
    """Whether what protects is keyed by secrets and not by the scenario's seed; never where no privacy is claimed."""
    settings = scenario.privacy
    return settings.on and (settings.randomness == "secret" or (settings.randomness == "auto" and scenario.fleet.on))


def randomness(scenario: Scenario) -> str:
    """The key ``randomness`` of a summary: ``seed``, ``secret``, or ``fresh`` where an air's own noise is all that protects."""
    return "secret" if is_secret(scenario) else "seed" if _from_seed(scenario, {}) else "fresh"


def of_several(scenarios: Iterable[Scenario]) -> str:
    """What is to be said beside the results of several runs: empty where no promise of theirs rests on a seed."""
    return SHARED_SEED if any(one.privacy.on and randomness(one) == "seed" for one in scenarios) else ""


def sentences(scenario: Scenario) -> tuple[str, ...]:
    """What a statement of privacy says of its randomness: who draws what, and against whom that does not help."""
    if not is_secret(scenario):
        if not _from_seed(scenario, {}):
            return (f"the noise is that of the air {_air(scenario)}, which draws it anew on each transmission",)
        return (f"{_protecting(scenario)} are drawn from the scenario's seed ({scenario.seed}): {SEED_WORTH}",)
    server = (
        "the run's air server, by a secret of the run (private/noise.key in its folder, destroyed after the last round; "
        "whoever reads it before can draw the same)"
        if scenario.uplink.endpoint is None
        else f"the air server at {scenario.uplink.endpoint}, by a secret of its own, as it says"
    )
    if _fresh(scenario, {}):
        server += f", and anew on each transmission by the air {_air(scenario)}"
    noise = "fades, phases and noise are" if scenario.link.scheme in ENERGY_SCHEMES else "noise is"
    if not scenario.fleet.on:
        return (
            f"{noise} drawn by {server}; batches by secrets of the devices, which here derive from it: runs that share a seed "
            "share neither",
        )
    return (
        f"{noise} drawn by {server}; a device's batches by a secret of its own, in a file that never leaves its machine: no "
        "device can draw again what the others rely on",
    )


def refuse_public_seed(scenario: Scenario) -> None:
    """Refuse, before anything is made, a strict claim that is known to rest on the public seed.

    :raises TestbenchError: it does, in one sentence with the way out
    """
    settings = scenario.privacy
    if settings.on and (settings.strict or is_secret(scenario)) and _seeded_flowgraph(scenario):
        raise TestbenchError(
            'the noise of the flowgraph "uplink" is drawn from a seed on its command line, and no guarantee can rest on it; '
            'take a radio, a program of your own (stream.command), or the emulated air, or set privacy.randomness = "seed"'
            + (" and privacy.strict = false" if settings.strict else "")
        )
    if settings.on and settings.strict and not is_secret(scenario) and ":" not in _air(scenario):
        _refuse(scenario, _from_seed(scenario, {}))


def refuse_link(scenario: Scenario, description: Mapping[str, int | float | str], where: str) -> None:
    """Refuse a link whose noise is not as secret as the claim needs, once it has said what it is.

    :param description: the link's, with ``noise`` and ``keyed_by``; a link that says nothing draws from the seed
    :param where: the air server, for the sentence
    :raises TestbenchError: in one sentence with the way out
    """
    settings = scenario.privacy
    if not settings.on or not (settings.strict or is_secret(scenario)):
        return
    found = _from_seed(scenario, description or {"noise": "seed"})
    if found and is_secret(scenario):
        raise TestbenchError(
            f"the {where} draws {found} from the seed that it is sent, which every device has; have it started with `pairzero "
            'air serve --secret FILE`, leave uplink.endpoint out, or claim no more than privacy.randomness = "seed" does'
        )
    _refuse(scenario, found)


def _refuse(scenario: Scenario, found: str) -> None:
    if found:
        raise TestbenchError(
            f"privacy.strict: the guarantee would rest on {found} drawn from the public seed {scenario.seed}; {_WAY_OUT}"
        )


def _from_seed(scenario: Scenario, description: Mapping[str, int | float | str]) -> str:
    """What the guarantee rests on and the seed gives away, in words; empty where there is none.

    ``description`` is the link's own, empty where it is not known yet and derived from the scenario.
    """
    secret, settings = is_secret(scenario), scenario.privacy
    energy = scenario.link.scheme in ENERGY_SCHEMES
    own = description.get("keyed_by", "seed") if description else "secret" if secret else "seed"
    noise = description.get("noise", "seed") if description else "fresh" if _fresh(scenario, {}) else own
    found = []
    if noise == "seed" and (settings.noise_source != "artificial" or energy):
        found.append("receiver noise")
    if own == "seed" and settings.noise_source != "receiver":
        found.append("artificial noise")
    if own == "seed" and energy:
        found.append("fades and phases")
    if settings.amplification and not secret:
        found.append("batches")
    return " and ".join([", ".join(found[:-1]), found[-1]] if len(found) > 1 else found)


def _protecting(scenario: Scenario) -> str:
    """Everything that is drawn from the seed, whether the guarantee rests on it or not."""
    if scenario.link.scheme in ENERGY_SCHEMES:
        return "fades, phases, noise and batches"
    return "noise and batches" if not _fresh(scenario, {}) else "batches and artificial noise"


def _fresh(scenario: Scenario, description: Mapping[str, int | float | str]) -> bool:
    """Whether the receiver's noise is drawn anew on each transmission."""
    if description:
        return description.get("noise") == "fresh"
    waveform = scenario.link.fidelity == "waveform"
    return waveform and scenario.link.burst.air == STREAM_AIR and not _seeded_flowgraph(scenario)


def _seeded_flowgraph(scenario: Scenario) -> bool:
    """Whether the noise is of the flowgraph that ships, which is told a seed."""
    return scenario.stream.on and scenario.stream.flowgraph == "uplink"


def _air(scenario: Scenario) -> str:
    link = scenario.link
    return link.burst.air if link.fidelity == "waveform" else link.backend
