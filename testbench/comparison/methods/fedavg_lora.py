"""FedAvg with local Adam on low-rank adapters, over an error-free digital link."""

from learning.baselines.local import Adam
from testbench.comparison.method import FirstOrder, NotApplicable, changed
from testbench.comparison.methods._first_order import averaging
from testbench.scenario import Scenario


def build(scenario: Scenario) -> FirstOrder:
    """Only the adapters are trained and sent."""
    if scenario.model.kind == "sentence_head":
        raise NotApplicable("fedavg_lora needs a transformer to adapt; model.kind is sentence_head")
    settings = scenario.baselines.lora
    if not scenario.model.lora.rank:
        adapters = {"rank": settings.rank, "alpha": settings.alpha, "targets": settings.targets}
        scenario = changed(scenario, model={"trainable": None, "lora": adapters})
    rule = Adam(scenario.baselines.fedavg.local_steps, settings.learning_rate)
    return averaging("FedAvg (LoRA, Adam), digital", scenario, rule)
