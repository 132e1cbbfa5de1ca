"""First-order over the air: the gradient's entries as analog payload with truncated inversion (arXiv 1812.11494)."""

from learning.baselines.federation import Blocks
from learning.baselines.local import Gradient
from testbench.comparison.costs import over_the_air
from testbench.comparison.method import FirstOrder, NotApplicable
from testbench.comparison.methods._first_order import first_order_scenario
from testbench.scenario import Scenario


def build(scenario: Scenario) -> FirstOrder:
    """The scenario's channel and SNR; blocks of ``coherence_symbols`` entries, each with a fade and pilots of its own."""
    if scenario.uplink.transport == "none":
        raise NotApplicable("fo_ota needs a link, and uplink.transport is none; fedsgd is its noise-free form")
    run, notes = first_order_scenario(scenario)
    air, entries, devices = scenario.baselines.over_the_air, scenario.baselines.coherence_symbols, run.federation.devices
    power = run.link.power.model_copy(update={"control": "truncated", "caps": None, "artificial_noise": 0.0})
    link = run.link.model_copy(update={"scheme": "analog", "clip": air.clip, "power": power})
    blocks = Blocks(entries, air.clip)
    return FirstOrder(
        "First order, over the air",
        run,
        lambda d: over_the_air(link, devices, entries, blocks=blocks.count(d), entries=d, forwards=1, backwards=1),
        Gradient(air.learning_rate),
        link,
        blocks,
        notes=notes,
    )
