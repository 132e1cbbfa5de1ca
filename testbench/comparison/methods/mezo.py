"""Centralised MeZO (arXiv 2305.17333): one device holds all data, and nothing is sent."""

from testbench.comparison.costs import RoundCosts
from testbench.comparison.method import ZerothOrder, changed, directions, unprotected
from testbench.scenario import Scenario


def build(scenario: Scenario) -> ZerothOrder:
    """One device with the K batches' worth of examples per step, so that a round sees as many as a federation's."""
    scenario, notes = unprotected(scenario)
    federation = scenario.federation
    run = changed(
        scenario,
        link={"scheme": "analog"},
        uplink={"transport": "none", "endpoint": None},
        federation={"devices": 1, "batch_size": federation.batch_size * federation.devices, "split": "iid", "faults": {}},
    )
    costs = RoundCosts(0.0, 0.0, 0.0, 0.0, 0.0, 2 * directions(run))
    return ZerothOrder("MeZO, centralised", run, lambda parameters: costs, notes=notes)
