"""What ``pairzero air broker`` does: make the airs, open the sockets, serve, and say what happened."""

import signal
import threading
import time
from collections.abc import Callable

import numpy as np

from bridge.streams.brokering import Broker, Radio
from phy.draws import KeyedDraws
from phy.streaming.air import StreamingAir
from phy.streaming.noise import StreamNoise
from phy.streaming.paths import StreamChannel
from phy.streaming.turning import Turning
from testbench.broker.settings import BrokerFile

__all__ = ["broker_of", "make_airs", "serve", "table"]


def make_airs(settings: BrokerFile) -> tuple[StreamingAir, list[StreamingAir | None]]:
    """The air to the station, and one to each device that receives.

    Raises :class:`phy.errors.PhyError` where the channel cannot be one of streams.
    """
    broker, seed = settings.broker, settings.seed
    rate_hz, devices = broker.rate_hz, broker.device
    channel = StreamChannel(settings.link_config(), seed, len(devices))
    gains = [10.0 ** (device.gain_db / 20.0) for device in devices]
    draws = KeyedDraws(seed)
    antennas = range(channel.antennas)

    def noise(receiver: int) -> StreamNoise:
        return StreamNoise(draws, broker.n0, receiver)

    carriers = list(zip(channel.frequency_hz, channel.phase_rad, gains, strict=True))
    # The rotation is of the device's oscillator: what it adds when sending it takes away when receiving.
    turns = [Turning(float(f), rate_hz, float(phase), gain) for f, phase, gain in carriers]
    uplink = StreamingAir(channel.uplink(), rate_hz, turns, None, [noise(m) for m in antennas])
    downlinks: list[StreamingAir | None] = []
    for k, (device, (f, phase, gain)) in enumerate(zip(devices, carriers, strict=True)):
        if device.receive is None:
            downlinks.append(None)
            continue
        back = Turning(-float(f), rate_hz, -float(phase), gain)
        downlinks.append(StreamingAir(channel.downlink(k), rate_hz, None, [back], [noise(channel.antennas + k)]))
    return uplink, downlinks


def broker_of(settings: BrokerFile, say: Callable[[str], None]) -> Broker:
    """The broker with its sockets open. Raises :class:`bridge.errors.BridgeError` or :class:`phy.errors.PhyError`."""
    uplink, downlinks = make_airs(settings)
    broker = settings.broker
    radios = [
        Radio(f"device {k}", (each.transmit,), () if each.receive is None else (each.receive,))
        for k, each in enumerate(broker.device)
    ]
    station = Radio("station", broker.station.transmit, broker.station.receive)
    late = [uplink.latency_samples, *(air.latency_samples for air in downlinks if air is not None)]
    if any(late):
        say(f"paths of fractional delay: all that is received is later by {max(late)} samples than its path says")
    return Broker(radios, station, uplink, downlinks, rate_hz=broker.rate_hz, stall_s=broker.stall_s, say=say)


def serve(
    settings: BrokerFile,
    *,
    say: Callable[[str], None] = print,
    seconds: float | None = None,
    every_s: float = 10.0,
) -> None:
    """Serve until interrupted, or for so many seconds; say who comes and goes, and at the end what passed."""
    broker = broker_of(settings, say)
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: broker.stop())
    began = time.monotonic()
    before = {"passed": 0, "at": began}

    def report() -> None:
        now, passed = time.monotonic(), sum(c.passed for c in broker.counts.values())
        if passed > before["passed"]:
            rate = (passed - before["passed"]) / (now - before["at"])
            say(f"{now - began:.0f} s: {rate / 1e6:.2f} MS/s in all")
        before.update(passed=passed, at=now)

    say(f"the broker is ready: {len(settings.broker.device)} devices, {settings.broker.rate_hz:g} samples/s")
    try:
        broker.run(seconds=seconds, every_s=every_s, report=report)
    finally:
        for line in table(broker):
            say(line)
        broker.close()


def table(broker: Broker) -> list[str]:
    """What happened to every stream, as lines."""
    columns = ("passed", "silence", "late", "dropped", "joined", "stalls")
    rows = [[name, *(str(getattr(counts, column)) for column in columns)] for name, counts in broker.counts.items()]
    rows.insert(0, ["samples", *columns])
    widths = np.array([[len(cell) for cell in row] for row in rows]).max(axis=0)
    return [
        "  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]
