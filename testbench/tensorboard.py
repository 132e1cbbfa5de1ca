"""A run's curves for TensorBoard, beside everything else in its folder."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from testbench.errors import TestbenchError

_SHOWN = ("true_mean", "received_power", "aligned_gain", "active", "truncated")


class Curves:
    """Scalars by round in ``tensorboard/`` of a run folder; resuming continues the curves.

    :raises testbench.errors.TestbenchError: tensorboard is not installed
    """

    def __init__(self, folder: Path, done: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise TestbenchError(
                'evaluation.tensorboard = true needs tensorboard: pip install "pairzero[tensorboard]", or set it to false'
            ) from error
        # What an earlier invocation wrote of rounds that its journal does not hold is taken off the curves.
        self._writer: Any = SummaryWriter(str(folder), purge_step=done)

    def round(self, index: int, loss: float, estimate: float | None, diagnostics: Mapping[str, float]) -> None:
        """One committed round: training loss, the estimate, and what the link says of itself."""
        self._add("train/loss", loss, index)
        if estimate is not None:
            self._add("link/estimate", estimate, index)
        for name in _SHOWN:
            if name in diagnostics:
                self._add(f"link/{name}", diagnostics[name], index)
        if "epsilon_spent" in diagnostics:
            self._add("privacy/epsilon_spent", diagnostics["epsilon_spent"], index)

    def evaluated(self, index: int, scores: Mapping[str, float], loss: float | None) -> None:
        """Held-out data."""
        for name, value in scores.items():
            self._add(f"held-out/{name}", value, index)
        if loss is not None:
            self._add("held-out/loss", loss, index)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()

    def _add(self, name: str, value: float, index: int) -> None:
        if math.isfinite(value):
            self._writer.add_scalar(name, value, index)
