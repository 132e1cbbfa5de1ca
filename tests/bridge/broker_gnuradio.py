"""GNU Radio's side of a broker: REQ/REP blocks that transmit a file and receive into one. Run by GNU Radio's own Python.

broker_gnuradio.py RECEIVE_ADDRESS RECEIVED_FILE COUNT (TRANSMIT_ADDRESS SENT_FILE)...
"""

import sys

from gnuradio import blocks, gr, zeromq


def main() -> None:
    receive, received, count, *pairs = sys.argv[1:]
    graph = gr.top_block()
    for address, name in zip(pairs[::2], pairs[1::2], strict=True):
        source = blocks.file_source(gr.sizeof_gr_complex, name, False)
        graph.connect(source, zeromq.rep_sink(gr.sizeof_gr_complex, 1, address, 100, False, -1))
    head = blocks.head(gr.sizeof_gr_complex, int(count))
    graph.connect(
        zeromq.req_source(gr.sizeof_gr_complex, 1, receive, 100, False, -1),
        head,
        blocks.file_sink(gr.sizeof_gr_complex, received),
    )
    graph.start()
    print("runs", flush=True)
    sys.stdin.read()
    graph.stop()


main()
