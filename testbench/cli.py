"""The command ``pairzero``."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from bridge.errors import BridgeError
from testbench.captures.command import app as captures
from testbench.errors import TestbenchError
from testbench.privacy.command import app as privacy
from testbench.sdr.command import sdr

app = typer.Typer(
    name="pairzero",
    help="Over-the-air federated zeroth-order fine-tuning over an emulated physical layer.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)
air = typer.Typer(help="The emulated air as a server of its own.", no_args_is_help=True)
app.add_typer(air, name="air")
app.add_typer(privacy, name="privacy")
app.add_typer(captures, name="capture")
app.add_typer(sdr)

Out = Annotated[Path | None, typer.Option("--out", help="Run folder. Default: a new one under runs/.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="Override a setting: key=value, e.g. link.snr_max_db=10.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the run in the folder, where its journal ends.")]


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors (anywhere on the line).")] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"pairzero {installed('pairzero')}")
        raise typer.Exit


@app.command()
def demo(out: Out = None, sets: Sets = None, resume: Resume = False) -> None:
    """Fine-tune the embedded language model over the air, on embedded data, in about a minute."""
    from testbench.scenario import SHIPPED

    _run(str(SHIPPED / "demo.toml"), sets, out, resume)


@app.command()
def run(
    scenario: Annotated[str, typer.Argument(help="A scenario file, or the name of a shipped one.")],
    sets: Sets = None,
    out: Out = None,
    resume: Resume = False,
) -> None:
    """Run a scenario: a model fine-tuned by K devices through the uplink that it describes."""
    _run(scenario, sets, out, resume)


def _run(source: str, sets: list[str] | None, out: Path | None, resume: bool) -> None:
    from testbench.run_folder import RunFolder
    from testbench.scenario import SHIPPED, find, load

    if resume and out is None:
        out = find(source).parent
        if out == SHIPPED:
            raise TestbenchError("--resume needs the run folder: add --out DIR, or give DIR as the scenario")
    scenario = load(source, sets)
    folder = RunFolder.default(scenario.name) if out is None else RunFolder(out)
    console = Console()
    console.print(f"{scenario.name}: run folder {folder.path}", markup=False, highlight=False)
    # The heavy libraries load here, not before the first line is on the screen.
    from testbench.progress import ProgressWatcher
    from testbench.runner import run_scenario
    from testbench.show import show_result

    watcher = ProgressWatcher(console)
    try:
        result = run_scenario(scenario, folder, resume=resume, watcher=watcher)
    except KeyboardInterrupt:
        watcher.finished()
        console.print(f"interrupted; continue with: pairzero run {folder.path} --resume", markup=False, highlight=False)
        raise
    except BridgeError as error:
        if not folder.journal.is_file():
            raise
        raise TestbenchError(f"{error}; the run continues with: pairzero run {folder.path} --resume") from error
    show_result(console, result)


@app.command()
def replay(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
) -> None:
    """Rebuild a run's weights from its journal alone and compare their hash with the run's."""
    from testbench.replaying import replay_run
    from testbench.run_folder import RunFolder

    replay_run(RunFolder.existing(folder), Console())


@app.command()
def scenarios() -> None:
    """List the scenarios that come with the project."""
    from testbench.scenario import SHIPPED, shipped

    for name in shipped():
        first = (SHIPPED / f"{name}.toml").read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        typer.echo(f"{name:20} {first}")


@app.command()
def stress(
    plan: Annotated[
        str | None, typer.Argument(help="A plan file, or a stress test's folder. Default: the shipped plan.")
    ] = None,
    axis: Annotated[
        list[str] | None,
        typer.Option("--axis", help="Sweep only this, e.g. timing=0..2us:25, cfo=0..500Hz:25, phase=0..180deg:13."),
    ] = None,
    preset: Annotated[list[str] | None, typer.Option("--preset", help="Only this hardware; see --list-presets.")] = None,
    contestant: Annotated[list[str] | None, typer.Option("--contestant", help="Only this scheme of the plan.")] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="Override a setting: key=value, e.g. link.snr_max_db=10.")
    ] = None,
    accuracy: Annotated[bool, typer.Option("--accuracy", help="Also fine-tune at a few points, as [accuracy] says.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="The same plan, small: a first look within seconds.")] = False,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes; default: one per core.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Output folder. Default: a new one under runs/.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the test in the folder, repeating nothing.")] = False,
    list_presets: Annotated[bool, typer.Option("--list-presets", help="List hardware with the source of each figure.")] = False,
) -> None:
    """Break synchronisation on purpose: errors of every scheme over timing, frequency, phase and protocol faults."""
    from testbench.stress import command

    if list_presets:
        command.list_presets(Console())
        return
    command.stress(
        Console(), plan, out=out, resume=resume, workers=workers, overrides=sets or [], axes=axis or [], presets=preset or [],
        contestants=contestant or [], accuracy=accuracy, quick=quick,
    )  # fmt: skip


@app.command()
def bench(
    select: Annotated[str | None, typer.Option("-k", help="Only benchmarks whose name contains this.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also keep pytest-benchmark's JSON here.")] = None,
) -> None:
    """Measure speed and memory as ratios, each against its reference in the same run."""
    from testbench.benching import run_benchmarks

    raise typer.Exit(run_benchmarks(Console(), select, json_file))


@air.command("serve")
def air_serve(
    bind: Annotated[str, typer.Option("--bind", help="ipc:///path or tcp://127.0.0.1:PORT; port 0 takes a free one.")],
    key_dir: Annotated[
        Path | None, typer.Option("--key-dir", help="CURVE key folder; needed for addresses that other machines can reach.")
    ] = None,
    allow_part: Annotated[
        list[str] | None, typer.Option("--allow-part", help="A class module:Class that clients may name in a link.")
    ] = None,
    backend: Annotated[
        Literal["sionna", "tensorflow", "numpy"],
        typer.Option("--backend", help="What computes the channel: Sionna 2 on PyTorch, Sionna 1.x on TensorFlow, or numpy."),
    ] = "sionna",
) -> None:
    """Serve the emulated air until interrupted; many clients at once."""
    import os

    from bridge.environments import backend_python, python_environment
    from bridge.serve import serve

    keys, parts = None if key_dir is None else str(key_dir), allow_part or []
    python = backend_python(backend)
    if python == sys.executable:
        serve(bind, key_dir=keys, parts=parts, backend=backend)
        return
    arguments = ["-P", "-m", "bridge.serve", "--bind", bind, "--backend", backend]
    arguments += [] if keys is None else ["--key-dir", keys]
    arguments += [word for part in parts for word in ("--allow-part", part)]
    # The same process goes on in the other environment: signals and exit codes need no relay.
    os.execve(python, [python, *arguments], python_environment(python))


@air.command("keys")
def air_keys(
    folder: Annotated[Path, typer.Argument(help="New folder for the keys.")],
) -> None:
    """Make CURVE keys for an air server that other machines may reach."""
    from bridge.keys import generate_keys

    generate_keys(str(folder))
    typer.echo(f"keys are in {folder}; keep the secret ones secret, see docs/protocol.md")


def main() -> None:
    """Run the command line: errors become one sentence on standard error and a non-zero exit code."""
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        app(args=arguments, prog_name="pairzero")
    except Exception as error:
        if debug:
            raise
        if isinstance(error, _expected()):
            _fail(str(error))
        _fail(f"internal error: {type(error).__name__}: {error}; run again with --debug for the traceback, and report it")


def _expected() -> tuple[type[Exception], ...]:
    from learning.errors import LearningError
    from phy.errors import PhyError

    return (TestbenchError, BridgeError, LearningError, PhyError)


def _fail(sentence: str) -> None:
    print(f"pairzero: {sentence}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    main()
