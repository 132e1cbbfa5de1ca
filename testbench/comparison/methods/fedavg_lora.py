"""FedAvg with local Adam on low-rank adapters, over an error-free digital link."""

from learning.baselines.local import Adam
from testbench.comparison.method import FirstOrder, NotApplicable
from testbench.comparison.methods._first_order import averaging
from testbench.scenario import Scenario


def build(scenario: Scenario) -> FirstOrder:
    """Only the adapters are trained and sent."""
    if scenario.model.kind == "sentence_head":
        raise NotApplicable("fedavg_lora needs a transformer to adapt; model.kind is sentence_head")
    rule = Adam(scenario.baselines.fedavg.local_steps, scenario.baselines.lora.learning_rate)
    return averaging("FedAvg (LoRA, Adam), digital", scenario, rule, adapters=True)
