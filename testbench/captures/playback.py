"""Replay a capture: its samples through the receiver and the scheme's decision, open loop.

The link is the recorded one, with the air exchanged for the recorded samples, so that synchronisation, filters, receiver
and decision are the same code: the estimates have the bits of those that were recorded.
"""

import numpy as np
from numpy.typing import NDArray

from learning.uplink import Aggregate
from phy.link import LinkResult
from testbench.captures.airs import PlaybackAir, waveform_link
from testbench.captures.capture import Capture
from testbench.captures.uplink import LinkUplink
from testbench.errors import TestbenchError


class Playback:
    """A capture as a link that cannot react.

    :raises testbench.errors.TestbenchError: the recorded link has no waveforms
    """

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        each = zip(capture.rounds, capture.slots, capture.slot_lost, strict=True)
        slots = {int(r): None if gone else slot for r, slot, gone in each}
        # Whatever carried the bursts then is not asked now: it may be a flowgraph that is long gone.
        self._link = waveform_link(capture.config, capture.seed, lambda *_: PlaybackAir(slots))
        self._at = {int(r): i for i, r in enumerate(capture.rounds)}

    def replay(self) -> LinkResult:
        """Estimates of every recorded round. Where the payloads are not known, zeros stand for them: they are not looked at."""
        capture = self._capture
        if capture.truth is None:
            payloads = np.zeros((len(capture.rounds), capture.devices, capture.scalars))
            return self._link.aggregate(capture.rounds, payloads)
        # Presence is given where somebody was silent, as it was then: the two ways need not agree in the last bit.
        parts = []
        for i in range(len(capture.rounds)):
            who = capture.truth.present[i : i + 1]
            parts.append(
                self._link.aggregate(capture.rounds[i : i + 1], capture.truth.payloads[i : i + 1], None if who.all() else who)
            )
        return LinkResult(
            np.concatenate([part.estimates for part in parts]),
            np.concatenate([part.lost for part in parts]),
            {name: np.concatenate([part.diagnostics[name] for part in parts]) for name in parts[0].diagnostics},
        )

    def aggregate(self, round_index: int, payloads: NDArray[np.float64], present: NDArray[np.bool_] | None = None) -> Aggregate:
        """The estimate of a recorded round for the very payloads that were sent in it.

        Raises :class:`testbench.errors.TestbenchError` for any others: what was received is fixed by what was sent then, so
        training on it would follow an answer to somebody else's question.
        """
        at = self._at.get(round_index)
        if at is None:
            raise TestbenchError(
                f"round {round_index} is not in the capture {self._capture.path}, which cannot react: it is open loop"
            )
        truth = self._capture.truth
        who = np.ones(len(payloads), np.bool_) if present is None else np.asarray(present, np.bool_)
        if truth is None or not (np.array_equal(truth.payloads[at], payloads) and np.array_equal(truth.present[at], who)):
            raise TestbenchError(
                f"the capture {self._capture.path} is open loop: round {round_index} answers the payloads that were sent when "
                "it was recorded, not these; train over an air that reacts, and replay captures with: pairzero capture replay"
            )
        return LinkUplink(self._link).aggregate(round_index, payloads, present)


def exact(capture: Capture, result: LinkResult) -> NDArray[np.bool_]:
    """Which rounds have the recorded estimates, bit for bit. [B]."""
    assert capture.truth is not None
    same = (result.estimates == capture.truth.estimates) | (np.isnan(result.estimates) & np.isnan(capture.truth.estimates))
    return np.asarray(same.all(axis=1) & (result.lost == capture.truth.lost))
