"""FedSGD: every device's gradient over an error-free digital link."""

from learning.baselines.local import Gradient
from testbench.comparison.costs import digital
from testbench.comparison.method import FirstOrder
from testbench.comparison.methods._first_order import first_order_scenario
from testbench.scenario import Scenario


def build(scenario: Scenario) -> FirstOrder:
    """d floats up per device, d floats down."""
    run, notes = first_order_scenario(scenario)
    settings = scenario.baselines
    return FirstOrder(
        "FedSGD, digital",
        run,
        lambda d: digital(run, settings.entry_bits * d, settings.entry_bits * d, forwards=1, backwards=1),
        Gradient(settings.fedsgd.learning_rate),
        notes=notes,
    )
