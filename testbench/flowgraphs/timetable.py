"""When each slot is on the air, in samples since time zero of the radios. Also the module of that name in usrp.grc."""

import math
import threading
from collections.abc import Callable


class Timetable:
    """Shared by all that send and by the one that receives.

    :param now: the radios' time [s]
    :param rate_hz: samples per second
    :param margin_s: time from hearing of a slot to sending it
    """

    def __init__(self, now: Callable[[], float], rate_hz: float, margin_s: float) -> None:
        self.now, self._rate_hz, self._margin_s = now, rate_hz, margin_s
        self._slots: list[tuple[int, int]] = []
        self._lock = threading.Lock()

    def start(self, number: int, length: int) -> int:
        """First sample of slot ``number``, set by whoever asks first; slots follow each other and never overlap."""
        with self._lock:
            if number == len(self._slots):
                soonest = math.ceil((self.now() + self._margin_s) * self._rate_hz)
                free = sum(self._slots[-1]) if self._slots else 0
                self._slots.append((max(soonest, free), length))
            return self._slots[number][0]

    def cut(self, first: int, count: int, taken: int) -> tuple[int, int, int]:
        """Of samples ``first`` .. ``first + count - 1``: how many to skip, then how many to pass, and the slots done by then.

        ``taken``: slots done before. Looks no further than the end of one slot.
        """
        with self._lock:
            if taken >= len(self._slots):
                return count, 0, taken
            begin, length = self._slots[taken]
        skip = min(max(0, begin - first), count)
        stop = begin + length
        passed = max(0, min(first + count, stop) - (first + skip))
        return skip, passed, taken + (first + skip + passed == stop)
