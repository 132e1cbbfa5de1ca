"""``privacy verify`` and what a plan costs with the check that every run asks for, at the paper's 8000 rounds."""

from typing import Any

import pytest

from testbench.privacy.design import design
from testbench.privacy.plan import scenario_of
from testbench.privacy.verify import check_plan, verify

ROUNDS, EXAMPLES = 8000, 200
#: Devices -> seconds that are allowed.
ALLOWED_S = {5: 5.0, 100: 60.0}


@pytest.mark.parametrize("devices", ALLOWED_S)
def bench_verify(benchmark: Any, record: Any, interleaved: Any, devices: int) -> None:
    """Seconds of a verification of every round, and of planning with its check; symbol fidelity, weakest device, Rayleigh."""
    scenario, _ = scenario_of(None, {"federation.devices": devices, "federation.rounds": ROUNDS, "privacy.accounting": "gdp"})
    planned = design(scenario, EXAMPLES)

    def plan() -> None:
        check_plan(scenario, design(scenario, EXAMPLES))

    def whole() -> None:
        found = verify(scenario, planned)
        assert found.computed == ROUNDS
        assert not found.refuted

    seconds = interleaved(whole, plan, repeats=3, warmup=1)
    record(f"verify {ROUNDS} rounds, {devices} devices: s", seconds[0], ALLOWED_S[devices], "low")
    record(f"plan and check {ROUNDS} rounds, {devices} devices: s", seconds[1], None, "low")
    benchmark.pedantic(plan, rounds=1)
