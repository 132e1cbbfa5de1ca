"""FedAvg with local SGD over an error-free digital link."""

from learning.baselines.local import Sgd
from testbench.comparison.method import FirstOrder
from testbench.comparison.methods._first_order import averaging
from testbench.scenario import Scenario


def build(scenario: Scenario) -> FirstOrder:
    """All weights, some local steps a round."""
    settings = scenario.baselines.fedavg
    return averaging("FedAvg (SGD), digital", scenario, Sgd(settings.local_steps, settings.sgd_learning_rate))
