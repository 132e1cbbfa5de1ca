"""The tutorial notebooks as plain Python: their cells hold nothing that only a notebook understands."""

import json
import os
from functools import partial
from pathlib import Path

from tests import forked

FOLDER = Path(__file__).parents[1] / "docs" / "tutorials"


def execute(name: str, folder: Path, settings: dict[str, str], then: str = "") -> str:
    """What the cells print, run in order in a process of their own with ``folder`` as the working folder."""
    done = forked.call(folder, partial(_play, settings), str(FOLDER / f"{name}.ipynb"), then, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _play(settings: dict[str, str], path: str, then: str) -> None:
    os.environ.update(settings)
    variables: dict[str, object] = {"__name__": "__main__"}
    cells = [cell for cell in json.loads(Path(path).read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    for index, source in enumerate([*("".join(cell["source"]) for cell in cells), then]):
        exec(compile(source, f"{Path(path).stem}, code cell {index}", "exec"), variables)
