"""One self-contained HTML page per run."""

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape

from testbench.run_folder import RunFolder, spoken
from testbench.scenario import Scenario

_SCORES = (("zero_shot", "zero-shot"), ("final", "fine-tuned over this link"), ("noise_free", "noise-free link"))
_HEADLINES = (
    ("received_snr_db", "received SNR |vᴴy|²/N0, mean over rounds", "dB"),
    ("nmse_db", "NMSE of the estimate", "dB"),
)


def write_report(folder: RunFolder, scenario: Scenario, summary: dict[str, Any]) -> Path:
    """Write ``report.html`` with the figures inside it, and return its path."""
    environment = Environment(loader=PackageLoader("testbench", "templates"), autoescape=select_autoescape(("html", "j2")))
    metric = summary["metric"]
    scores = [(f"{metric}_{key}", f"held-out {spoken(metric)}, {when}", "percent") for key, when in _SCORES]
    shown = (*scores, *_HEADLINES)
    headlines = [(label, _shown(summary[key], unit)) for key, label, unit in shown if summary.get(key) is not None]
    figures = [
        (path.stem, base64.b64encode(path.read_bytes()).decode("ascii")) for path in sorted(folder.figures.glob("*.png"))
    ]
    page = environment.get_template("report.html.j2").render(
        name=scenario.name, headlines=headlines, figures=figures, summary=summary, scenario=scenario.to_toml()
    )
    folder.report.write_text(page, encoding="utf-8")
    return folder.report


def _shown(value: float, unit: str) -> str:
    return f"{100 * value:.1f} %" if unit == "percent" else f"{value:.1f} {unit}"
