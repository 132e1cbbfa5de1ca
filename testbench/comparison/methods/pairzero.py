"""The scenario itself: zeroth order over its own link."""

from testbench.comparison.costs import REAL_BITS, no_air, over_the_air
from testbench.comparison.method import ZerothOrder, changed, directions
from testbench.scenario import Scenario


def build(scenario: Scenario) -> ZerothOrder:
    """As the scenario says, whatever its scheme."""
    run = changed(scenario)
    scalars = directions(scenario)
    votes = scenario.link.scheme in ("sign", "fsk_mv")
    down = 1 if votes and (scenario.link.decision == "hard" or scenario.link.scheme == "fsk_mv") else REAL_BITS
    if scenario.uplink.transport == "none":
        costs = no_air(scenario.federation.devices, scalars, 1 if votes else 16, down, forwards=2 * scalars)
    else:
        costs = over_the_air(
            scenario.link, scenario.federation.devices, scalars, downlink_bits_per_scalar=down, forwards=2 * scalars
        )
    return ZerothOrder(f"pAirZero ({scenario.link.scheme})", run, lambda parameters: costs)
