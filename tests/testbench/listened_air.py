"""An air that somebody listens to: every transmission is a line of ``air.log`` in the working directory.

It waits for as many seconds as ``pause`` there says, and loses the rounds that ``lost`` lists.
"""

import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from phy.waveform_airs._numpy import Emulated


class Air(Emulated):
    """What a radio is to the rest of the program: it does not say that it repeats itself."""

    def transmit(self, bursts: Any, round_index: int, sounded: Any, reference_sample: int) -> Any:
        with Path("air.log").open("a") as file:
            file.write(f"{round_index}\n")
        samples = super().transmit(bursts, round_index, sounded, reference_sample)
        time.sleep(float(_said("pause") or 0.0))
        if str(round_index) in _said("lost").split():
            return None
        fresh = np.random.default_rng().normal(scale=1e-3, size=(2, *samples.shape))
        return (samples + fresh[0] + 1j * fresh[1]).astype(np.complex64)


def _said(name: str) -> str:
    path = Path(name)
    return path.read_text() if path.is_file() else ""


def sent() -> Counter[int]:
    """Transmissions so far, by round."""
    return Counter(map(int, _said("air.log").split()))
