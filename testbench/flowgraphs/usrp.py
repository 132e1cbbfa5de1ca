"""K transmitting USRPs and one that receives (UHD): every slot is a timed burst, and exactly its samples are returned.

    python3 usrp.py --uplink ADDRESS --transmitter serial=31A1 ... --received ADDRESS --receiver addr=192.168.10.2 \\
        --pass-tags --frequency 2.45e9 --rate 1e6 --clock external

Radios must share 10 MHz and PPS (``--clock external``), or be one device.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

if not __package__:  # run as a program: last on the path, so that GNU Radio's Python keeps its own packages
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from testbench.flowgraphs import ports, radio
from testbench.flowgraphs.timetable import Timetable


def main(words: list[str] | None = None) -> None:
    """Find the radios, or say what is missing; then build the graph and run it."""
    options = radio.parse(radio.parser("Timed bursts over USRPs: one transmitter per device, one receiver.", "UHD"), words)
    try:
        from gnuradio import gr, uhd
    except ImportError as error:
        ports.refuse(f"GNU Radio has no UHD here ({error}); on Debian it comes with the package gnuradio")
        return

    def opened(make: Any, which: str, words_: str, *more: str) -> Any:
        try:
            found = make(uhd.device_addr(words_), uhd.stream_args(cpu_format="fc32", channels=[0]), *more)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            ports.refuse(
                f"no radio for {which} {words_!r} (UHD: {reason}); connect it, look with uhd_find_devices (Debian: "
                "uhd-host), or try uplink.py, which needs none"
            )
            return None
        found.set_samp_rate(options.rate)
        if abs(found.get_samp_rate() - options.rate) > 1e-6 * options.rate:
            ports.refuse(f"{which} {words_!r} runs at {found.get_samp_rate():g} samples/s and not at {options.rate:g}")
        found.set_center_freq(options.frequency)
        found.set_clock_source(options.clock)
        found.set_time_source(options.clock)
        return found

    receiver = opened(uhd.usrp_source, "--receiver", options.receiver)
    receiver.set_gain(options.rx_gain)
    transmitters = [opened(uhd.usrp_sink, "--transmitter", words_, "packet_len") for words_ in options.transmitter]
    for transmitter in transmitters:
        transmitter.set_gain(options.tx_gain)
    every, zero = (receiver, *transmitters), uhd.time_spec(0.0)
    radio.align(
        [partial(found.set_time_now, zero) for found in every],
        [partial(found.set_time_next_pps, zero) for found in every],
        lambda: float(receiver.get_time_last_pps().get_real_secs()),
        options.clock == "external",
    )
    from testbench.flowgraphs.gate import Gate
    from testbench.flowgraphs.stamp import Stamp

    timetable = Timetable(lambda: receiver.get_time_now().get_real_secs(), options.rate, options.margin)
    top = gr.top_block("pairzero radios")
    quick = []
    for address, transmitter in zip(options.uplink, transmitters, strict=True):
        chain = [ports.source(options, address), Stamp(timetable, options.rate), transmitter]
        top.connect(*chain)
        quick += chain[:2]
    chain = [receiver, Gate(timetable, options.rate), ports.sink(options, options.received[0])]
    top.connect(*chain)
    ports.quicken(*quick, *chain[1:])
    ports.run(top, options, withheld_samples=0)


if __name__ == "__main__":
    main()
