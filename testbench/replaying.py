"""Rebuild a run's weights from its journal and prove that they are the same."""

import json
import time

from rich.console import Console

from learning.journal import Journal
from learning.objective import Objective
from learning.parameters import weights_sha256
from learning.replay import replay
from testbench.errors import RunFolderError
from testbench.progress import ProgressWatcher
from testbench.run_folder import RunFolder
from testbench.runner import prepare


def replay_run(folder: RunFolder, console: Console) -> str:
    """Replay the journal of ``folder`` over its base model; returns the hash of the weights.

    Raises :class:`testbench.errors.RunFolderError` where the hash differs from the summary's, or there is none to compare with.
    """
    _, digest = rebuild(folder, console)
    return digest


def rebuild(folder: RunFolder, console: Console) -> tuple[Objective, str]:
    """The fine-tuned model of ``folder``, rebuilt and compared with its summary, and the hash of its weights; see above."""
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
    console.print(
        f"{rounds} rounds replayed in {took_s:.2f} s; weights sha256 {digest}", markup=False, highlight=False, soft_wrap=True
    )
    try:
        summary = json.loads(folder.summary.read_text())
        expected, expected_rounds = summary["weights_sha256"], summary["rounds"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(
            f"{folder.path} has no summary with a hash to compare with; finish it with: pairzero run {folder.path} --resume"
        ) from error
    if expected_rounds != rounds:
        raise RunFolderError(
            f"the summary of {folder.path} is of {expected_rounds} rounds and its journal has {rounds}; "
            f"finish it with: pairzero run {folder.path} --resume"
        )
    if digest != expected:
        raise RunFolderError(
            f"the replayed weights differ from the run's: {digest} instead of {expected}; "
            "the journal, the base model or the summary was changed"
        )
    console.print("identical to the weights at the end of the run")
    return objective, digest
