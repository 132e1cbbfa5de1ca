"""Put a report together: runs and tables in, one HTML file out that needs no network and no script."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape

from testbench.errors import RunFolderError
from testbench.figures import caption
from testbench.privacy.secrecy import sentences
from testbench.reports import panels
from testbench.reports.drawing import Panel, data_uri
from testbench.reports.runs import Run, labels, read_run
from testbench.reports.tables import Tables, holds_tables, pictures, read_tables
from testbench.show import privacy_lines, uses

_OWN_FIGURES = ("learning", "link")  # drawn anew, as panels

# Key of the summary, what it is, and how it is shown.
_HEADLINES = (
    ("accuracy_zero_shot", "held-out accuracy, zero-shot", "percent"),
    ("accuracy_final", "held-out accuracy, fine-tuned", "percent"),
    ("accuracy_noise_free", "the same over a noise-free link", "percent"),
    ("f1_zero_shot", "held-out F1, zero-shot", "percent"),
    ("f1_final", "held-out F1, fine-tuned", "percent"),
    ("f1_noise_free", "the same over a noise-free link", "percent"),
    ("exact_match_final", "held-out exact match, fine-tuned", "percent"),
    ("loss_final", "held-out loss [nat]", "loss"),
    ("received_snr_db", "received SNR |vᴴy|²/N0, mean over rounds", "dB"),
    ("nmse_db", "NMSE of the estimate", "dB"),
    ("epsilon_spent", "epsilon spent", "number"),
    ("epsilon_budget", "epsilon promised", "number"),
)


@dataclass(frozen=True)
class Section:
    """A run as the page shows it."""

    run: Run
    headlines: list[tuple[str, str]]
    sentences: list[str]
    caption: str
    panels: list[Panel]
    slot: list[Panel]
    slot_text: str
    pictures: list[tuple[str, str]]
    repeat: list[str]
    toml: str
    toml_uri: str


SlotOf = Callable[[Run], tuple[list[Panel], str]]


def read(paths: Sequence[Path]) -> tuple[list[Run], list[Tables]]:
    """The runs and the tables that lie at ``paths``.

    Raises :class:`testbench.errors.RunFolderError` for a path that is neither.
    """
    runs, tables = [], []
    for path, label in zip(paths, labels(list(paths)), strict=True):
        if (path / "scenario.toml").is_file():
            runs.append(read_run(path, label))
        elif path.exists() and holds_tables(path):
            tables.append(read_tables(path, label))
        elif not path.exists():
            raise RunFolderError(f"there is no {path}; give run folders, sweep folders or tables")
        else:
            raise RunFolderError(f"{path} is neither a run folder (scenario.toml) nor a folder with tables (*.csv)")
    return runs, tables


def render(runs: Sequence[Run], tables: Sequence[Tables] = (), slot_of: SlotOf | None = None) -> str:
    """The page. ``slot_of`` gives the drawings of a run's slot, and a sentence on it."""
    environment = Environment(
        loader=PackageLoader("testbench", "templates"), autoescape=select_autoescape(("html", "j2")), trim_blocks=True
    )
    several = len(runs) > 1
    return environment.get_template("report.html.j2").render(
        title=" and ".join([*(run.label for run in runs), *(t.label for t in tables)][:4]),
        sections=[_section(run, slot_of) for run in runs],
        tables=tables,
        curves=panels.curves(runs) + panels.lost(runs) + panels.odometer(runs) if several else [],
        compared=_compared(runs) if several else [],
        differing=_differing(runs) if several else [],
        labels=[run.label for run in runs],
    )


def _section(run: Run, slot_of: SlotOf | None) -> Section:
    drawn, text = slot_of(run) if slot_of is not None else ([], "")
    toml = run.scenario.to_toml()
    summary = {"snr_max_db": None, "pilot_symbols_per_round": run.scenario.link.csi.estimator != "perfect", **run.summary}
    if not run.summary and run.physical:
        summary["snr_max_db"] = run.scenario.link.snr_max_db
    return Section(
        run,
        [(label, shown(run.summary[key], unit)) for key, label, unit in _HEADLINES if run.summary.get(key) is not None],
        _sentences(run),
        caption(run.scenario, summary),
        panels.curves([run]) * bool(run.evaluations) + panels.link(run) + panels.lost([run]) + panels.odometer([run]),
        drawn,
        text,
        pictures(run.folder.path, _OWN_FIGURES),
        _repeat(run),
        toml,
        data_uri(toml.encode("utf-8"), "text/plain"),
    )


def _sentences(run: Run) -> list[str]:
    """What was run, on what, and what it cost."""
    scenario, summary = run.scenario, run.summary
    parameters = f", {summary['parameters']:,} trained parameters" if summary else ""
    model = scenario.model.path or f"the model {scenario.model.kind}"
    found = [
        f"{scenario.federation.devices} devices fine-tune {model} on the task {scenario.task.name}{parameters}; each sends "
        f"{_scalars(scenario.zeroth_order.directions)} a round. {run.rounds} rounds, {run.lost_rounds} of them lost.",
    ]
    if not run.finished:
        found.append(f"The run has not come to its end; go on with: pairzero run {run.folder.path} --resume")
    if summary:
        found.append(f"Uplink: {uses(summary)} a round.")
        if told := " ".join("; ".join(line.strip() for line in privacy_lines(summary)).split()):
            found.append(f"{told[:1].upper()}{told[1:]}.".replace("Privacy epsilon", "Privacy: epsilon"))
        if summary.get("randomness") == "secret":
            found.append(" ".join(f"{sentence[:1].upper()}{sentence[1:]}." for sentence in sentences(scenario)))
        found.append(f"Cost: {summary['wall_s']:.0f} s, {summary['peak_rss_mib'] or 0:.0f} MiB.")
    found.append(f"Seed {scenario.seed}, one run: the numbers have no band.")
    return found


def _scalars(directions: int) -> str:
    return "one clipped scalar" if directions == 1 else f"{directions} clipped scalars"


def _repeat(run: Run) -> list[str]:
    return [
        "pairzero run scenario.toml --out again",
        f"pairzero replay {run.folder.path}",
        f"pairzero report {run.folder.path} --slot 0",
    ]


def shown(value: Any, unit: str) -> str:
    """A number as a person reads it."""
    if value is None:
        return "-"
    if unit == "percent":
        return f"{100 * value:.1f} %"
    if unit == "loss":
        return f"{value:.3f}"
    return f"{value:.1f} dB" if unit == "dB" else f"{value:.4g}"


_COMPARED = (
    *_HEADLINES,
    ("rounds", "rounds", "number"),
    ("lost_rounds", "lost rounds", "number"),
    ("devices", "devices K", "number"),
    ("uplink_symbols_per_round", "payload symbols a round", "number"),
    ("pilot_symbols_per_round", "pilot symbols a round", "number"),
    ("clipped_fraction", "clipped values", "percent"),
    ("wall_s", "seconds", "number"),
)


def _compared(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Rows of numbers, a column a run; rows that no run has are left out."""
    return [
        (label, [shown(run.summary.get(key), unit) for run in runs])
        for key, label, unit in _COMPARED
        if any(run.summary.get(key) is not None for run in runs)
    ]


def _differing(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Settings in which the scenarios differ."""
    known = [dict(flat(run.scenario.plain())) for run in runs]
    keys = sorted({key for settings in known for key in settings})
    rows = [(key, [str(settings.get(key, "none")) for settings in known]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def flat(data: dict[str, Any], place: str = "") -> list[tuple[str, Any]]:
    """Settings by dotted key."""
    return [
        pair
        for key, value in data.items()
        for pair in (flat(value, f"{place}{key}.") if isinstance(value, dict) else [(f"{place}{key}", value)])
    ]
