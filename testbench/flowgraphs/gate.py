"""Passes the samples received during slots, and no others. Also the embedded block of that name in usrp.grc."""

from typing import Any

import numpy as np
import pmt  # type: ignore[import-not-found]
from gnuradio import gr


class Gate(gr.basic_block):  # type: ignore[misc]
    """Reads ``rx_time``; drops what lies between slots.

    :param timetable: the slots, ``cut(first, count, taken)`` of which is asked for
    :param rate_hz: samples per second
    """

    def __init__(self, timetable: Any = None, rate_hz: float = 1e6) -> None:
        gr.basic_block.__init__(self, "slots", [np.complex64], [np.complex64])
        self.set_tag_propagation_policy(gr.TPP_DONT)
        self._timetable, self._rate_hz = timetable, round(rate_hz)
        self._zero: int | None = None  # the sample number, since time zero, of the stream's first one
        self._taken = 0

    def general_work(self, input_items: Any, output_items: Any) -> int:
        """Skip, then pass."""
        have, room = len(input_items[0]), len(output_items[0])
        for tag in self.get_tags_in_window(0, 0, have, pmt.intern("rx_time")):
            whole = pmt.to_uint64(pmt.tuple_ref(tag.value, 0))
            part = pmt.to_double(pmt.tuple_ref(tag.value, 1))
            self._zero = int(whole * self._rate_hz + round(part * self._rate_hz)) - tag.offset
        if self._zero is None:
            self.consume(0, have)
            return 0
        first = self._zero + self.nitems_read(0)
        skip, passed, _ = self._timetable.cut(first, have, self._taken)
        passed = min(passed, room)
        output_items[0][:passed] = input_items[0][skip : skip + passed]
        self._taken = self._timetable.cut(first, skip + passed, self._taken)[2]
        self.consume(0, skip + passed)
        return int(passed)
