"""Fine-tune the embedded language model through a GNU Radio flowgraph."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from bridge.errors import BridgeError
from bridge.stream_air import SETTINGS_VARIABLE
from testbench.errors import TestbenchError
from testbench.run_folder import RunFolder
from testbench.scenario import Scenario, load
from testbench.sdr.gnuradio import flowgraph_command, gnuradio_version, stream_toml

AIR = "bridge.stream_air:Part"
# The demonstration of the emulated air, as a waveform through the stream. Devices know their channels; the sender plays them;
# the flowgraph adds the devices' delays and carriers, their sum, and noise.
_SETTINGS = (
    "name=sdr-demo",
    "link.fidelity=waveform",
    f"link.burst.air={AIR}",
    "link.csi.estimator=perfect",
    "federation.rounds=400",
    "evaluation.noise_free=false",
)


def sdr_scenario(rounds: int | None = None, overrides: Sequence[str] = ()) -> Scenario:
    """The scenario that is run, with ``key=value`` overrides. Raises :class:`testbench.errors.ScenarioError`."""
    chosen = [] if rounds is None else [f"federation.rounds={rounds}"]
    scenario = load("demo", [*_SETTINGS, *chosen, *overrides])
    if scenario.link.fidelity != "waveform" or scenario.link.burst.air != AIR:
        raise TestbenchError("sdr demo runs through a flowgraph: leave link.fidelity and link.burst.air as they are")
    return scenario


def uplink_command(scenario: Scenario, delay: str | None = None, cfo: str = "0") -> tuple[str, ...]:
    """The flowgraph's command: by default delays from 0 to 1 sample, spread over devices; noise as the link states it."""
    devices = scenario.federation.devices
    delay = delay or ",".join(f"{k / max(1, devices - 1):g}" for k in range(devices))
    link = scenario.link
    return flowgraph_command(
        "uplink", f"--rate={link.burst.sample_rate_hz!r}", f"--delay={delay}", f"--cfo={cfo}", f"--noise-power={link.n0!r}",
        f"--seed={1 + scenario.seed % (1 << 30)}",
    )  # fmt: skip


@contextmanager
def stream_settings(text: str) -> Iterator[Path]:
    """A file with stream settings, named in the environment for air servers that are started meanwhile."""
    before = os.environ.get(SETTINGS_VARIABLE)
    with tempfile.TemporaryDirectory(prefix="pairzero-stream-") as folder:
        path = Path(folder) / "stream.toml"
        path.write_text(text, encoding="utf-8")
        os.environ[SETTINGS_VARIABLE] = str(path)
        try:
            yield path
        finally:
            if before is None:
                del os.environ[SETTINGS_VARIABLE]
            else:
                os.environ[SETTINGS_VARIABLE] = before


def sdr_demo(
    console: Console,
    *,
    out: Path | None = None,
    rounds: int | None = None,
    overrides: Sequence[str] = (),
    delay: str | None = None,
    cfo: str = "0",
    resume: bool = False,
) -> None:
    """Start the uplink flowgraph, fine-tune through it with a progress bar, and stop it.

    The run folder also gets ``stream.toml``, the settings of the stream. Raises the rooms' own errors, each one sentence.
    """
    scenario = sdr_scenario(rounds, overrides)
    if resume and out is None:
        raise TestbenchError("--resume needs the run folder: add --out DIR")
    folder = RunFolder.default(scenario.name) if out is None else RunFolder(out)
    version = gnuradio_version()
    settings = stream_toml(uplink_command(scenario, delay, cfo))
    console.print(f"{scenario.name}: GNU Radio {version}, run folder {folder.path}", markup=False, highlight=False)
    # The heavy libraries load here, not before the first line is on the screen.
    from testbench.progress import ProgressWatcher
    from testbench.runner import run_scenario
    from testbench.show import show_result

    watcher = ProgressWatcher(console)
    again = f"pairzero sdr demo --out {folder.path} --resume"
    with stream_settings(settings):
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
        finally:
            if folder.path.is_dir():
                (folder.path / "stream.toml").write_text(settings, encoding="utf-8")
    show_result(console, result)
