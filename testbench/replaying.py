"""Rebuild a run's weights from its journal and prove that they are the same."""

import json
import time

from rich.console import Console

from learning.journal import Journal
from learning.parameters import weights_sha256
from learning.replay import replay
from testbench.errors import RunFolderError
from testbench.progress import ProgressWatcher
from testbench.run_folder import RunFolder
from testbench.runner import prepare


def replay_run(folder: RunFolder, console: Console) -> str:
    """Replay the journal of ``folder`` over its base model; returns the hash of the weights.

    Raises :class:`testbench.errors.RunFolderError` where the hash differs from the summary's.
    """
    scenario = folder.load_scenario()
    watcher = ProgressWatcher(console)
    _, build = prepare(scenario, watcher)
    objective = build()
    with Journal(folder.journal, read_only=True) as journal:
        rounds = len(journal)
        began = time.perf_counter()
        replay(objective.model, journal, progress=lambda done, total: watcher.preparing("replay", done, total))
        took_s = time.perf_counter() - began
    digest = weights_sha256(objective.model)
    console.print(f"{rounds} rounds replayed in {took_s:.2f} s; weights sha256 {digest}", markup=False, highlight=False)
    try:
        summary = json.loads(folder.summary.read_text())
        expected, expected_rounds = summary["weights_sha256"], summary["rounds"]
    except (OSError, ValueError, KeyError):
        console.print("the run has no summary yet, so there is no hash to compare with; finish it with --resume")
        return digest
    if expected_rounds != rounds:
        console.print(f"the summary is of {expected_rounds} rounds and the journal has {rounds}; finish the run with --resume")
        return digest
    if digest != expected:
        raise RunFolderError(
            f"the replayed weights differ from the run's: {digest} instead of {expected}; "
            "the journal, the base model or the summary was changed"
        )
    console.print("identical to the weights at the end of the run")
    return digest
