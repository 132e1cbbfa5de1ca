"""GNU Radio's own PUSH sink to its own PULL source, timed. Prints samples per second."""

import sys
import time

from gnuradio import blocks, gr, zeromq


def main(address: str, samples: int) -> None:
    """Send ``samples`` complex samples through ``address``."""
    out, back = gr.top_block(), gr.top_block()
    sink = zeromq.push_sink(gr.sizeof_gr_complex, 1, address, 10, False, -1)
    source = zeromq.pull_source(gr.sizeof_gr_complex, 1, address, 10, False, -1)
    source.set_min_output_buffer(131072)
    end = blocks.head(gr.sizeof_gr_complex, samples)
    back.connect(source, end, blocks.null_sink(gr.sizeof_gr_complex))
    out.connect(blocks.null_source(gr.sizeof_gr_complex), sink)
    for block in (sink, source, end):
        block.set_blkd_input_timer_value(1)
    back.start()
    began = time.perf_counter()
    out.start()
    back.wait()
    print(samples / (time.perf_counter() - began), flush=True)
    out.stop()
    out.wait()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
