"""K transmitting radios and one that receives, of any make that SoapySDR knows: timed bursts, and exactly their samples back.

    python3 soapy.py --uplink ADDRESS --transmitter driver=lime --received ADDRESS --receiver driver=lime --pass-tags \\
        --frequency 2.45e9 --rate 1e6

Several radios must share 10 MHz and PPS (``--clock external``). One radio with several transmitting channels counts as one:
``--transmitter driver=lime,channel=0 --transmitter driver=lime,channel=1``. The radio must keep time and send bursts at
instants (LimeSDR, bladeRF, USRPs); one that does not, such as a Pluto or HackRF, is refused. GNU Radio's own Soapy blocks send
no timed bursts, so radios are opened through SoapySDR's Python module here.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

if not __package__:  # run as a program: last on the path, so that GNU Radio's Python keeps its own packages
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from testbench.flowgraphs import ports, radio
from testbench.flowgraphs.timetable import Timetable

_NANO = 1_000_000_000
_TIMEOUT_US = 100_000
_TIMEOUT, _OVERFLOW = -1, -4  # what SoapySDR returns instead of a count of samples


def nanoseconds(sample: int, rate_hz: int) -> int:
    """The instant of a sample since time zero, rounded."""
    return (sample * _NANO + rate_hz // 2) // rate_hz


def sample_at(time_ns: int, rate_hz: int) -> int:
    """The sample that starts at an instant, which clocks of whole nanoseconds state rounded."""
    return (time_ns * rate_hz + _NANO // 2) // _NANO


def bursts_of(timetable: Timetable, send: Any, rate_hz: int) -> Any:
    """A block that hands each packet of its input to ``send(samples, time_ns)``."""
    import pmt  # type: ignore[import-not-found]
    from gnuradio import gr

    class Bursts(gr.sync_block):  # type: ignore[misc]
        """Collects what ``packet_len`` announces."""

        def __init__(self) -> None:
            gr.sync_block.__init__(self, "bursts", [np.complex64], [])
            self._number = 0
            self._missing = 0
            self._parts: list[np.ndarray[Any, Any]] = []
            self._start = 0

        def work(self, input_items: Any, output_items: Any) -> int:
            """Take up to the end of a packet."""
            del output_items
            taken = 0
            samples = input_items[0]
            while taken < len(samples):
                if not self._missing:
                    at = self.nitems_read(0) + taken
                    tags = [t for t in self.get_tags_in_range(0, at, at + 1, pmt.intern("packet_len")) if t.offset == at]
                    if not tags:  # no packet starts here: what belongs to none is not sent
                        taken += 1
                        continue
                    self._missing = pmt.to_long(tags[0].value)
                    self._start = timetable.start(self._number, self._missing)
                    self._number += 1
                piece = samples[taken : taken + self._missing]
                self._parts.append(piece.copy())
                self._missing -= len(piece)
                taken += len(piece)
                if not self._missing:
                    send(np.concatenate(self._parts), nanoseconds(self._start, rate_hz))
                    self._parts = []
            return taken

    return Bursts()


def received_from(read: Any, rate_hz: int) -> Any:
    """A block whose output is what ``read(buffer)`` delivers as (count, time_ns); ``rx_time`` stands after every gap."""
    import pmt
    from gnuradio import gr

    class Received(gr.sync_block):  # type: ignore[misc]
        """Reads until it is stopped."""

        def __init__(self) -> None:
            gr.sync_block.__init__(self, "received", [], [np.complex64])
            self._next: int | None = None

        def work(self, input_items: Any, output_items: Any) -> int:
            """Wait for some samples."""
            del input_items
            count, time_ns = read(output_items[0])
            if count <= 0:
                if count not in (_TIMEOUT, _OVERFLOW, 0):
                    print(f"the receiver fails with SoapySDR's error {count}", file=sys.stderr, flush=True)
                    return -1
                self._next = None if count == _OVERFLOW else self._next
                return 0
            first = sample_at(time_ns, rate_hz)
            if first != self._next:
                whole, part = divmod(first, rate_hz)
                stamp = pmt.make_tuple(pmt.from_uint64(whole), pmt.from_double(part / rate_hz))
                self.add_item_tag(0, self.nitems_written(0), pmt.intern("rx_time"), stamp)
            self._next = first + count
            return int(count)

    return Received()


def main(words: list[str] | None = None) -> None:
    """Find the radios, or say what is missing; then build the graph and run it."""
    options = radio.parse(radio.parser("Timed bursts over radios that SoapySDR knows.", "SoapySDR"), words)
    rate_hz = round(options.rate)
    try:
        import SoapySDR  # type: ignore[import-not-found]
    except ImportError as error:
        ports.refuse(
            f"SoapySDR has no module for {sys.executable} ({error}); on Debian: apt install python3-soapysdr, and the driver "
            "of the radio, say soapysdr-module-lms7"
        )
        return
    from gnuradio import gr

    from testbench.flowgraphs.gate import Gate

    opened: dict[str, Any] = {}

    def radio_of(which: str, text: str, direction: int, gain_db: float) -> tuple[Any, int]:
        pairs = [pair.partition("=") for pair in text.split(",") if pair]
        chosen = next((value for key, _, value in pairs if key == "channel"), "0")
        arguments = ",".join(f"{key}={value}" for key, _, value in pairs if key != "channel")
        try:
            channel = int(chosen)
            found = opened.get(arguments)
            if found is None:
                found = opened[arguments] = SoapySDR.Device(arguments)
            if not found.hasHardwareTime():
                raise RuntimeError("it keeps no time, and a burst could not be sent at an instant")
            found.setSampleRate(direction, channel, options.rate)
            rate = found.getSampleRate(direction, channel)
            if abs(rate - options.rate) > 1e-6 * options.rate:
                raise RuntimeError(f"it runs at {rate:g} samples/s and not at {options.rate:g}")
            found.setFrequency(direction, channel, options.frequency)
            found.setGain(direction, channel, gain_db)
            if options.clock == "external":
                found.setClockSource("external")
                found.setTimeSource("external")
        except (RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            ports.refuse(
                f"no radio for {which} {text!r} (SoapySDR: {reason}); connect it, look with SoapySDRUtil --find (Debian: "
                "soapysdr-tools), or try uplink.py, which needs none"
            )
        return found, channel

    receiver, receiving = radio_of("--receiver", options.receiver, SoapySDR.SOAPY_SDR_RX, options.rx_gain)
    sending = [radio_of("--transmitter", text, SoapySDR.SOAPY_SDR_TX, options.tx_gain) for text in options.transmitter]
    if len(opened) > 1 and options.clock == "internal":
        ports.refuse("several radios are on time only with common 10 MHz and PPS: --clock external")
    every = list(opened.values())
    radio.align(
        [partial(found.setHardwareTime, 0) for found in every],
        [partial(found.setHardwareTime, 0, "PPS") for found in every],
        lambda: float(receiver.getHardwareTime("PPS")),
        options.clock == "external",
    )

    def reader(stream: Any) -> Any:
        def read(buffer: Any) -> tuple[int, int]:
            done = receiver.readStream(stream, [buffer], len(buffer), timeoutUs=_TIMEOUT_US)
            return done.ret, done.timeNs

        return read

    def sender(found: Any, stream: Any) -> Any:
        def send(samples: Any, time_ns: int) -> None:
            flags = SoapySDR.SOAPY_SDR_HAS_TIME | SoapySDR.SOAPY_SDR_END_BURST
            while len(samples):
                done = found.writeStream(stream, [samples], len(samples), flags, time_ns, _TIMEOUT_US)
                if done.ret == _TIMEOUT:
                    continue
                if done.ret < 0:
                    print(f"a burst is not sent: SoapySDR's error {done.ret}", file=sys.stderr, flush=True)
                    return
                # What is left follows on; only its end still matters.
                samples, flags = samples[done.ret :], SoapySDR.SOAPY_SDR_END_BURST

        return send

    timetable = Timetable(lambda: receiver.getHardwareTime() / _NANO, options.rate, options.margin)
    top = gr.top_block("pairzero radios")
    streams: list[tuple[Any, Any]] = []

    def stream_of(found: Any, direction: int, channel: int) -> Any:
        stream = found.setupStream(direction, SoapySDR.SOAPY_SDR_CF32, [channel])
        found.activateStream(stream)
        streams.append((found, stream))
        return stream

    quick = []
    for address, (found, channel) in zip(options.uplink, sending, strict=True):
        stream = stream_of(found, SoapySDR.SOAPY_SDR_TX, channel)
        chain = [ports.source(options, address), bursts_of(timetable, sender(found, stream), rate_hz)]
        top.connect(*chain)
        quick += chain
    stream = stream_of(receiver, SoapySDR.SOAPY_SDR_RX, receiving)
    chain = [
        received_from(reader(stream), rate_hz),
        Gate(timetable, options.rate),
        ports.sink(options, options.received[0]),
    ]
    top.connect(*chain)
    ports.quicken(*quick, *chain)
    ports.run(top, options, withheld_samples=0)
    for found, stream in streams:
        found.deactivateStream(stream)
        found.closeStream(stream)


if __name__ == "__main__":
    main()
