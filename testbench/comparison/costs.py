"""What one round of a method costs: channel uses, bits, passes over the model. docs/baselines.md defines each count."""

import math
from dataclasses import dataclass

from scipy.special import exp1
from scipy.stats import gamma

from phy.accounting import channel_uses
from phy.config import LinkConfig
from phy.discovery import find
from testbench.scenario import Scenario

#: Bits of a real number that a server broadcasts.
REAL_BITS = 32


@dataclass(frozen=True)
class RoundCosts:
    """One round, all devices together unless said otherwise.

    :ivar payload_uses: uplink channel uses that carry payload
    :ivar pilot_uses: uplink channel uses for channel estimation
    :ivar other_uses: preamble and guard of a burst, at waveform fidelity
    :ivar uplink_bits: payload bits that all devices send
    :ivar downlink_bits: bits of the server's broadcast, counted once however many devices hear it
    :ivar forwards: forward passes of one device, each over a batch
    :ivar backwards: backward passes of one device
    """

    payload_uses: float
    pilot_uses: float
    other_uses: float
    uplink_bits: float
    downlink_bits: float
    forwards: int
    backwards: int = 0

    @property
    def channel_uses(self) -> float:
        """All uplink channel uses."""
        return self.payload_uses + self.pilot_uses + self.other_uses

    @property
    def has_link(self) -> bool:
        """Whether anything is sent at all."""
        return self.uplink_bits > 0


def over_the_air(
    link: LinkConfig,
    devices: int,
    scalars: int,
    *,
    blocks: int = 1,
    downlink_bits_per_scalar: int = REAL_BITS,
    entries: int | None = None,
    forwards: int,
    backwards: int = 0,
) -> RoundCosts:
    """``blocks`` uses of ``link``, each with ``scalars`` scalars and pilots of its own.

    :param entries: scalars that are counted as bits, where the last block is filled up; blocks * scalars by default
    """
    uses = channel_uses(link, devices, scalars)
    sent = blocks * scalars if entries is None else entries
    return RoundCosts(
        blocks * math.ceil(uses["payload"]),
        blocks * math.ceil(uses["pilots"]),
        blocks * math.ceil(uses["preamble"] + uses["guard"]),
        float(_payload_bits(link) * sent * devices),
        float(downlink_bits_per_scalar * sent),
        forwards,
        backwards,
    )


def _payload_bits(link: LinkConfig) -> int:
    return int(find("schemes", link.scheme)(link).payload_bits)


def no_air(devices: int, scalars: int, uplink_bits: int, downlink_bits: int, *, forwards: int) -> RoundCosts:
    """A noise-free superposition, which no system has: a channel use per scalar and no pilots; bits per scalar."""
    return RoundCosts(
        float(scalars), 0.0, 0.0, float(uplink_bits * scalars * devices), float(downlink_bits * scalars), forwards
    )


def digital(scenario: Scenario, device_bits: int, downlink_bits: int, *, forwards: int, backwards: int = 0) -> RoundCosts:
    """Devices take turns, error-free, at the ergodic capacity of the scenario's channel; pilots for each coherence block.

    No code does better on average, so the count favours the digital methods. The receiver needs the channel: pilots are as
    many per device as the scenario's own link sends, and none where that has perfect knowledge for free.
    """
    link, devices = scenario.link, scenario.federation.devices
    symbols = math.ceil(device_bits / ergodic_rate(link))
    blocks = math.ceil(symbols / scenario.baselines.coherence_symbols)
    pilots = link.csi.pilot_symbols if find("csi", link.csi.estimator).uses_pilots else 0
    return RoundCosts(
        float(devices * symbols),
        float(devices * pilots * blocks),
        0.0,
        float(devices * device_bits),
        float(downlink_bits),
        forwards,
        backwards,
    )


def ergodic_rate(link: LinkConfig) -> float:
    """E log2(1 + |h|^2 / N0) [bit per channel use] at transmit power 1, M antennas combined by maximum ratio.

    |h|^2 is 1 per antenna without fading and Gamma(M, 1) otherwise: Rayleigh's law, taken for every fading channel.
    """
    snr, antennas = 1.0 / link.n0, link.receive_antennas
    if link.channel.model == "awgn":
        return math.log2(1.0 + antennas * snr)
    if antennas == 1:
        return _rayleigh_rate(snr)
    return float(gamma(antennas).expect(lambda gain: math.log2(1.0 + snr * gain)))


def _rayleigh_rate(snr: float) -> float:
    """exp(1/snr) E1(1/snr) / ln 2; for small snr its series, as exp overflows."""
    x = 1.0 / snr
    if x > 50.0:
        return (1.0 / x - 1.0 / x**2 + 2.0 / x**3) / math.log(2.0)
    return float(math.exp(x) * exp1(x) / math.log(2.0))
