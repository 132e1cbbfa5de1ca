"""What the documents show runs, and what they point to exists."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *GUIDES]


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


@pytest.mark.parametrize("number", range(2))
def test_the_readmes_python_runs(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = blocks("README.md")
    assert len(found) == 2
    assert found[0].count('"federation.rounds": 100') == 1
    fewer = found[number].replace('"federation.rounds": 100', '"federation.rounds": 10')
    exec(compile(fewer, f"README block {number}", "exec"), {})


def test_the_python_of_the_api_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (block,) = blocks("docs/api.md")
    exec(compile(block, "docs/api.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "{'a': 'analog', 'b': 'sign'}" in printed
    assert "(5, 1)" in printed


def test_the_example_scheme_works_from_a_users_own_module(tmp_path, monkeypatch):
    (tmp_path / "mylab").mkdir()
    (tmp_path / "mylab" / "root.py").write_text(blocks("docs/extending.md")[0])
    monkeypatch.syspath_prepend(str(tmp_path))
    from phy.config import LinkConfig
    from phy.link import Link

    link = Link(LinkConfig(clip=4.0, scheme="mylab.root:Part", snr_max_db=120.0), seed=1)
    payloads = np.full((50, 3, 1), -2.5)
    assert np.allclose(link.aggregate(np.arange(50), payloads).estimates, -2.5, atol=1e-2)
    sys.modules.pop("mylab.root", None)


@pytest.mark.parametrize("page", GUIDES, ids=lambda p: p.stem)
def test_the_guides_parts_work_and_pass_their_own_checks(page, tmp_path, monkeypatch):
    """A block that begins with ``# mylab/NAME.py`` is that file; the others are run."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "mylab").mkdir()
    ran = 0
    for number, block in enumerate(blocks(str(page.relative_to(ROOT)))):
        if named := re.match(r"# (mylab/\w+\.py)\n", block):
            (tmp_path / named.group(1)).write_text(block)
        else:
            assert "assert" in block
            exec(compile(block, f"{page.name} block {number}", "exec"), {})
            ran += 1
    assert ran
    for name in [name for name in sys.modules if name == "mylab" or name.startswith("mylab.")]:
        sys.modules.pop(name)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_point_at_files(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readmes_commands_exist():
    from typer.testing import CliRunner

    from testbench.cli import app

    runner = CliRunner()
    commands = {c for page in PAGES for c in re.findall(r"(?:`|bin/|    )pairzero ([a-z]+)", page.read_text())}
    assert commands >= {"run", "replay", "bench", "air", "scenarios"}
    for command in sorted(commands):
        assert runner.invoke(app, [command, "--help"]).exit_code == 0, command


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "index.md").read_text()
    pages = [path.relative_to(ROOT / "docs") for path in PAGES if path.name not in ("README.md", "index.md")]
    listed = {
        line.strip() for toctree in re.findall(r"```{toctree}(.*?)```", index, re.DOTALL) for line in toctree.splitlines()
    }
    assert {str(page.with_suffix("")) for page in pages} - listed == set()
    assert all(f"<tutorials/{path.name}>" in index for path in (ROOT / "docs" / "tutorials").glob("*.ipynb"))
