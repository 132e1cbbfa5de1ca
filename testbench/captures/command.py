"""The commands ``pairzero capture ...``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from testbench.commands._options import console as terminal

if TYPE_CHECKING:
    from rich.console import Console

    from bridge.captures.opening import Stated
    from testbench.captures.capture import Capture

app = typer.Typer(help="Record the air as SigMF, replay it, add it to a run, sound it.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(help="A SigMF collection or recording, a capture's folder, or a raw recording.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="Override a setting: key=value, e.g. link.snr_max_db=10.")]
Format = Annotated[str | None, typer.Option("--format", help="Raw recordings: cf32, sc16, cs8, cu8, wav, ...")]
Rate = Annotated[float | None, typer.Option("--sample-rate", help="Raw recordings: sample rate in Hz; others: checked.")]
Scale = Annotated[float, typer.Option("--scale", help="Factor on the samples; integers are at full scale 1.")]
Channels = Annotated[
    int | None, typer.Option("--channels", min=1, help="Raw recordings and WAV: interleaved complex channels; default: one.")
]
Segment = Annotated[
    int | None,
    typer.Option("--capture", min=0, help="SigMF: the capture segment to read, where there are retunes or gaps."),
]
Source = Annotated[str | None, typer.Option("--scenario", help="Recordings made by others: the scenario of the link.")]
Devices = Annotated[int | None, typer.Option("--devices", min=1, help="With --scenario: devices K; default: the scenario's.")]
FirstRound = Annotated[int, typer.Option("--first-round", min=0, help="With --scenario: round of the first slot.")]
Start = Annotated[int, typer.Option("--start", min=0, help="With --scenario: sample at which the first slot begins.")]
Resample = Annotated[bool, typer.Option("--resample", help="Bring the recording to the link's sample rate.")]
Allow = Annotated[list[str] | None, typer.Option("--allow-part", help="A class module:Class that the capture may name.")]


@app.command()
def record(
    scenario: Annotated[str, typer.Argument(help="A scenario, or a run folder, of fidelity waveform.")],
    out: Annotated[Path, typer.Option("--out", help="New folder for the recordings.")],
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Rounds to record, from the first.")] = 10,
    sets: Sets = None,
) -> None:
    """Record what devices send and antennas receive, one SigMF recording each, with an annotation per slot."""
    from testbench.captures.recorder import record as run
    from testbench.progress import ProgressWatcher
    from testbench.run_folder import RunFolder
    from testbench.scenario import load

    console = terminal()
    given = Path(scenario)
    same_run = RunFolder(given) if given.is_dir() and not sets else None
    path = run(load(scenario, sets), rounds, out, ProgressWatcher(console), same_run)
    size = sum(file.stat().st_size for file in out.iterdir())
    _say(console, f"{path}: {size / 1e6:.2f} MB; check with: pairzero capture replay {path}")


@app.command()
def info(
    file: File, fmt: Format = None, rate: Rate = None, scale: Scale = 1.0, channels: Channels = None, segment: Segment = None
) -> None:
    """Say what a capture holds, and check every hash."""
    from bridge.captures.opening import Stated
    from testbench.captures.show import describe

    console = terminal()
    for line in describe(file, Stated(fmt, rate, scale, channels, segment)):
        _say(console, line)


@app.command()
def replay(
    file: File,
    fmt: Format = None,
    rate: Rate = None,
    scale: Scale = 1.0,
    channels: Channels = None,
    segment: Segment = None,
    scenario: Source = None,
    sets: Sets = None,
    devices: Devices = None,
    first_round: FirstRound = 0,
    start: Start = 0,
    resample: Resample = False,
    allow: Allow = None,
    show: Annotated[int, typer.Option("--show", min=0, help="Rounds to print.")] = 20,
) -> None:
    """Feed a capture through the receiver and the scheme's decision. Open loop: it answers what was sent then."""
    from bridge.captures.opening import Stated
    from testbench.captures.playback import Playback
    from testbench.captures.show import show_replay

    stated = Stated(fmt, rate, scale, channels, segment)
    doubted: list[str] = []
    capture = _capture(file, stated, scenario, sets, devices, first_round, start, resample, allow, doubted)
    show_replay(terminal(), capture, Playback(capture).replay(), show, doubted)


@app.command()
def overlay(
    scenario: Annotated[str, typer.Argument(help="A scenario of fidelity waveform over the emulated air.")],
    file: Annotated[Path, typer.Argument(help="The recording to add: SigMF, or raw with --format and --sample-rate.")],
    level: Annotated[float, typer.Option("--level-db", help="Mean power of the recording over the reference, in dB.")],
    reference: Annotated[str, typer.Option("--relative-to", help="n0 or received.")] = "n0",
    position: Annotated[str, typer.Option("--position", help="random or sequential.")] = "random",
    antennas: Annotated[str, typer.Option("--antennas", help="same or independent.")] = "independent",
    rounds: Annotated[int | None, typer.Option("--rounds", min=1, help="Rounds; default: the scenario's.")] = None,
    fmt: Format = None,
    rate: Rate = None,
    channels: Channels = None,
    segment: Segment = None,
    resample: Resample = False,
    sets: Sets = None,
) -> None:
    """Fine-tune with a recording added as interference or noise, beside the same rounds without it."""
    from pydantic import ValidationError

    from bridge.captures.overlay import OverlayConfig
    from testbench.captures.overlaying import run_overlaid
    from testbench.captures.show import show_comparison
    from testbench.errors import TestbenchError
    from testbench.progress import ProgressWatcher
    from testbench.scenario import load

    chosen = {"file": file, "level_db": level, "relative_to": reference, "position": position, "antennas": antennas}
    try:
        settings = OverlayConfig.model_validate(
            {**chosen, "format": fmt, "sample_rate_hz": rate, "channels": channels, "capture": segment, "resample": resample}
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise TestbenchError(f"--{str(first['loc'][0]).replace('_', '-')}: {first['msg']}, got {first['input']!r}") from None
    console = terminal()
    show_comparison(console, run_overlaid(load(scenario, sets), settings, rounds, ProgressWatcher(console)), settings)


@app.command()
def sound(
    file: File,
    out: Annotated[Path, typer.Option("--out", help="The HDF5 file to write.")],
    taps: Annotated[int, typer.Option("--taps", min=1, max=256, help="Taps, a sample apart; 1: a flat channel.")] = 8,
    unit_gain: Annotated[bool, typer.Option("--unit-gain", help="Scale to a mean gain of 1 and note the factor.")] = False,
    fmt: Format = None,
    rate: Rate = None,
    scale: Scale = 1.0,
    channels: Channels = None,
    segment: Segment = None,
    scenario: Source = None,
    sets: Sets = None,
    devices: Devices = None,
    first_round: FirstRound = 0,
    start: Start = 0,
    resample: Resample = False,
    allow: Allow = None,
) -> None:
    """Estimate taps, timing, carrier offset, gain and noise of every device and slot, and keep them as HDF5."""
    from bridge.captures.opening import Stated
    from testbench.captures.estimating import sound as estimate
    from testbench.captures.show import show_sounding

    stated = Stated(fmt, rate, scale, channels, segment)
    capture = _capture(file, stated, scenario, sets, devices, first_round, start, resample, allow)
    measured = estimate(capture, taps)
    measured = measured.scaled_to_unit_gain() if unit_gain else measured
    show_sounding(terminal(), measured, measured.save(out))


@app.command("import")
def import_(
    kind: Annotated[str, typer.Argument(help="deepmimo, colosseum, dichasus, intel5300 or matrix.")],
    file: Annotated[
        Path,
        typer.Argument(
            help="DeepMIMO: .npz, .mat or folder; Colosseum: .mat; DICHASUS: .tfrecords; Intel 5300: .dat; "
            "matrix: .npy, .npz, .mat."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="The HDF5 file to write.")],
    rate: Annotated[
        float,
        typer.Option("--sample-rate", min=1e-9, help="Sample rate in Hz to note; DICHASUS and Intel 5300: the bandwidth."),
    ],
    nodes: Annotated[
        list[int] | None,
        typer.Option("--node", help="A user (DeepMIMO), node (Colosseum) or antenna (DICHASUS, Intel 5300) as device."),
    ] = None,
    receiver: Annotated[int | None, typer.Option("--receiver", min=0, help="Colosseum: the node that receives; 0.")] = None,
    step: Annotated[
        float | None, typer.Option("--step-s", help="Colosseum (1e-3), matrix: distance of two instants in s.")
    ] = None,
    unit: Annotated[
        float | None, typer.Option("--delay-unit-s", help="Colosseum: what a delay of 1 is, in s (1; indices: 1e-8).")
    ] = None,
    records: Annotated[
        int | None, typer.Option("--records", min=1, help="DICHASUS (100), Intel 5300 (all): how many records.")
    ] = None,
    every: Annotated[int | None, typer.Option("--every", min=1, help="DICHASUS, Intel 5300: take each n-th record.")] = None,
    first: Annotated[int | None, typer.Option("--first", min=0, help="DICHASUS, Intel 5300: the first record.")] = None,
    positions: Annotated[
        int | None,
        typer.Option(
            "--positions", min=1, help="DICHASUS, Intel 5300: positions as devices; --node are the server's antennas."
        ),
    ] = None,
    taps: Annotated[
        int | None, typer.Option("--taps", min=1, max=1024, help="DICHASUS (32), Intel 5300 (8): taps that are kept.")
    ] = None,
    offsets: Annotated[Path | None, typer.Option("--offsets", help="DICHASUS: the data set's reftx-offsets file.")] = None,
    transposed: Annotated[
        bool | None, typer.Option("--transposed", help="DICHASUS: csi is [subcarriers, antennas, 2].", show_default=False)
    ] = None,
    axes: Annotated[
        str | None, typer.Option("--axes", help="Matrix: its axes in order, of time, antenna, device, tap: time,device.")
    ] = None,
    variable: Annotated[str | None, typer.Option("--variable", help="Matrix: the array, where the file has several.")] = None,
) -> None:
    """Turn channels of DeepMIMO, Colosseum, DICHASUS, an Intel 5300 or a matrix into a sounding that a run can play."""
    from testbench.captures.importing import import_channels
    from testbench.captures.show import show_sounding

    named = None if axes is None else tuple(axis.strip() for axis in axes.split(","))
    options = {
        "node": nodes, "receiver": receiver, "step-s": step, "delay-unit-s": unit, "records": records, "every": every,
        "first": first, "positions": positions, "taps": taps, "offsets": offsets, "transposed": transposed, "axes": named,
        "variable": variable,
    }  # fmt: skip
    imported = import_channels(kind, file, rate, options)
    show_sounding(terminal(), imported, imported.save(out))


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="A sounding (HDF5).")],
    out: Annotated[Path, typer.Option("--out", help="Folder for config.json and cirs.bin.")],
    device: Annotated[int, typer.Option("--device", min=0)] = 0,
    antenna: Annotated[int, typer.Option("--antenna", min=0)] = 0,
    rate: Annotated[
        float | None, typer.Option("--sample-rate", min=1e-9, help="The emulator's, in Hz; default: the file's.")
    ] = None,
) -> None:
    """Write one device's channel for the channel emulator of the Sionna Research Kit."""
    from bridge.captures.sionna_rk import export_sionna_rk
    from bridge.captures.sounding import Sounding

    folder = export_sionna_rk(Sounding.load(file), out, device=device, antenna=antenna, sample_rate_hz=rate)
    _say(terminal(), f"{folder}: config.json and cirs.bin")


@app.command()
def find(
    file: File,
    scenario: Annotated[str, typer.Option("--scenario", help="The scenario of the link whose bursts are looked for.")],
    fmt: Format = None,
    rate: Rate = None,
    scale: Scale = 1.0,
    channels: Channels = None,
    segment: Segment = None,
    sets: Sets = None,
    devices: Devices = None,
    resample: Resample = False,
    show: Annotated[int, typer.Option("--show", min=0, help="Bursts to print.")] = 20,
) -> None:
    """Look for the bursts of a link in a long recording, and say where a replay has to start."""
    from bridge.captures.opening import Stated, open_any
    from bridge.captures.resampling import resampled
    from testbench.captures.capture import find_capture
    from testbench.captures.finding import find_bursts
    from testbench.captures.show import show_bursts
    from testbench.scenario import load

    loaded = load(scenario, sets)
    recording = open_any(find_capture(file), Stated(fmt, rate, scale, channels, segment))
    own_rate = recording.sample_rate_hz
    if resample:
        recording = resampled(recording, loaded.link.burst.sample_rate_hz)
    count = loaded.federation.devices if devices is None else devices
    show_bursts(terminal(), recording, own_rate, find_bursts(recording, loaded.link, loaded.seed, count), show)


def _capture(
    file: Path, stated: "Stated", source: str | None, sets: list[str] | None,
    devices: int | None, first_round: int, start: int, resample: bool, allow: list[str] | None,
    doubted: list[str] | None = None,
) -> "Capture":  # fmt: skip
    """The capture that a command's options describe; ``doubted`` takes doubts of how its samples were read."""
    from bridge.captures.opening import Stated, open_any
    from bridge.captures.resampling import resampled
    from testbench.captures.airs import silent_air, waveform_link
    from testbench.captures.capture import cut_capture, find_capture, load_capture
    from testbench.captures.doubts import doubts_of_integers
    from testbench.errors import TestbenchError
    from testbench.scenario import load

    path = find_capture(file)
    if source is None:
        if stated.format is not None or stated.sample_rate_hz is not None:
            raise TestbenchError(f"{file} does not say how its slots were sent; add --scenario, the scenario of the link")
        if stated != Stated() or sets or devices is not None or first_round or start or resample:
            raise TestbenchError(
                "--scale, --channels, --capture, --set, --devices, --first-round, --start and --resample are for recordings of "
                "others; add --scenario"
            )
        if ".sigmf" not in path.name and path.exists():
            raise TestbenchError(f"{file} does not say what it holds; state --format, --sample-rate and --scenario")
        return load_capture(path, allow or [])
    loaded = load(source, sets)
    recording = open_any(path, stated)
    if doubted is not None:
        doubted.extend(doubts_of_integers(recording, stated.scale))
    if resample:
        wanted = loaded.link.burst.sample_rate_hz
        start = round(start * wanted / recording.sample_rate_hz)
        recording = resampled(recording, wanted)
    count = loaded.federation.devices if devices is None else devices
    samples = waveform_link(loaded.link, loaded.seed, silent_air).layout(count, 1).slot_samples
    return cut_capture(recording, loaded.link, loaded.seed, samples, count, first_round, start)


def _say(console: "Console", text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
