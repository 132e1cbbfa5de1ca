"""Sign-pAirZero: the scenario's link, with one bit per scalar as amplitude."""

from testbench.comparison.costs import REAL_BITS, over_the_air
from testbench.comparison.method import NotApplicable, ZerothOrder, changed, directions, unprotected
from testbench.scenario import Scenario


def build(scenario: Scenario) -> ZerothOrder:
    """The scheme ``sign`` on the scenario's channel, with its decision and the step size of the one-bit methods."""
    if scenario.link.scheme == "sign":
        raise NotApplicable("sign_pairzero is the scenario itself, whose link.scheme is sign")
    if scenario.uplink.transport == "none":
        raise NotApplicable("sign_pairzero needs a link, and uplink.transport is none; perfect_sign is its noise-free form")
    scenario, notes = unprotected(scenario)
    rate = {"learning_rate": scenario.baselines.sign_learning_rate}
    run = changed(scenario, link={"scheme": "sign"}, zeroth_order=rate)
    scalars = directions(run)
    down = 1 if run.link.decision == "hard" else REAL_BITS
    costs = over_the_air(run.link, run.federation.devices, scalars, downlink_bits_per_scalar=down, forwards=2 * scalars)
    return ZerothOrder("Sign-pAirZero", run, lambda parameters: costs, notes=notes)
