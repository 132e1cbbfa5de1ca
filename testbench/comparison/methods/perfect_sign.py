"""The noise-free vote over the signs of the scalars, Sign-pAirZero's "Perfect" bound."""

from testbench.comparison.costs import REAL_BITS, no_air
from testbench.comparison.method import ZerothOrder, changed, directions, unprotected
from testbench.scenario import Scenario


def build(scenario: Scenario) -> ZerothOrder:
    """Mean of the signs, or its sign where ``link.decision`` is hard."""
    scenario, notes = unprotected(scenario)
    rate = {"learning_rate": scenario.baselines.sign_learning_rate}
    run = changed(scenario, link={"scheme": "sign"}, uplink={"transport": "none", "endpoint": None}, zeroth_order=rate)
    scalars = directions(run)
    down = 1 if run.link.decision == "hard" else REAL_BITS
    costs = no_air(run.federation.devices, scalars, 1, down, forwards=2 * scalars)
    return ZerothOrder("Perfect sign", run, lambda parameters: costs, notes=notes)
