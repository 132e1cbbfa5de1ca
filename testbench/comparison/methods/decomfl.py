"""Like DeComFL (arXiv 2405.15861): the scalars as floats over an error-free digital link, and their mean back."""

from learning.baselines.uplinks import DigitalUplink
from testbench.comparison.costs import digital
from testbench.comparison.method import ZerothOrder, changed, directions, unprotected
from testbench.scenario import Scenario


def build(scenario: Scenario) -> ZerothOrder:
    """As many directions as ``[zeroth_order]`` says, two-sided where DeComFL takes forward differences, one local step."""
    scenario, notes = unprotected(scenario)
    run = changed(scenario, link={"scheme": "analog"}, uplink={"transport": "none", "endpoint": None})
    scalars, bits = directions(run), scenario.baselines.scalar_bits
    costs = digital(run, bits * scalars, bits * scalars, forwards=2 * scalars)
    return ZerothOrder("DeComFL-like, digital", run, lambda parameters: costs, DigitalUplink(bits), bits, notes)
