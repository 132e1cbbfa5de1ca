"""Tells a radio sink when each packet starts. Also the embedded block of that name in usrp.grc."""

from typing import Any

import numpy as np
import pmt  # type: ignore[import-not-found]
from gnuradio import gr


class Stamp(gr.sync_block):  # type: ignore[misc]
    """Adds ``tx_time`` to every ``packet_len``.

    :param timetable: the slots, ``start(number, length)`` of which is asked for
    :param rate_hz: samples per second
    """

    def __init__(self, timetable: Any = None, rate_hz: float = 1e6) -> None:
        gr.sync_block.__init__(self, "tx_time", [np.complex64], [np.complex64])
        self._timetable, self._rate_hz = timetable, round(rate_hz)
        self._number = 0

    def work(self, input_items: Any, output_items: Any) -> int:
        """Pass samples on."""
        count = len(output_items[0])
        output_items[0][:] = input_items[0][:count]
        for tag in self.get_tags_in_window(0, 0, count, pmt.intern("packet_len")):
            at = self._timetable.start(self._number, pmt.to_long(tag.value))
            self._number += 1
            whole, part = divmod(at, self._rate_hz)
            stamp = pmt.make_tuple(pmt.from_uint64(int(whole)), pmt.from_double(part / self._rate_hz))
            self.add_item_tag(0, tag.offset, pmt.intern("tx_time"), stamp)
        return count
