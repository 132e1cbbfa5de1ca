"""A link that puts every round on the air once, and answers from memory whoever asks again.

For airs whose noise is fresh each time, as a radio's is. There a second transmission of a round is a second look at what the
devices sent: it averages noise away that a privacy claim rests on. A request that a slow answer made its client repeat must
therefore reach the air once only, in whatever blocks its rounds come the second time.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right, insort
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bridge.errors import BridgeError, RequestRefused
from bridge.links import AirLink, AirResult, one_sentence

__all__ = ["SECRET", "SEED", "Once", "Stretches", "repeats"]

# What a link's description says under "noise" where every draw is a function of the seed.
SEED = "seed"
# Where the draws that protect are a function of a secret of the server's.
SECRET = "secret"

# Answers kept for one session; those of its newest request always are.
ANSWERS = 4096
ANSWER_BYTES = 16 << 20
# Stretches of consecutive rounds that one session remembers as sent.
STRETCHES = 4096
# What a kept answer takes beside its numbers, and each of its diagnostics.
_ENTRY_BYTES, _DIAGNOSTIC_BYTES = 512, 64

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def repeats(description: Mapping[str, object]) -> bool | None:
    """Whether a round may be sent twice: whoever asks can draw the noise anyway; None where a link does not say.

    Noise keyed by a secret is the same when a round is sent again, and would cancel from the difference of values that differ
    in their last bits alone: such a round is not sent again either.
    """
    noise = description.get("noise")
    return None if noise is None else noise == SEED


class Stretches:
    """A set of whole numbers, kept as stretches of consecutive ones.

    With more than ``most`` of them the smallest gap is filled: the set can hold too much, never too little.
    """

    def __init__(self, most: int = STRETCHES) -> None:
        self._most = most
        self._first: list[int] = []
        self._stop: list[int] = []

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._first, number) - 1
        return at >= 0 and number < self._stop[at]

    def __len__(self) -> int:
        """How many stretches there are."""
        return len(self._first)

    def add(self, number: int) -> None:
        """Put a number in."""
        if number in self:
            return
        at = bisect_right(self._first, number)
        insort(self._first, number)
        self._stop.insert(at, number + 1)
        if at + 1 < len(self._first) and self._first[at + 1] == number + 1:
            self._join(at)
        if at and self._stop[at - 1] == number:
            self._join(at - 1)
        if len(self._first) > self._most:
            gaps = np.array(self._first[1:]) - np.array(self._stop[:-1])
            self._join(int(gaps.argmin()))

    def _join(self, at: int) -> None:
        del self._stop[at], self._first[at + 1]


@dataclass(frozen=True, slots=True, eq=False)
class _Answer:
    """What a round was answered, or how it failed on the air."""

    digest: bytes
    estimate: Floats | None
    lost: bool
    diagnostics: Mapping[str, float]
    error: Exception | None = None

    @property
    def nbytes(self) -> int:
        size = _ENTRY_BYTES + _DIAGNOSTIC_BYTES * len(self.diagnostics)
        return size if self.estimate is None else size + self.estimate.nbytes


@dataclass(frozen=True, slots=True, eq=False)
class _Remembered:
    """The rounds of a request, put together again."""

    estimates: Floats
    lost: Bools
    diagnostics: dict[str, Floats]


class Once:
    """The link of one session, each of whose rounds is on the air once.

    Args:
        link: what sends; it may serve other sessions too, whose rounds are transmissions of their own.
    """

    def __init__(self, link: AirLink) -> None:
        self.link = link
        self.nbytes = 0
        self._answers: OrderedDict[int, _Answer] = OrderedDict()
        self._sent = Stretches()

    @property
    def description(self) -> Mapping[str, int | float | str]:
        """The link's own."""
        return self.link.description

    def aggregate(self, rounds: npt.NDArray[np.int64], payloads: Floats, present: Bools | None = None) -> AirResult:
        """Send the rounds [B] that were not sent yet; answer the others from memory.

        Raises:
            RequestRefused: a round was sent with other payloads [K, n] or other devices present, or so long ago that its
                answer is gone. Nothing of the request is sent then.
        """
        numbers = rounds.tolist()
        digests = [_digest(payloads[i], None if present is None else present[i]) for i in range(len(numbers))]
        new = self._new(numbers, digests)
        if len(new) == len(numbers):
            return self._send(numbers, digests, rounds, payloads, present)
        if new:
            at = np.array(list(new.values()))
            who = None if present is None else present[at]
            self._send(list(new), [digests[i] for i in at], rounds[at], payloads[at], who)
        return self._recalled(numbers, payloads.shape[2])

    def forget_answers(self) -> None:
        """Free the memory of the answers. That the rounds were sent stays known."""
        self._answers.clear()
        self.nbytes = 0

    def _new(self, numbers: list[int], digests: list[bytes]) -> dict[int, int]:
        """Round -> where it stands first, of those that were never sent."""
        new: dict[int, int] = {}
        for i, (number, digest) in enumerate(zip(numbers, digests, strict=True)):
            known = self._answers.get(number)
            if known is not None:
                before = known.digest
            elif number in new:
                before = digests[new[number]]
            elif number in self._sent:
                raise RequestRefused(
                    f"round {number} was on the air already and its answer is no longer kept; a round is sent once, so go on "
                    "with another"
                )
            else:
                new[number] = i
                continue
            if before != digest:
                raise RequestRefused(
                    f"round {number} was on the air already, with other values: a round is sent once, as every transmission "
                    "is a release of its own; go on with another round"
                )
            if known is not None and known.error is not None:
                raise known.error.with_traceback(None)
        return new

    def _send(
        self, numbers: list[int], digests: list[bytes], rounds: npt.NDArray[np.int64], payloads: Floats, present: Bools | None
    ) -> AirResult:
        before = self._transmissions()
        try:
            result = self.link.aggregate(rounds, payloads, present)
            answers = [
                _Answer(
                    digest,
                    np.array(result.estimates[i], dtype=np.float64),
                    bool(result.lost[i]),
                    {name: float(values[i]) for name, values in result.diagnostics.items()},
                )
                for i, digest in enumerate(digests)
            ]
        except Exception as error:
            if before is None or self._transmissions() != before:  # it may have failed with the burst on the air
                failed = (RequestRefused if isinstance(error, RequestRefused) else BridgeError)(one_sentence(error))
                self._keep(numbers, [_Answer(digest, None, True, {}, failed) for digest in digests])
            raise
        self._keep(numbers, answers)
        return result

    def _transmissions(self) -> int | None:
        """Slots that the air has sent, where it counts them."""
        count: int | None = getattr(self.link, "transmissions", None)
        return count

    def _keep(self, numbers: list[int], answers: list[_Answer]) -> None:
        for number, answer in zip(numbers, answers, strict=True):
            self._sent.add(number)
            self._answers[number] = answer
            self.nbytes += answer.nbytes
        while len(self._answers) > len(numbers) and (len(self._answers) > ANSWERS or self.nbytes > ANSWER_BYTES):
            self.nbytes -= self._answers.popitem(last=False)[1].nbytes

    def _recalled(self, numbers: list[int], entries: int) -> _Remembered:
        answers = [self._answers[number] for number in numbers]
        estimates: Any = [np.full(entries, np.nan) if answer.estimate is None else answer.estimate for answer in answers]
        names = dict.fromkeys(name for answer in answers for name in answer.diagnostics)
        return _Remembered(
            np.array(estimates, dtype=np.float64),
            np.array([answer.lost for answer in answers], dtype=np.bool_),
            {name: np.array([answer.diagnostics.get(name, np.nan) for answer in answers]) for name in names},
        )


def _digest(payload: Floats, present: Bools | None) -> bytes:
    """Of one round: its payloads [K, n] and who is present [K]; everybody is the same as nobody said."""
    found = hashlib.blake2b(np.array(payload.shape, dtype="<i8").tobytes(), digest_size=16)
    found.update(np.ascontiguousarray(payload, dtype="<f8").tobytes())
    found.update(b"" if present is None or present.all() else np.ascontiguousarray(present, dtype="u1").tobytes())
    return found.digest()
