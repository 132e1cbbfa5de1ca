"""Who sees what the devices of a run measure, beside those whom its privacy is claimed against: sentences for a person."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from testbench.scenario import Scenario

__all__ = ["JOURNAL", "disclosures"]

JOURNAL = (
    "the journal of an emulated run also holds what devices keep to themselves (losses, means): publish the estimates only"
)

_COORDINATOR = (
    "devices send their scalars and losses to the coordinator in clear (ANSWER), which hands the scalars to the air: the claim "
    'is against everybody but the coordinator and whoever reads its memory (fleet.payloads "air" keeps both from it)'
)
_AIR = (
    "devices send their scalars to the air server alone, and no losses to anybody: the coordinator learns who sent, what the "
    "air returns and which rounds a loss that is no number spoilt, and its journal holds no more",
    "the emulated air server stands for the medium and holds every scalar until its round is over: whoever runs it, or chooses "
    "its address and the link that it emulates, is trusted to be no more than a medium",
)

_SEEDED = (
    "the noise of an emulated link follows from its configuration and seed: whoever can compute it, or ask an air server of "
    "the same link, can take it off the estimates"
)
_SECRET = (
    "the air server keys its noise by a secret, and carries the values of a round once: nobody, the coordinator included, can "
    "have it carry others in the same noise and take that off"
)


def disclosures(scenario: "Scenario") -> tuple[str, ...]:
    """The sentences of a run: about its journal and, in a fleet, about its coordinator."""
    if not scenario.fleet.on:
        return (JOURNAL,)
    if not scenario.fleet.deposits:
        return (_COORDINATOR, JOURNAL)
    return (*_AIR, _SECRET if scenario.privacy.on else _SEEDED)
