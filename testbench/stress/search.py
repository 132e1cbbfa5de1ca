"""Follow a test's curves as they are measured, and ask for points where they cross a limit.

What is asked for is a function of what was measured, so that a resumed test asks for the same points.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from testbench.stress.evaluate import Measured
from testbench.stress.limits import Row, wanted
from testbench.stress.metrics import summarise
from testbench.stress.plan import StressConfig
from testbench.stress.points import Point, Unit, beside, units_of
from testbench.stress.results import limits_of


class Search:
    """The curves of a plan, and the points added to them. A curve of which a point fails is left as it is.

    :param points: the points of the plan's grid with their units
    """

    def __init__(self, plan: StressConfig, points: Sequence[tuple[Point, Sequence[Unit]]]) -> None:
        self._plan = plan
        self._added: list[tuple[Point, list[Unit]]] = []
        self._curves: dict[str, list[tuple[Point, Sequence[Unit]]]] = {}
        self._open: dict[str, set[str]] = {}
        self._turns: dict[str, int] = {}
        self._batches: dict[str, list[dict[str, float]]] = {}
        for point, units in points:
            if point.group in ("sweep", "gradient"):
                self._join(point, units)

    @property
    def added(self) -> list[tuple[Point, list[Unit]]]:
        """Points that were asked for so far, curve by curve in the grid's order, by ascending value."""
        order = {curve: i for i, curve in enumerate(self._curves)}
        return sorted(self._added, key=lambda pair: (order[pair[0].curve], pair[0].value))

    def measured(self, result: Measured, point: Point) -> list[Unit]:
        """Take a finished unit of ``point``; returns the units of points that it makes wanted."""
        missing = self._open.get(point.curve)
        if missing is None or result.unit not in missing:
            return []
        missing.remove(result.unit)
        self._batches[result.unit] = result.batches
        if missing or self._turns.get(point.curve, 0) >= self._plan.refinements:
            return []
        self._turns[point.curve] = self._turns.get(point.curve, 0) + 1
        rows = self._rows(point.curve)
        values = sorted({x for metric, limit in limits_of(self._plan, point.group) for x in wanted(rows, metric, limit)})
        found: list[Unit] = []
        for value in values:
            more = beside(self._plan, point, value)
            units = units_of(more, self._plan.unit_rounds)
            self._join(more, units)
            self._added.append((more, units))
            found += units
        return found

    def _join(self, point: Point, units: Sequence[Unit]) -> None:
        self._curves.setdefault(point.curve, []).append((point, units))
        self._open.setdefault(point.curve, set()).update(unit.id for unit in units)

    def _rows(self, curve: str) -> list[Row]:
        rows = []
        for point, units in self._curves[curve]:
            batches = [batch for unit in units for batch in self._batches[unit.id]]
            rows.append({"value": point.value, **summarise(batches, np.zeros(0, np.float32), point.entries)})
        return sorted(rows, key=lambda row: float(row["value"]))


def replay(search: Search, units: Iterable[Unit], kept: dict[str, Measured]) -> list[Unit]:
    """Feed what was ``kept`` of ``units`` and of what they make wanted; returns all units, the added ones after the others."""
    every = list(units)
    for unit in every:  # grows while it is gone through
        if unit.id in kept:
            every += search.measured(kept[unit.id], unit.point)
    return every
