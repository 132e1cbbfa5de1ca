"""Run by GNU Radio's Python: the blocks of radio.py between a tagged stream of packets and a receiver that counts."""

import sys
from pathlib import Path

import numpy as np
import pmt
from gnuradio import blocks, gr

sys.path.append(str(Path(__file__).resolve().parents[2]))

from testbench.flowgraphs.gate import Gate
from testbench.flowgraphs.stamp import Stamp
from testbench.flowgraphs.timetable import Timetable

RATE, ZERO = 1000.0, 2500
LENGTHS = [400, 300, 500]


def tag(offset: int, key: str, value: object) -> gr.tag_t:
    """A tag."""
    made = gr.tag_t()
    made.offset, made.key, made.value = offset, pmt.intern(key), value
    return made


clock = iter([1.0, 4.0, 4.1])
timetable = Timetable(lambda: next(clock), RATE, 2.0)
edges = np.cumsum([0, *LENGTHS])
packets = [tag(int(e), "packet_len", pmt.from_long(n)) for e, n in zip(edges[:-1], LENGTHS, strict=True)]
top = gr.top_block()
sent = blocks.vector_sink_c()
stamp = Stamp(timetable, RATE)  # a block in Python lives no longer than its name
top.connect(blocks.vector_source_c([1.0 + 0j] * sum(LENGTHS), False, 1, packets), stamp, sent)
top.run()
times = {
    t.offset: pmt.to_uint64(pmt.tuple_ref(t.value, 0)) + pmt.to_double(pmt.tuple_ref(t.value, 1))
    for t in sent.tags() if pmt.symbol_to_string(t.key) == "tx_time"
}  # fmt: skip
# Two seconds after it was heard of; the third slot, heard of too early, follows the second.
starts = [3000, 6000, 6300]
assert [round(times[int(e)] * RATE) for e in edges[:-1]] == starts, times

top = gr.top_block()
arrival = tag(0, "rx_time", pmt.make_tuple(pmt.from_uint64(ZERO // 1000), pmt.from_double(ZERO % 1000 / 1000)))
gate = Gate(timetable, RATE)
heard = blocks.vector_sink_c()
numbers = np.arange(ZERO, ZERO + 9000).astype(complex).tolist()
top.connect(blocks.vector_source_c(numbers, False, 1, [arrival]), gate, heard)
top.run()
expected = np.concatenate([np.arange(s, s + n) for s, n in zip(starts, LENGTHS, strict=True)])
assert np.array_equal(np.asarray(heard.data()), expected), len(heard.data())
print("cut as announced")
