"""A power control as a user may write it: devices arrive with levels of their own, and one of them does not always send."""

from typing import Any

import numpy as np


class Uneven:
    def __init__(self, config: Any) -> None:
        del config

    def levels(self, gains: np.ndarray, present: np.ndarray | None) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
        amplitudes = np.sqrt(gains)
        active = np.ones(gains.shape, np.bool_) if present is None else present.copy()
        active[:, 0] &= amplitudes[:, 0] > 0.4
        shares = np.linspace(0.3, 1.0, gains.shape[1], dtype=np.float32)
        level = np.where(active, amplitudes * shares, np.float32(0)).astype(np.float32)
        return active, level, level.max(axis=1)
