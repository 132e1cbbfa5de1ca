"""FedAvg with local Adam over an error-free digital link."""

from learning.baselines.local import Adam
from testbench.comparison.method import FirstOrder
from testbench.comparison.methods._first_order import averaging
from testbench.scenario import Scenario


def build(scenario: Scenario) -> FirstOrder:
    """All weights, some local steps a round."""
    settings = scenario.baselines.fedavg
    return averaging("FedAvg (Adam), digital", scenario, Adam(settings.local_steps, settings.adam_learning_rate))
