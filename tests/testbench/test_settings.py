"""The settings page is the program's own."""

from pathlib import Path

from testbench.settings import markdown

PAGE = Path(__file__).resolve().parents[2] / "docs" / "scenario.md"


def test_the_committed_page_is_up_to_date():
    assert PAGE.read_text() == markdown(), "run: python -m testbench.settings > docs/scenario.md"


def test_every_setting_has_a_meaning():
    rows = [line for line in markdown().splitlines() if line.startswith("| `")]
    assert len(rows) > 60
    assert [row for row in rows if row.endswith("|  |")] == []
