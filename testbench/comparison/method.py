"""What a method of the comparison is: a scenario to run and what a round of it costs, found by its name."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from learning.baselines.federation import PLAIN, Blocks
from learning.baselines.local import Rule
from learning.discovery import find as _find
from learning.discovery import names as _names
from learning.uplink import Uplink
from phy.config import LinkConfig
from testbench.comparison import methods
from testbench.comparison.costs import RoundCosts
from testbench.errors import TestbenchError
from testbench.privacy.settings import PrivacyConfig
from testbench.scenario import Scenario, build

#: What the costs of a round depend on besides the scenario: how many weights are trained.
Costs = Callable[[int], RoundCosts]


class NotApplicable(TestbenchError):
    """A method cannot be run under the scenario."""


@dataclass(frozen=True)
class ZerothOrder:
    """A zeroth-order run: a scenario in a run folder of its own.

    :ivar title: short name in tables and legends
    :ivar uplink: takes the place of the scenario's uplink, where it is of another kind than a scenario can describe
    :ivar bits: payload bits of a scalar over that uplink
    """

    title: str
    scenario: Scenario
    costs: Costs
    uplink: Uplink | None = None
    bits: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class FirstOrder:
    """A first-order run: what devices compute, and how their vectors reach the server.

    :ivar link: the air; None for the error-free digital uplink
    """

    title: str
    scenario: Scenario
    costs: Costs
    rule: Rule
    link: LinkConfig | None = None
    blocks: Blocks = PLAIN
    notes: tuple[str, ...] = ()


Method = ZerothOrder | FirstOrder

#: The order of tables and legends; a method that is not here comes last.
_ORDER = (
    "pairzero", "sign_pairzero", "perfect_mean", "perfect_sign", "mezo", "feedsign", "decomfl", "fedsgd", "fedavg_sgd",
    "fedavg_adam", "fedavg_lora", "fo_ota",
)  # fmt: skip


def names() -> list[str]:
    """The methods that come with the package."""
    found = _names(sys.modules[methods.__name__])
    return sorted(found, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))


def make(name: str, scenario: Scenario) -> Method:
    """The method ``name`` (or ``module:function``) under ``scenario``.

    :raises NotApplicable: the scenario does not fit the method
    :raises LearningError: there is no such method
    """
    found: Method = _find(sys.modules[methods.__name__], name, "build", "method")(scenario)
    return found


def changed(scenario: Scenario, **sections: dict[str, Any]) -> Scenario:
    """The scenario with some settings changed, validated anew, without the reference run that a scenario may ask for."""
    plain = scenario.plain()
    for section, values in {"evaluation": {"noise_free": False}, **sections}.items():
        plain[section] = {**plain[section], **values}
    return build(plain, "comparison")


def unprotected(scenario: Scenario) -> tuple[Scenario, tuple[str, ...]]:
    """The scenario without its promise of privacy, which only its own link keeps, and a note that says so."""
    if not scenario.privacy.on:
        return scenario, ()
    plain = {**scenario.plain(), "privacy": PrivacyConfig().model_dump(mode="json", exclude_none=True)}
    return build(plain, "comparison"), ("without privacy: only the scenario's own link keeps its promise",)


def directions(scenario: Scenario) -> int:
    """Scalars that a device sends in a round of the zeroth-order methods."""
    return scenario.zeroth_order.directions
