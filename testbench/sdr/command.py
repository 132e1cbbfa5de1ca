"""What ``pairzero sdr`` offers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from testbench.commands._options import ScenarioName, Sets, console

if TYPE_CHECKING:
    from testbench.sdr.endure import Endured

sdr = typer.Typer(name="sdr", help="GNU Radio in the loop.", no_args_is_help=True)


@sdr.callback()
def _group() -> None:
    """GNU Radio in the loop; see docs/sdr.md."""


@sdr.command()
def demo(
    out: Annotated[Path | None, typer.Option("--out", help="Run folder. Default: a new one under runs/.")] = None,
    rounds: Annotated[int | None, typer.Option("--rounds", min=1, help="Rounds of the fine-tuning. Default: 400.")] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="Override a setting: key=value, e.g. link.snr_max_db=10.")
    ] = None,
    delay: Annotated[
        str | None, typer.Option("--delay", help="Delays in samples, a,b,... per device. Default: spread over 0 .. 1.")
    ] = None,
    cfo: Annotated[str | None, typer.Option("--cfo", help="Carrier offsets in Hz, a,b,... per device.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the folder, where its journal ends.")] = False,
) -> None:
    """Fine-tune the embedded language model through a GNU Radio flowgraph, which is started and stopped."""
    from testbench.sdr.demo import sdr_demo

    sdr_demo(console(), out=out, rounds=rounds, overrides=sets or [], delay=delay, cfo=cfo, resume=resume)


@sdr.command()
def probe(
    scenario: ScenarioName,
    sets: Sets = None,
    slots: Annotated[int, typer.Option("--slots", min=0, max=1_000_000, help="Empty slots to send after the patterns.")] = 100,
) -> None:
    """Measure a signal path: latency, gain, phase, carrier offset and noise of each device, and the [stream] that fits."""
    from testbench.scenario import load
    from testbench.sdr.probe import probe as measure
    from testbench.sdr.probe import show_probe

    loaded = load(scenario, sets or [])
    show_probe(console(), loaded, measure(loaded, slots))


@sdr.command()
def endure(
    slots: Annotated[int, typer.Option("--slots", min=1, help="Slots to send.")] = 100_000,
    faults: Annotated[int, typer.Option("--faults", min=0, help="How often the flowgraph is frozen, slowed or killed.")] = 100,
    devices: Annotated[int, typer.Option("--devices", min=1, max=64, help="Streams into the flowgraph.")] = 3,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of samples and faults.")] = 0,
) -> None:
    """Freeze, slow and kill a flowgraph at random; exit code 1 where a slot returns as something else than was sent."""
    from testbench.sdr.endure import endure as torment
    from testbench.sdr.endure import show_endured

    said = [0]

    def tell(found: "Endured") -> None:
        if (share := found.done * 20 // slots) > said[0] and share < 20:
            said[0] = share
            show_endured(console(), found)

    found = torment(slots, faults, devices=devices, seed=seed, progress=tell)
    show_endured(console(), found)
    if found.wrong:
        raise typer.Exit(1)


@sdr.command()
def graphs() -> None:
    """List the flowgraphs that ship, with their files."""
    from testbench.sdr.gnuradio import flowgraphs

    for name, program in flowgraphs().items():
        companion = program.with_suffix(".grc")
        typer.echo(f"{name:12} {program}" + (f"  {companion}" if companion.is_file() else ""))


@sdr.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def start(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="uplink, passthrough, monitor, usrp or soapy.")],
) -> None:
    """Run a flowgraph that ships, with GNU Radio's Python, until Ctrl-C; its own arguments follow (--help shows them)."""
    from testbench.sdr.gnuradio import start_flowgraph

    raise typer.Exit(start_flowgraph(name, context.args))
