"""``pairzero memory``."""

from pathlib import Path
from typing import Annotated

import typer

from testbench.commands._options import Sets, console


def command(
    scenario: Annotated[
        str | None, typer.Argument(help="A scenario whose model is measured. Default: OPT-125M's shape, random weights.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", help="opt-125m, opt-350m, opt-1.3b, embedded, a folder; may be repeated.")
    ] = None,
    methods: Annotated[str | None, typer.Option("--methods", help="Only these, e.g. engine,adam. Default: all.")] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, help="Examples per step. Default: 16, or as the scenario.")
    ] = None,
    tokens: Annotated[str | None, typer.Option("--tokens", help="Tokens per example, e.g. 64,256. Default: 64.")] = None,
    device: Annotated[str | None, typer.Option("--device", help="torch device, e.g. cuda. Default: cpu.")] = None,
    sets: Sets = None,
    out: Annotated[Path | None, typer.Option("--out", help="Output folder. Default: a new one under runs/.")] = None,
) -> None:
    """Measure the peak memory of methods, beside the paper's sums.

    Each in a process of its own: inference, this engine, MeZO as published, SGD, Adam, LoRA.
    """
    from testbench.footprint.command import memory

    memory(
        console(), scenario, models=model or [], chosen=methods, batch=batch, tokens=tokens, device=device,
        overrides=sets or [], out=out,
    )  # fmt: skip
