"""Sample streams as GNU Radio speaks them over ZeroMQ: sockets, framing by count, tag headers, flowgraph processes."""
