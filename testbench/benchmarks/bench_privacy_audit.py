"""Plans of 8000 rounds, and 100 000 trials of the audit at the antennas."""

from typing import Any

from testbench.privacy.audit_command import audit_phy, phy_design
from testbench.privacy.plan import make_plan, scenario_of

TRIALS = 100_000


def bench_plan(benchmark: Any, record: Any, interleaved: Any) -> None:
    """Seconds of a plan with every schedule at the paper's constants, and with Poisson sampling."""
    plain, examples = scenario_of(None, {})
    sampled, few = scenario_of(None, {"privacy.delta": 1e-5}, 0.016)
    cases = {"no sampling": lambda: make_plan(plain, examples), "Poisson sampling": lambda: make_plan(sampled, few)}
    for name, case in cases.items():
        (seconds,) = interleaved(case, repeats=1, warmup=0)
        record(f"plan of 8000 rounds, {name}: s", seconds, 10.0, "low")
    benchmark.pedantic(cases["no sampling"], rounds=3, warmup_rounds=1)


def bench_phy_audit(benchmark: Any, record: Any, interleaved: Any) -> None:
    """Seconds of 100 000 trials of 8 rounds at symbol fidelity, and how close the measured epsilon comes to the claim."""
    scenario, examples = scenario_of(None, {})
    short, planned = phy_design(scenario, 8, examples)
    (seconds,) = interleaved(lambda: audit_phy(short, planned, TRIALS, {}), repeats=1, warmup=0)
    record(f"audit at the antennas, {TRIALS} trials: s", seconds, 60.0, "low")
    result = audit_phy(short, planned, TRIALS, {})
    record("measured epsilon over the claimed", result.epsilon_lower / planned.epsilon["gdp"], 0.9, "high")
    benchmark.pedantic(lambda: audit_phy(short, planned, 1000, {}), rounds=3, warmup_rounds=1)
