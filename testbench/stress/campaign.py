"""Run a stress test: all units on all cores, each kept once it is finished, then tables, figures and a report."""

import base64
from dataclasses import dataclass

from testbench.bars import Observer, processes
from testbench.pool import cores
from testbench.stress.accuracy import training_units
from testbench.stress.captions import caption
from testbench.stress.comparison import COLUMNS as COMPARED_COLUMNS
from testbench.stress.comparison import Compared, compare
from testbench.stress.evaluate import Failed, Measured
from testbench.stress.limits import Row
from testbench.stress.plan import StressConfig
from testbench.stress.plan_file import plan_toml
from testbench.stress.points import Point, Unit, points_of, units_of
from testbench.stress.pool import run_units
from testbench.stress.results import COLUMNS, LARGEST_COLUMNS, largest_rows, rows_of, to_csv, training_rows
from testbench.stress.search import Search, replay
from testbench.stress.store import StressFolder
from testbench.stress.tables import Table, cost_table, gradient_table, hardware_table, largest_table, markdown

_BAND = (
    "±: the band's ends are offsets that were measured, with the metric's whole 95 % band within the limit at the lower end, "
    "and beyond it at the upper: sampling and the grid's spacing are both in it."
)


@dataclass(frozen=True)
class StressResult:
    """A finished test: its folder, rows, tables, and the points that failed, a sentence each."""

    folder: StressFolder
    rows: list[Row]
    largest: list[Row]
    compared: list[Compared]
    failures: list[str]


def run_stress(
    plan: StressConfig,
    folder: StressFolder,
    *,
    resume: bool = False,
    workers: int | None = None,
    observer: Observer | None = None,
) -> StressResult:
    """Run ``plan`` in ``folder``; with ``resume``, finish what is missing, to the very same table.

    ``workers``: processes; None for one per core, 1 for none but this. Raises :class:`testbench.errors.TestbenchError`; points
    that fail do not stop the others and are tried again on the next resume.
    """
    observer = observer or Observer()
    with folder:
        folder.prepare(plan, resume)
        points = [(point, units_of(point, plan.unit_rounds)) for point in points_of(plan)]
        trainings = training_units(plan, folder.trainings)
        # The longest units first, so that the last worker does not finish long after the others.
        units = [*trainings, *sorted((u for _, mine in points for u in mine), key=lambda u: -u.point.entries)]
        search = Search(plan, points)
        failed = _evaluate(units, search, folder, workers, observer)
        points += search.added
        every = [*trainings, *(unit for _, mine in points for unit in mine)]
        found = {measured.unit: measured for measured in folder.load(unit.id for unit in every)}
        rows = [*rows_of(plan, points, found), *training_rows(plan, trainings, found)]
        result = StressResult(folder, rows, largest_rows(plan, rows), compare(plan, rows), _failures(points, trainings, failed))
        observer.said("drawing figures")
        _write(plan, result)
    return result


def _evaluate(units: list[Unit], search: Search, folder: StressFolder, workers: int | None, observer: Observer) -> list[Failed]:
    """Measure ``units``, and what ``search`` asks for in between."""
    kept = {measured.unit: measured for measured in folder.load(folder.done())}
    units = replay(search, units, kept)
    left = [unit for unit in units if unit.id not in kept]
    failed: list[Failed] = []
    total = sum(unit.weight for unit in units)
    count = workers or cores()
    observer.started(len(units), len(units) - len(left), total, total - sum(u.weight for u in left), processes(count))

    def finished(unit: Unit, outcome: Measured | Failed) -> list[Unit]:
        more: list[Unit] = []
        if isinstance(outcome, Failed):
            failed.append(outcome)
        else:
            folder.add(outcome)
            more = search.measured(outcome, unit.point)
        if more:
            observer.grew(len(more), sum(u.weight for u in more))
        observer.advanced(unit.weight)
        return more

    try:
        run_units(left, count, finished)
    finally:
        observer.finished()
    return failed


def _failures(points: list[tuple[Point, list[Unit]]], trainings: list[Unit], failed: list[Failed]) -> list[str]:
    """One sentence per contestant and reason."""
    groups: dict[tuple[str, str], dict[str, set[str]]] = {}
    known = {point.id: point for point, _ in points} | {unit.point.id: unit.point for unit in trainings}
    for failure in failed:
        point = known[failure.point]
        kind = point.axis if point.group in ("sweep", "preset") else f"{point.group} {point.axis}"
        groups.setdefault((point.label, failure.reason), {}).setdefault(kind, set()).add(failure.point)
    return sorted(
        f"{label}: {sum(map(len, kinds.values()))} points not measured ({', '.join(kinds)}): {reason}"
        for (label, reason), kinds in groups.items()
    )


def _write(plan: StressConfig, result: StressResult) -> None:
    from testbench.stress.figures import draw_figures

    folder = result.folder
    folder.write(folder.csv, to_csv(result.rows, COLUMNS))
    folder.write(folder.table, to_csv(result.largest, LARGEST_COLUMNS))
    if result.compared:
        folder.write(folder.path / "scalar-vs-gradient.csv", to_csv([c.row() for c in result.compared], COMPARED_COLUMNS))
    for stale in folder.figures.glob("*.png"):
        stale.unlink()
    draw_figures(folder, plan, result.rows, result.compared)
    tables = tables_of(plan, result)
    lines = [f"# {plan.name}: desynchronisation stress test", "", caption(plan), ""]
    for title, note, table in tables:
        lines += [f"## {title}", "", *([note, ""] if note else []), markdown(table)]
    lines += [f"Failed: {sentence}\n" for sentence in result.failures]
    folder.write(folder.path / "tables.md", "\n".join(lines))
    _report(plan, result, tables)


def tables_of(plan: StressConfig, result: StressResult) -> list[tuple[str, str, Table]]:
    """Every table with its title and a note."""
    found = []
    for name, axis in plan.chosen_axes().items():
        if any(row["axis"] == name for row in result.largest):
            note = f"x: {axis.law_in_words()}. {_BAND}"
            found.append((f"Largest {axis.title}", note, largest_table(plan, result.largest, name)))
    if result.compared:
        note = (
            "Equal energy and symbol duration per entry; the gradient's entries back to back, the scalar in a guard of "
            f"its own; offsets uniform on ±x per device and round; NMSE < {plan.nmse_limit_db:g} dB. {_BAND}"
        )
        found.append(("Scalar against gradient", note, gradient_table(plan, result.compared)))
    if plan.presets:
        known = plan.all_hardware()
        note = "Where no source states a figure, it is marked as assumed."
        found.append(("Hardware", note, hardware_table({name: known[name] for name in plan.presets})))
    cost = cost_table(result.rows)
    if len(cost) > 1:
        note = (
            "Energies of one device in units of the peak 1, as measured: all have the same peak, of which the law of "
            "the payload and power control use more or less; channel uses share a scalar's energy; pilots are extra."
        )
        found.append(("Cost", note, cost))
    return found


def _report(plan: StressConfig, result: StressResult, tables: list[tuple[str, str, Table]]) -> None:
    from jinja2 import Environment, PackageLoader, select_autoescape

    folder = result.folder
    environment = Environment(loader=PackageLoader("testbench", "stress"), autoescape=select_autoescape(("html", "j2")))
    images = [
        (path.stem.replace("-", " ").capitalize(), base64.b64encode(path.read_bytes()).decode("ascii"))
        for path in sorted(folder.figures.glob("*.png"))
    ]
    page = environment.get_template("report.html.j2").render(
        name=plan.name, caption=caption(plan), failures=result.failures, tables=tables, figures=images, plan=plan_toml(plan)
    )
    folder.write(folder.report, page)
