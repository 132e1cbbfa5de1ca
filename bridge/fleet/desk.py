"""The coordinator's desk: who takes part, which slot is open, what was answered, and what each device is told next.

No socket and no model: messages in, messages out, and a few calls of the thread that runs the rounds. Everything that a
device is told follows from the journal's rows, the checkpoints and where the device says that it stands, so that a request
may be sent again, and a coordinator started anew, without harm.
"""

from __future__ import annotations

import hashlib
import threading
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from bridge.fleet.card import Air, Collected, RunCard
from bridge.fleet.history import History
from bridge.fleet.messages import (
    MAX_SCALARS,
    Answer,
    Deposited,
    Done,
    ErrorReply,
    FleetMessage,
    Goodbye,
    Hello,
    Join,
    Joined,
    Leave,
    Next,
    Proof,
    Prove,
    Receipt,
    Rows,
    Slot,
    Verdict,
    Wait,
    Welcome,
)

__all__ = ["Desk"]

Floats = npt.NDArray[np.float64]

# A place that nobody has spoken from for this long may be given to a newcomer that asks for any.
ABANDONED_S = 10.0
# How long a place is kept for a newcomer that loads its model.
HOLD_PLACE_S = 600.0


@dataclass
class _Seat:
    number: int
    instance: str
    session: str
    standing: int
    proven: int
    own_data: bool
    current: bool = False  # stands where the run stands, with proven weights; waited for in the next slot
    resyncs: int = 0
    diverged: bool = False  # told so, and not back at the base weights yet
    told: bool = False
    heard: float = field(default_factory=time.monotonic)


@dataclass
class _Slot:
    round: int
    seed: int
    closes: float
    expected: set[int]
    answers: dict[int, Answer | Deposited] = field(default_factory=dict)


class Desk:
    """One run's desk; `reply` belongs to the thread with the socket, the rest to the one that runs the rounds.

    Args:
        card: the run.
        say: called with a line for a person, from either thread.
        changed: called when what a waiting device would be told may have changed.
        air: where devices deposit their scalars; None: they send them here.
    """

    def __init__(
        self,
        card: RunCard,
        say: Callable[[str], None],
        changed: Callable[[], None] = lambda: None,
        air: Air | None = None,
    ) -> None:
        self.card = card
        self._air = air
        self.changed = changed
        self._say = say
        self._lock = threading.Condition()
        self._seats: dict[int, _Seat] = {}
        self._asked: dict[str, tuple[int, float]] = {}  # places held for newcomers: instance -> (number, since when)
        self._replaced: set[str] = set()
        self._salt = hashlib.sha256(f"{card.run} {time.time_ns()}".encode()).hexdigest()
        self._seeds = array("q")
        self._rates = array("d")
        self._estimates = array("d")  # n per round
        self._history = History(card.run)
        self._checkpoints: dict[int, str] = {0: card.base_weights_sha256}
        self._slot: _Slot | None = None
        self._closed: _Slot | None = None  # the slot before, for answers that are sent again
        self._done: str | None = None
        self._reason = "the coordinator prepares the run"

    # What the thread of the rounds calls.

    @property
    def head(self) -> int:
        """How many rounds are committed."""
        return len(self._seeds)

    @property
    def own_data(self) -> bool:
        """Whether a device brought data of its own."""
        with self._lock:
            return any(seat.own_data for seat in self._seats.values())

    def present(self) -> int:
        """How many devices stand where the run stands."""
        with self._lock:
            return sum(seat.current for seat in self._seats.values())

    def await_devices(self, count: int, patience_s: float, waiting: Callable[[int], None]) -> bool:
        """Wait until `count` devices stand where the run stands; False where they do not within `patience_s`.

        Args:
            count: of devices.
            patience_s: how long to wait; newcomers on their way do not extend it.
            waiting: called about once a second with the number that are there.
        """
        deadline = time.monotonic() + patience_s
        with self._lock:
            self._reason = f"the run waits for {count} devices"
            while (there := sum(seat.current for seat in self._seats.values())) < count:
                if time.monotonic() >= deadline:
                    return False
                waiting(there)
                self._lock.wait(min(1.0, max(0.0, deadline - time.monotonic())))
        return True

    def collect(self, round_index: int, seed: int, slot_s: float) -> Collected:
        """Open the slot of a round, and close it when all who are waited for have answered, or after `slot_s`."""
        with self._lock:
            if round_index != self.head:
                raise ValueError(f"the slot of round {round_index} cannot open: {self.head} rounds are committed")
            closes = time.monotonic() + slot_s
            expected = {seat.number for seat in self._seats.values() if seat.current}
            slot = self._slot = _Slot(round_index, seed, closes, expected)
            self._reason = f"round {round_index} is under way"
        self.changed()
        with self._lock:
            while slot.expected - slot.answers.keys() and (left := closes - time.monotonic()) > 0:
                self._lock.wait(left)
            self._slot, self._closed = None, slot
            for number in sorted(slot.expected - slot.answers.keys()):
                seat = self._seats.get(number)
                if seat is not None:
                    seat.current = False
                self._say(
                    f"device {number} did not answer round {round_index} within {slot_s:g} s; the round goes on without it"
                )
            return self._collected(slot)

    def publish(self, seed: int, learning_rate: float, estimates: Floats | None) -> None:
        """Broadcast the next round; it must be in the journal already. `estimates` [n] are None where it was lost."""
        values = np.full(self.card.n, np.nan) if estimates is None else np.array(estimates, dtype=np.float64)
        if values.shape != (self.card.n,):
            raise ValueError(f"round {self.head} has estimates of shape {values.shape}, not ({self.card.n},)")
        with self._lock:
            self._seeds.append(seed)
            self._rates.append(learning_rate)
            self._estimates.extend(values)
            self._history.append(seed, learning_rate, values)
        self.changed()

    def checkpoint(self, standing: int, weights_sha256: str) -> None:
        """Have every device that comes to stand before round `standing` prove its weights."""
        with self._lock:
            self._checkpoints[standing] = weights_sha256
        self.changed()

    def busy(self, reason: str) -> None:
        """What waiting devices are told that they wait for."""
        with self._lock:
            self._reason = reason

    def finish(self, reason: str) -> None:
        """Tell every device that the run is over, once it has all rounds."""
        with self._lock:
            self._done = reason
        self.changed()

    def await_farewells(self, patience_s: float) -> None:
        """Wait until all who stand where the run stands were told that it is over."""
        deadline = time.monotonic() + patience_s
        with self._lock:
            while any(seat.current and not seat.told for seat in self._seats.values()) and time.monotonic() < deadline:
                self._lock.wait(0.1)

    def _collected(self, slot: _Slot) -> Collected:
        payloads = np.zeros((self.card.devices, self.card.n))
        present = np.zeros(self.card.devices, dtype=np.bool_)
        losses = weights = clipped = 0.0
        for number in sorted(slot.answers):  # in the order of the devices: the same sums however they arrive
            answer = slot.answers[number]
            present[number] = True
            if isinstance(answer, Deposited):
                payloads[number] = 0.0 if answer.finite else np.nan
                continue
            payloads[number] = answer.payloads
            clipped += answer.clipped_fraction / len(slot.answers)
            if answer.samples:
                losses += answer.mean_loss * answer.samples
                weights += answer.samples
        nothing = float("nan")
        return Collected(payloads, present, losses / weights if weights else nothing, nothing if self._air else clipped)

    # What the thread with the socket calls.

    def reply(self, message: FleetMessage) -> FleetMessage | None:
        """The answer to a device's message; None where a NEXT may wait, to be asked again when something changed."""
        with self._lock:
            answer = self._reply(message)
            self._lock.notify_all()
            return answer

    def waiting(self) -> Wait:
        """What a device is told that has waited long enough to wonder."""
        with self._lock:
            return Wait(reason=self._reason)

    def _reply(self, message: FleetMessage) -> FleetMessage | None:
        if isinstance(message, Hello):
            return self._hello(message)
        if isinstance(message, Join):
            return self._join(message)
        if isinstance(message, Leave):
            return self._leave(message)
        if not isinstance(message, Next | Answer | Deposited | Proof):
            return ErrorReply(code="bad_frame", message=f"a {type(message).__name__} is no request")
        if message.session in self._replaced:
            return ErrorReply(code="replaced", message="another process took this device's number")
        seat = next((seat for seat in self._seats.values() if seat.session == message.session), None)
        if seat is None:
            return ErrorReply(code="unknown_session", message="this session is not open; join again")
        seat.heard = time.monotonic()
        if isinstance(message, Next):
            return self._next(seat, message)
        if isinstance(message, Answer | Deposited):
            return self._answer(seat, message)
        return self._proof(seat, message)

    def _hello(self, message: Hello) -> FleetMessage:
        number = message.number
        if number is not None and number >= self.card.devices:
            return self._refuse(
                f"there is no device {number} in a run of {self.card.devices}; numbers go from 0 to {self.card.devices - 1}"
            )
        now = time.monotonic()
        self._asked = {instance: held for instance, held in self._asked.items() if now - held[1] < HOLD_PLACE_S}
        if number is None and message.instance in self._asked:
            number = self._asked[message.instance][0]
        if number is None:
            number = self._free_place()
        if number is None:
            return self._refuse(f"all {self.card.devices} places of the run are taken; raise federation.devices for a new run")
        if message.number is None:
            self._asked[message.instance] = (number, now)
        return Welcome(run=self.card.run, number=number, settings=dict(self.card.settings), software=self.card.software)

    def _free_place(self) -> int | None:
        held = {number for number, _ in self._asked.values()}
        for number in range(self.card.devices):
            if number not in self._seats and number not in held:
                return number
        now = time.monotonic()
        for number, seat in sorted(self._seats.items()):
            if number not in held and not seat.current and now - seat.heard > ABANDONED_S:
                return number
        return None

    def _join(self, message: Join) -> FleetMessage:
        number, card = message.number, self.card
        if number >= card.devices:
            return self._refuse(f"there is no device {number} in a run of {card.devices}")
        if message.instance in self._replaced:
            return ErrorReply(code="replaced", message=f"another process took the number {number}")
        sentence = self._unfit(message)
        if sentence is not None:
            self._asked.pop(message.instance, None)
            return self._refuse(f"device {number} {sentence}")
        self._asked.pop(message.instance, None)
        restart = message.standing > self.head or self._history.at(message.standing) != message.history
        before = self._seats.get(number)
        if before is not None and before.instance != message.instance:
            self._replaced |= {before.instance, before.session}
        session = hashlib.sha256(f"{self._salt} {number} {message.instance}".encode()).hexdigest()
        self._seats[number] = _Seat(
            number=number,
            instance=message.instance,
            session=session,
            standing=0 if restart else message.standing,
            proven=0,
            own_data=message.task_sha256 is None,
        )
        data = "its own data" if message.task_sha256 is None else "its share of the task"
        place = "from the base weights" if restart and message.standing else f"before round {message.standing}"
        again = "joins" if before is None else "joins again"
        self._say(f"device {number} {again} {place}, with {message.examples} examples of {data}")
        if self._air is not None:
            return self._air.seated(number, message.instance, session, restart)
        return Joined(session=session, restart=restart)

    def _unfit(self, message: Join) -> str | None:
        """Why a device cannot take part; None where it can."""
        card = self.card
        if message.base_weights_sha256 != card.base_weights_sha256:
            return (
                f"holds another base model: its weights hash to {message.base_weights_sha256[:16]}..., the run's to "
                f"{card.base_weights_sha256[:16]}...; give it the model that the run starts from"
            )
        for name in sorted(card.identity.keys() | message.identity.keys()):
            if card.identity.get(name) != message.identity.get(name):
                return (
                    f"computes other losses: its {name} is {_plain(message.identity.get(name, 'unset'))}, the run's is "
                    f"{card.identity.get(name, 'unset')}"
                )
        if message.task_sha256 is not None and message.task_sha256 != card.task_sha256:
            return (
                "holds another task: its examples and wording hash to "
                f"{message.task_sha256[:16]}..., the run's to {card.task_sha256[:16]}...; give it the run's files"
            )
        if message.examples == 0:
            return "has an empty split: it holds no training example; give it data or leave it out"
        return None

    def _leave(self, message: Leave) -> FleetMessage:
        self._asked.pop(message.instance, None)
        seat = self._seats.get(message.number)
        if seat is not None and seat.instance == message.instance:
            del self._seats[message.number]
            if self._slot is not None:
                self._slot.expected.discard(message.number)
        self._say(f"device {message.number} leaves: {_plain(message.reason)}")
        return Goodbye()

    def _next(self, seat: _Seat, message: Next) -> FleetMessage | None:
        head, standing = self.head, message.standing
        if standing > head:
            return ErrorReply(code="unknown_session", message="the run has fewer rounds than the device; join again")
        if seat.diverged and standing:
            return ErrorReply(code="unknown_session", message="the device has diverged and did not start again; join again")
        seat.standing, seat.diverged = standing, False
        if standing in self._checkpoints and seat.proven < standing and not message.measured:
            return Prove(round=standing)
        if standing < head:
            return self._rows(seat, standing)
        if not seat.current:
            seat.current = True
            if seat.standing:
                self._say(f"device {seat.number} is up to date before round {standing}")
        if self._done is not None:
            seat.told = True
            return Done(rounds=head, reason=self._done)
        slot = self._slot
        if slot is None or slot.round != standing:
            return None
        slot.expected.add(seat.number)
        if seat.number in slot.answers:
            return None
        return Slot(round=slot.round, seed=slot.seed, closes_in_s=max(0.0, slot.closes - time.monotonic()))

    def _rows(self, seat: _Seat, first: int) -> Rows:
        last = max((standing for standing in self._checkpoints if standing <= self.head), default=0)
        stop = last if first < last and seat.proven < last else self.head
        n = self.card.n
        stop = min(stop, first + max(1, MAX_SCALARS // n))
        return Rows(
            first=first,
            seeds=np.array(self._seeds[first:stop], dtype=np.int64),
            estimates=np.array(self._estimates[first * n : stop * n]).reshape(-1, n),
            learning_rates=np.array(self._rates[first:stop]),
        )

    def _answer(self, seat: _Seat, message: Answer | Deposited) -> FleetMessage:
        if isinstance(message, Answer) != (self._air is None):
            place = "to the coordinator" if self._air is None else "to the air server alone"
            return self._refuse(f"device {seat.number} is in a run whose scalars go {place}; join it anew")
        slot = self._slot
        if slot is None or slot.round != message.round:
            before = self._closed
            return Receipt(taken=before is not None and before.round == message.round and seat.number in before.answers)
        sentence = self._unsendable(seat, message) if isinstance(message, Answer) else None
        if sentence is not None:
            return self._refuse(sentence)
        whole = message.finite if isinstance(message, Deposited) else bool(np.isfinite(message.payloads).all())
        if seat.number not in slot.answers:  # the same answer may come twice; the first one counts
            slot.answers[seat.number] = message
            if not whole:
                self._say(
                    f"device {seat.number}: a loss of round {message.round} is not a number; the round is skipped by "
                    "everyone alike"
                )
        return Receipt(taken=True)

    def _unsendable(self, seat: _Seat, message: Answer) -> str | None:
        """Why the air would not take an answer; None where it would."""
        if message.payloads.shape != (self.card.n,):
            return (
                f"device {seat.number} sent {len(message.payloads)} scalars in round {message.round} instead of {self.card.n}"
            )
        numbers = message.payloads[np.isfinite(message.payloads)]
        if (np.abs(numbers) > self.card.clip).any():
            return (
                f"device {seat.number} sent a scalar of {np.abs(numbers).max():g} in round {message.round}, over the clip of "
                f"{self.card.clip:g}"
            )
        return None

    def _proof(self, seat: _Seat, message: Proof) -> FleetMessage:
        expected = self._checkpoints.get(message.round)
        if expected is None:
            return ErrorReply(code="unknown_session", message=f"nobody asked for a proof before round {message.round}")
        if message.weights_sha256 == expected:
            if seat.resyncs:
                self._say(f"device {seat.number} is resynchronised: its weights before round {message.round} are the run's")
            seat.proven, seat.resyncs = max(seat.proven, message.round), 0
            return Verdict(agree=True)
        if seat.diverged:  # the same proof twice
            return Verdict(agree=False)
        seat.current, seat.diverged = False, True
        seat.standing = seat.proven = 0
        seat.resyncs += 1
        if self._slot is not None:
            self._slot.expected.discard(seat.number)
        if seat.resyncs > 1:
            del self._seats[seat.number]
            return self._refuse(
                f"device {seat.number} has other weights than the run before round {message.round} even after it was "
                "resynchronised: its machine computes other bits; leave it out"
            )
        self._say(
            f"device {seat.number} has diverged: its weights before round {message.round} hash to "
            f"{message.weights_sha256[:16]}..., the run's to {expected[:16]}...; it starts again from the base weights"
        )
        return Verdict(agree=False)

    def _refuse(self, sentence: str) -> ErrorReply:
        self._say(f"refused: {sentence}")
        return ErrorReply(code="refused", message=sentence[:1024])


def _plain(text: str) -> str:
    """Text of a device as it may be shown: no control characters, of bounded length."""
    return "".join(c if c.isprintable() else " " for c in text)[:300]
