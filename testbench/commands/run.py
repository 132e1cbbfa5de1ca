"""``pairzero run``."""

from pathlib import Path

from testbench.commands._options import Out, Resume, ScenarioName, Sets, Strict, console, strictly


def command(
    scenario: ScenarioName,
    sets: Sets = None,
    out: Out = None,
    resume: Resume = False,
    strict: Strict = False,
) -> None:
    """Run a scenario: K devices fine-tune a model through its uplink."""
    run(scenario, [*(sets or []), *strictly(strict)], out, resume)


def run(source: str, sets: list[str] | None, out: Path | None, resume: bool) -> None:
    """Run the scenario ``source`` with a progress bar, and show its result."""
    from bridge.errors import BridgeError
    from testbench.errors import TestbenchError
    from testbench.run_folder import RunFolder
    from testbench.scenario import SHIPPED, find, load

    if resume and out is None:
        out = find(source).parent
        if out == SHIPPED:
            raise TestbenchError("--resume needs the run folder: add --out DIR, or give DIR as the scenario")
    scenario = load(source, sets)
    folder = RunFolder.default(scenario.name) if out is None else RunFolder(out)
    screen = console()
    screen.print(f"{scenario.name}: run folder {folder.path}", markup=False, highlight=False)
    # The heavy libraries load here, not before the first line is on the screen.
    from testbench.progress import ProgressWatcher
    from testbench.runner import run_scenario
    from testbench.show import show_result

    watcher = ProgressWatcher(screen)
    try:
        result = run_scenario(scenario, folder, resume=resume, watcher=watcher)
    except KeyboardInterrupt:
        watcher.finished()
        screen.print(f"interrupted; continue with: pairzero run {folder.path} --resume", markup=False, highlight=False)
        raise
    except BridgeError as error:
        if not folder.journal.is_file():
            raise
        raise TestbenchError(f"{error}; the run continues with: pairzero run {folder.path} --resume") from error
    show_result(screen, result)
