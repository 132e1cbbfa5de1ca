"""Units of a stress test on all cores."""

from collections.abc import Callable

from testbench.pool import Growing, run_all
from testbench.stress.evaluate import Failed, Measured, evaluate
from testbench.stress.points import Unit


def run_units(units: list[Unit], workers: int, finished: Callable[[Unit, Measured | Failed], list[Unit] | None]) -> None:
    """Evaluate ``units`` and hand each result to ``finished``, in this process; what that returns is evaluated too.

    One worker means in process. A unit whose worker process dies is tried once more and then failed.
    """
    named = {str(unit.point.link["air"] or unit.point.link["backend"]) for unit in units}
    airs = sorted(name for name in named if ":" not in name)
    preload = ["phy.link", *(f"phy.airs.{air}" for air in airs), "testbench.stress.evaluate"]
    left = Growing(units)

    def passed(unit: Unit, outcome: Measured | Failed) -> None:
        left.add(finished(unit, outcome) or ())

    run_all(evaluate, left, min(workers, len(units) or 1), passed, preload=preload, died=_died)


def _died(unit: Unit) -> Failed:
    return Failed(unit.id, unit.point.id, "its worker process died twice (out of memory, or killed)")
