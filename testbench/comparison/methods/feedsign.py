"""FeedSign (arXiv 2501.17610): one bit up, one bit down, a majority vote over an error-free digital link."""

from learning.baselines.uplinks import MajorityUplink
from testbench.comparison.costs import digital
from testbench.comparison.method import ZerothOrder, changed, directions, unprotected
from testbench.scenario import Scenario


def build(scenario: Scenario) -> ZerothOrder:
    """The one-bit step size; a tie counts as +1, as one bit down cannot say otherwise."""
    scenario, notes = unprotected(scenario)
    rate = {"learning_rate": scenario.baselines.sign_learning_rate}
    run = changed(
        scenario,
        link={"scheme": "sign", "decision": "hard"},
        uplink={"transport": "none", "endpoint": None},
        zeroth_order=rate,
    )
    scalars = directions(run)
    costs = digital(run, scalars, scalars, forwards=2 * scalars)
    return ZerothOrder("FeedSign, digital", run, lambda parameters: costs, MajorityUplink(), 1, notes)
