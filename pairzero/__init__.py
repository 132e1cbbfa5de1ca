"""pairzero from Python: everything that the command line does, under the same names.

A command ``pairzero NAME`` is a function ``pairzero.NAME``, and ``pairzero GROUP NAME`` a function ``pairzero.GROUP.NAME``; a
dash reads as an underscore. Options keep their names, but for ``--set``, which is ``settings``: a mapping of dotted keys to
values, or the list of ``key=value`` of the command line. Functions return what the command would have printed; with
``progress=True`` they also draw its bars. A command that is not listed here is there all the same, as the function that the
command line calls: it prints, and returns nothing. What they raise is one sentence, of the class
:class:`testbench.errors.TestbenchError` or the rooms' own (``bridge.errors``, ``learning.errors``, ``phy.errors``). Importing
this package loads nothing heavy.

>>> import pairzero
>>> scenario = pairzero.load("demo", {"federation.rounds": 2, "uplink.transport": "inproc", "evaluation.noise_free": False})
>>> result = pairzero.run(scenario, out="runs/first")
>>> result.summary["rounds"], result.summary["lost_rounds"]
(2, 0)
>>> pairzero.replay("runs/first") == result.summary["weights_sha256"]
True

The rooms themselves are packages of their own: :mod:`phy`, :mod:`learning`, :mod:`bridge`, :mod:`testbench`.
"""

from typing import TYPE_CHECKING, Any

from pairzero import air, capture, device, fleet, privacy, sdr
from pairzero.commands import (
    Settings,
    bench,
    demo,
    differences,
    doctor,
    export,
    init,
    load,
    read,
    replay,
    report,
    resume,
    run,
    scenarios,
    stress,
    sweep,
)
from pairzero.experiments import compare, figure, memory

__all__ = [
    "Settings",
    "air",
    "bench",
    "capture",
    "compare",
    "demo",
    "device",
    "differences",
    "doctor",
    "export",
    "figure",
    "fleet",
    "init",
    "load",
    "memory",
    "privacy",
    "read",
    "replay",
    "report",
    "resume",
    "run",
    "scenarios",
    "sdr",
    "stress",
    "sweep",
]

if not TYPE_CHECKING:  # to a type checker, a name that is not listed is an error

    def __getattr__(name: str) -> Any:
        from pairzero._found import command

        return command("", name)
