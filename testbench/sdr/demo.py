"""Fine-tune the embedded language model through a GNU Radio flowgraph."""

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bridge.errors import BridgeError
from testbench.errors import TestbenchError
from testbench.run_folder import RunFolder
from testbench.scenario import Scenario, load
from testbench.sdr.gnuradio import gnuradio_version

SCENARIO = "sdr-demo"


def sdr_scenario(
    rounds: int | None = None, overrides: Sequence[str] = (), delay: str | None = None, cfo: str | None = None
) -> Scenario:
    """The scenario that is run, with ``key=value`` overrides; delays from 0 to 1 sample, spread over devices.

    Raises :class:`testbench.errors.TestbenchError` where it would not pass the uplink flowgraph.
    """
    chosen = [*overrides, *([] if rounds is None else [f"federation.rounds={rounds}"])]
    scenario = load(SCENARIO, chosen)
    if scenario.stream.flowgraph != "uplink":
        raise TestbenchError("sdr demo runs through the uplink flowgraph; run others with: pairzero run sdr-demo --set ...")
    if any(text.startswith("stream.arguments") for text in overrides) and delay is None and cfo is None:
        return scenario
    devices = scenario.federation.devices
    delay = delay or ",".join(f"{k / max(1, devices - 1):g}" for k in range(devices))
    words = [f"--delay={delay}", *([] if cfo is None else [f"--cfo={cfo}"])]
    return load(SCENARIO, [*chosen, f"stream.arguments={json.dumps(words)}"])


def sdr_demo(
    console: Console,
    *,
    out: Path | None = None,
    rounds: int | None = None,
    overrides: Sequence[str] = (),
    delay: str | None = None,
    cfo: str | None = None,
    resume: bool = False,
) -> None:
    """Start the uplink flowgraph, fine-tune through it with a progress bar, and stop it.

    Raises the rooms' own errors, each one sentence.
    """
    scenario = sdr_scenario(rounds, overrides, delay, cfo)
    if resume and out is None:
        raise TestbenchError("--resume needs the run folder: add --out DIR")
    folder = RunFolder.default(scenario.name) if out is None else RunFolder(out)
    version = gnuradio_version()
    console.print(f"{scenario.name}: GNU Radio {version}, run folder {folder.path}", markup=False, highlight=False)
    # The heavy libraries load here, not before the first line is on the screen.
    from testbench.progress import ProgressWatcher
    from testbench.runner import run_scenario
    from testbench.show import show_result

    watcher = ProgressWatcher(console)
    again = f"pairzero run {folder.path} --resume"
    try:
        result = run_scenario(scenario, folder, resume=resume, watcher=watcher)
    except KeyboardInterrupt:
        watcher.finished()
        console.print(f"interrupted; continue with: {again}", markup=False, highlight=False)
        raise
    except BridgeError as error:
        if not folder.journal.is_file():
            raise
        raise TestbenchError(f"{error}; the run continues with: {again}") from error
    show_result(console, result)
