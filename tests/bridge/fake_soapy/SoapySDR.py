"""Radios that exist in this process only: an ether on a clock, with the calls of SoapySDR's Python module.

Everything that is sent at an instant is heard by every receiver at that instant, and nothing at any other; what is sent too
late is not on the air, as with a real radio. Each radio has a clock of its own, which starts anywhere; PPS is common.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import numpy as np

SOAPY_SDR_TX, SOAPY_SDR_RX = 0, 1
SOAPY_SDR_CF32 = "CF32"
SOAPY_SDR_END_BURST, SOAPY_SDR_HAS_TIME = 2, 4

_MTU = 1000  # samples in one call, as radios take and give them in packets
_lock = threading.Lock()
_on_air: list[tuple[int, np.ndarray]] = []  # first sample on the common clock, and the samples


@dataclass
class StreamResult:
    ret: int
    flags: int = 0
    timeNs: int = 0


class Device:
    """`driver=fake`; with `deaf=1` a radio without a clock."""

    def __init__(self, arguments: str) -> None:
        self.words = dict(pair.split("=") for pair in arguments.split(",") if pair)
        if self.words.get("driver") != "fake":
            raise RuntimeError("SoapySDR::Device::make() no match")
        self._zero = time.monotonic_ns() - 123_456_789 * (1 + int(self.words.get("serial", "0")))
        self._rate = 0
        self._next: int | None = None
        self._follow: int | None = None

    def hasHardwareTime(self) -> bool:
        return "deaf" not in self.words

    def setSampleRate(self, direction: int, channel: int, rate: float) -> None:
        self._rate = round(rate)

    def getSampleRate(self, direction: int, channel: int) -> float:
        return float(self._rate)

    def setFrequency(self, direction: int, channel: int, hertz: float) -> None: ...

    def setGain(self, direction: int, channel: int, decibel: float) -> None: ...

    def setClockSource(self, source: str) -> None: ...

    def setTimeSource(self, source: str) -> None: ...

    def getHardwareTime(self, what: str = "") -> int:
        now = time.monotonic_ns()
        return (now // 10**9 * 10**9 if what == "PPS" else now) - self._zero

    def setHardwareTime(self, nanoseconds: int, what: str = "") -> None:
        now = time.monotonic_ns()
        self._zero = (now // 10**9 + 1) * 10**9 if what == "PPS" else now - nanoseconds

    def setupStream(self, direction: int, kind: str, channels: list[int]) -> int:
        return direction

    def activateStream(self, stream: int) -> None: ...

    def deactivateStream(self, stream: int) -> None: ...

    def closeStream(self, stream: int) -> None: ...

    def _common(self, sample: int) -> int:
        """A sample of this radio's clock on the common one; both count the same samples."""
        return sample + round(self._zero * self._rate / 1e9)

    def writeStream(self, stream, buffers, count, flags=0, timeNs=0, timeoutUs=0) -> StreamResult:
        samples = np.array(buffers[0][: min(count, _MTU)])
        first = round(timeNs * self._rate / 1e9) if flags & SOAPY_SDR_HAS_TIME else self._follow
        assert first is not None
        self._follow = first + len(samples)
        if not (flags & SOAPY_SDR_HAS_TIME) or timeNs > self.getHardwareTime():
            with _lock:
                _on_air.append((self._common(first), samples))
        return StreamResult(len(samples))

    def readStream(self, stream, buffers, count, flags=0, timeoutUs=0) -> StreamResult:
        if self._next is None:
            self._next = round(self.getHardwareTime() * self._rate / 1e9)
        count = min(count, _MTU)
        first = self._next
        ready_ns = round((first + count) * 1e9 / self._rate)
        time.sleep(max(0, ready_ns - self.getHardwareTime()) / 1e9)
        out = np.zeros(count, np.complex64)
        begin = self._common(first)
        with _lock:
            for at, samples in _on_air:
                low, high = max(at, begin), min(at + len(samples), begin + count)
                if low < high:
                    out[low - begin : high - begin] += samples[low - at : high - at]
        buffers[0][:count] = out
        self._next = first + count
        return StreamResult(count, SOAPY_SDR_HAS_TIME, round(first * 1e9 / self._rate))
