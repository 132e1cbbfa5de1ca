"""What the command line shows while a scenario runs: a live bar on a terminal, plain lines elsewhere."""

import math
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from testbench.run_folder import Evaluation, spoken
from testbench.runner import Watcher

_SMOOTHING = 0.05  # weight of the newest round in the shown loss
_LINE_EVERY_S = 5.0


class ProgressWatcher(Watcher):
    """Round, loss (smoothed over about 20 rounds), held-out score and received SNR (mean power so far)."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._preparations: dict[str, TaskID] = {}
        self._reset("", 0, 0)

    def _reset(self, label: str, done: int, total: int) -> None:
        self._label, self._done, self._total = label, done, total
        self._began = done
        self._loss: float | None = None
        self._power_sum, self._power_count = 0.0, 0
        self._score: tuple[str, float] | None = None
        self._epsilon: float | None = None
        self._last_line_s = time.monotonic()

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        self._console.print(text, markup=False, highlight=False)

    def preparing(self, what: str, done: int, total: int) -> None:
        """A bar per preparation."""
        if not self._console.is_terminal:
            if done >= total:
                self.say(f"{what}: done")
            return
        progress = self._bars()
        if what not in self._preparations:
            self._preparations[what] = progress.add_task(what, total=total, status="")
        progress.update(self._preparations[what], completed=done, total=total)
        if done >= total and self._task is None:
            self._close()

    def started(self, label: str, done: int, total: int) -> None:
        """A new main bar."""
        self._close()
        self._reset(label, done, total)
        if self._console.is_terminal:
            self._task = self._bars().add_task(label, total=total, completed=done, status="")

    def round(self, loss: float, received_snr_db: float | None) -> None:
        """Advance by one."""
        self._done += 1
        if math.isfinite(loss):  # Poisson batches may all be empty
            self._loss = loss if self._loss is None else (1 - _SMOOTHING) * self._loss + _SMOOTHING * loss
        if received_snr_db is not None:
            self._power_sum += 10.0 ** (received_snr_db / 10.0)
            self._power_count += 1
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=self._done, status=self._status())
        elif time.monotonic() - self._last_line_s > _LINE_EVERY_S:
            self._line()

    def spent(self, epsilon: float) -> None:
        """Show epsilon with the next round."""
        self._epsilon = epsilon

    def evaluated(self, evaluation: Evaluation) -> None:
        """Show the newest score."""
        self._score = (spoken(evaluation.metric), evaluation.score)
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, status=self._status())

    def finished(self) -> None:
        """Leave the last state on the screen."""
        self._close()
        if not self._console.is_terminal and self._total:
            self._line()

    def _status(self) -> str:
        parts = []
        if self._loss is not None:
            parts.append(f"loss {self._loss:.3f}")
        elif self._done > self._began:
            parts.append("loss -")
        if self._score is not None:
            parts.append(f"{self._score[0]} {100 * self._score[1]:.1f} %")
        if self._power_count:
            parts.append(f"SNR {10 * math.log10(max(self._power_sum / self._power_count, 1e-30)):.1f} dB")
        if self._epsilon is not None:
            parts.append(f"epsilon {self._epsilon:.3g}")
        return "  ".join(parts)

    def _line(self) -> None:
        self._last_line_s = time.monotonic()
        self.say(f"{self._label}: round {self._done}/{self._total}  {self._status()}")

    def _bars(self) -> Progress:
        if self._progress is None:
            self._progress = Progress(
                TextColumn("{task.description:<12}"),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TextColumn("{task.fields[status]}"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._progress.start()
        return self._progress

    def _close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
        self._progress, self._task, self._preparations = None, None, {}
