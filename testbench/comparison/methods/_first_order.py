"""What the first-order methods share."""

from learning.baselines.local import LocalSteps
from testbench.comparison.costs import digital
from testbench.comparison.method import FirstOrder, NotApplicable, changed, unprotected
from testbench.scenario import Scenario


def first_order_scenario(scenario: Scenario) -> tuple[Scenario, tuple[str, ...]]:
    """The scenario with the rounds of the first-order methods and without faults of the protocol, and notes on that."""
    if scenario.model.loss == "metric":
        raise NotApplicable('first-order methods need a gradient, which model.loss "metric" has not')
    scenario, notes = unprotected(scenario)
    rounds = scenario.baselines.first_order_rounds or scenario.federation.rounds
    if scenario.federation.faults.any:
        notes = (*notes, "without the scenario's faults of the protocol, which are of zeroth-order methods")
    return changed(scenario, federation={"rounds": rounds, "faults": {}}), notes


def averaging(title: str, scenario: Scenario, rule: LocalSteps) -> FirstOrder:
    """Federated averaging of whatever the scenario trains."""
    run, notes = first_order_scenario(scenario)
    bits, steps = scenario.baselines.entry_bits, rule.batches

    return FirstOrder(
        title,
        run,
        lambda d: digital(run, bits * d, bits * d, forwards=steps, backwards=steps),
        rule,
        notes=notes,
    )
