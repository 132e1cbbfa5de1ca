"""The noise-free mean of the scalars, pAirZero's "Perfect" bound."""

from testbench.comparison.costs import REAL_BITS, no_air
from testbench.comparison.method import ZerothOrder, changed, directions, unprotected
from testbench.scenario import Scenario


def build(scenario: Scenario) -> ZerothOrder:
    """The scenario's federation over a link without fading and noise."""
    scenario, notes = unprotected(scenario)
    run = changed(scenario, link={"scheme": "analog"}, uplink={"transport": "none", "endpoint": None})
    scalars = directions(run)
    costs = no_air(run.federation.devices, scalars, 16, REAL_BITS, forwards=2 * scalars)
    return ZerothOrder("Perfect mean", run, lambda parameters: costs, notes=notes)
