"""What the command line shows of many pieces of work: a live bar with the time left on a terminal, plain lines elsewhere."""

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

_LINE_EVERY_S = 5.0


class Observer:
    """Who looks on. This one is silent; the command line's draws a bar."""

    def started(self, units: int, done: int, weight: float, done_weight: float, where: str) -> None:
        """Work begins, or continues after ``done`` of ``units``; ``where`` it is done, in words."""

    def grew(self, units: int, weight: float) -> None:
        """So many more units, of this weight together, turned out to be wanted."""

    def advanced(self, weight: float) -> None:
        """One more unit, of this weight, is committed."""

    def said(self, text: str) -> None:
        """A line worth reading."""

    def finished(self) -> None:
        """The work is through, or was cut off."""


def processes(count: int) -> str:
    """So many processes, in words."""
    return f"{count} process{'es' if count > 1 else ''}"


def say(console: Console, text: str) -> None:
    """Print a line as it is."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


class BarObserver(Observer):
    """Units of work done, and the time that the rest will take.

    :param label: what the bar is of
    :param units: what its units are called
    """

    def __init__(self, console: Console, label: str, units: str = "units of work") -> None:
        self._console, self._label, self._noun = console, label, units
        self._progress: Progress | None = None
        self._units = self._done = 0
        self._weight = self._total = 0.0
        self._last_line_s = time.monotonic()

    def started(self, units: int, done: int, weight: float, done_weight: float, where: str) -> None:
        """A new bar."""
        self._units, self._done, self._total, self._weight = units, done, weight, done_weight
        kept = f", {done} kept from before" if done else ""
        say(self._console, f"{units} {self._noun}{kept}, {where}")
        if self._console.is_terminal:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                TextColumn("{task.percentage:>3.0f} %"),
                TextColumn("{task.fields[units]}"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._progress.start()
            self._task = self._progress.add_task(self._label, total=weight, units=self._count())
            self._progress.update(self._task, completed=done_weight)

    def grew(self, units: int, weight: float) -> None:
        """A longer bar."""
        self._units += units
        self._total += weight
        if self._progress is not None:
            self._progress.update(self._task, total=self._total, units=self._count())

    def advanced(self, weight: float) -> None:
        """Advance by a unit."""
        self._done += 1
        self._weight += weight
        if self._progress is not None:
            self._progress.update(self._task, completed=self._weight, units=self._count())
        elif time.monotonic() - self._last_line_s > _LINE_EVERY_S:
            self._last_line_s = time.monotonic()
            say(self._console, f"{100 * self._weight / self._total:.0f} %, {self._count()} {self._noun}")

    def said(self, text: str) -> None:
        """Print a line."""
        say(self._console, text)

    def finished(self) -> None:
        """Leave the last state on the screen."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _count(self) -> str:
        return f"{self._done}/{self._units}"
