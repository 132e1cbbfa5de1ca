"""How a stream endures: a flowgraph is frozen, slowed, killed and restarted at random, and every slot is held against its sum.

The flowgraph is the shipped uplink, which adds its branches. It is run as somebody else's: at addresses that are known, started
and stopped from outside.
"""

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console

from bridge.streams.config import StreamConfig
from bridge.streams.flowgraph import clean_environment
from bridge.streams.session import StreamSession
from testbench.sdr.gnuradio import flowgraph_command

__all__ = ["FAULTS", "Endured", "endure", "show_endured"]

SLOT_SAMPLES = 1024
FAULTS = ("frozen", "slowed", "killed")
# Largest error of a sum of float32 samples of variance 2 that is called right.
_RIGHT = 1e-4
_GIVE_UP_AFTER = 20


@dataclass
class Endured:
    """What became of the slots. ``wrong``: those that returned as something else than the sum of what was sent."""

    slots: int
    right: int = 0
    lost: int = 0
    wrong: list[int] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FAULTS, 0))
    wall_s: float = 0.0

    @property
    def done(self) -> int:
        """Slots so far."""
        return self.right + self.lost + len(self.wrong)


class _Victim:
    """A flowgraph's process, and what is done to it. One fault at a time; all of it ends with `close`."""

    def __init__(self, arguments: list[str], rng: np.random.Generator) -> None:
        self._command, self._rng = [*flowgraph_command("uplink"), *arguments], rng
        self._child = self._start()
        self._fault: threading.Thread | None = None

    def _start(self) -> "subprocess.Popen[bytes]":
        quiet = subprocess.DEVNULL
        # It ends where its input does: a pipe that nobody else holds.
        return subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, env=clean_environment())

    def strike(self) -> str | None:
        """Begin a fault up to 2 ms from now and return its name; None while another lasts."""
        if self._fault is not None and self._fault.is_alive():
            return None
        name = FAULTS[int(self._rng.integers(len(FAULTS)))]
        length_s = float(self._rng.choice([0.05, 0.3, 1.2, 2.5])) * float(self._rng.uniform(0.5, 1.5))
        self._fault = threading.Thread(target=self._act, args=(name, float(self._rng.uniform(0, 2e-3)), length_s), daemon=True)
        self._fault.start()
        return name

    def _act(self, name: str, wait_s: float, length_s: float) -> None:
        time.sleep(wait_s)
        if name == "killed":
            self._child.kill()
            self._child.wait()
            time.sleep(length_s / 2)
            self._child = self._start()
            return
        until = time.monotonic() + length_s
        stop_s = length_s if name == "frozen" else 0.03
        while time.monotonic() < until:
            self._child.send_signal(signal.SIGSTOP)
            time.sleep(stop_s)
            self._child.send_signal(signal.SIGCONT)
            time.sleep(0.003)

    def close(self) -> None:
        if self._fault is not None:
            self._fault.join()
        self._child.kill()
        self._child.wait()


def endure(
    slots: int, faults: int, *, devices: int = 3, seed: int = 0, progress: Callable[[Endured], None] | None = None
) -> Endured:
    """Send `slots` slots of random samples while about `faults` faults strike at random.

    Raises :class:`bridge.streams.errors.StreamError` where the stream gives up, and
    :class:`testbench.sdr.gnuradio.NoGnuRadio`.
    """
    rng = np.random.default_rng(seed)
    found = Endured(slots)
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="pairzero-endure-"))
        send = tuple(f"ipc://{Path(folder) / f'up{k}'}" for k in range(devices))
        receive = (f"ipc://{Path(folder) / 'down'}",)
        os.chmod(folder, 0o700)
        words = [word for address in send for word in ("--uplink", address)]
        victim = _Victim([*words, "--received", receive[0]], rng)
        stack.callback(victim.close)
        config = StreamConfig(send=send, receive=receive, deadline_s=0.5, give_up_after=_GIVE_UP_AFTER)
        session = StreamSession(config)
        stack.callback(session.close)
        session.open(devices)
        struck = set(rng.choice(slots, size=min(faults, slots), replace=False).tolist())
        due = 0
        for number in range(slots):
            due += number in struck
            if due and (name := victim.strike()) is not None:
                found.faults[name] += 1
                due -= 1
            sent = _bursts(rng, devices)
            received = session.slot(sent, number)
            if received is None:
                found.lost += 1
            elif np.abs(received[0] - sent.sum(axis=0)).max() < _RIGHT:
                found.right += 1
            else:
                found.wrong.append(number)
            if progress is not None:
                found.wall_s = time.monotonic() - began
                progress(found)
    found.wall_s = time.monotonic() - began
    return found


def _bursts(rng: np.random.Generator, devices: int) -> np.ndarray[tuple[int, int], np.dtype[np.complex64]]:
    return rng.standard_normal((devices, 2 * SLOT_SAMPLES), np.float32).view(np.complex64)


def show_endured(console: Console, found: Endured) -> None:
    """Print what became of the slots so far, in a line."""
    faults = ", ".join(f"{count} x {name}" for name, count in found.faults.items())
    console.print(
        f"{found.done} of {found.slots} slots in {found.wall_s:.0f} s: {found.right} right, {found.lost} lost and said so, "
        f"{len(found.wrong)} wrong{f', the first {found.wrong[0]}' if found.wrong else ''} ({faults})",
        highlight=False,
        soft_wrap=True,
    )
