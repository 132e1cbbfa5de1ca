"""The table of ratios that ``pairzero bench`` ends with."""

import io

from rich.console import Console

from testbench.benching import _print


def test_rows_say_what_was_met_missed_or_not_measured() -> None:
    rows = {
        "low [x]": {"value": 3.0, "target": 5.0, "best": "low"},
        "high": {"value": 3.0, "target": 5.0, "best": "high"},
        "unknown": {"value": float("nan"), "target": 5.0, "best": "low"},
        "aimless": {"value": 1.0, "target": None, "best": "low"},
    }
    console = Console(width=80, record=True, file=io.StringIO())
    data = {"benchmarks": [{"extra_info": {"ratios": rows}}], "machine_info": {"python_version": "3", "machine": "m"}}
    _print(console, data)
    shown = [" ".join(line.split()) for line in console.export_text().splitlines()]
    assert shown[2:6] == ["low [x] 3 <= 5 met", "high 3 >= 5 missed", "unknown - <= 5", "aimless 1"]
