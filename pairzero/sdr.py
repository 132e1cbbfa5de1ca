"""``pairzero sdr ...``: GNU Radio in the loop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairzero.commands import PathLike, Settings, _console, overrides

__all__ = ["demo"]


def demo(
    out: PathLike | None = None,
    *,
    rounds: int | None = None,
    settings: Settings | None = None,
    delay: str | None = None,
    cfo: str | None = None,
    resume: bool = False,
) -> None:
    """Fine-tune the embedded language model through a GNU Radio flowgraph, which is started and stopped.

    :raises testbench.sdr.gnuradio.NoGnuRadio: there is none to start
    """
    from testbench.sdr.demo import sdr_demo

    sdr_demo(
        _console(quiet=True), out=None if out is None else Path(out), rounds=rounds, overrides=overrides(settings) or [],
        delay=delay, cfo=cfo, resume=resume,
    )  # fmt: skip


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        from pairzero._found import command

        return command("sdr", name)
