"""What a link says of its noise: whether a round that is sent twice has the same bits."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bridge.captures.overlay import OverlayConfig, overlaid
from bridge.captures.writing import RecordingWriter
from bridge.stream_air import Part as StreamAir
from phy.config import LinkConfig
from phy.foreign import Guarded, states
from phy.link import Link
from phy.waveform_airs.emulated import Part as Emulated

ROUNDS = np.arange(5, 9)
PAYLOADS = np.random.default_rng(0).uniform(-1, 1, (4, 3, 2))


class Hiss(Emulated):
    """Keeps the emulated air's word for itself and adds noise of its own."""

    def transmit(self, bursts: Any, round_index: int, sounded: Any, reference_sample: int) -> Any:
        samples = super().transmit(bursts, round_index, sounded, reference_sample)
        return (samples + 0.1 * np.random.default_rng().normal(size=samples.shape)).astype(np.complex64)


class Tape(Hiss):
    keyed = True

    def transmit(self, bursts: Any, round_index: int, sounded: Any, reference_sample: int) -> Any:
        return Emulated.transmit(self, bursts, round_index, sounded, reference_sample)


class Superposition:
    """A user's air at symbol fidelity."""

    def __init__(self, draws: Any) -> None:
        del draws

    def superpose(self, channel: Any, signals: Any) -> Any:
        return (channel * signals[:, None]).sum(axis=2)


class KeyedSuperposition(Superposition):
    keyed = True


def link(make_air: Any = None, **settings: Any) -> Link:
    return Link(LinkConfig.model_validate({"clip": 1.0, **settings}), 7, make_air)


WAVEFORM = {"fidelity": "waveform"}
CASES: list[tuple[str, Callable[[], Link]]] = [
    ("seed", link),
    ("seed", lambda: link(scheme="fsk_mv")),
    ("seed", lambda: link(scheme="digital")),
    ("seed", lambda: link(receiver="aligned", burst={"pulse": "rect"})),
    ("seed", lambda: link(backend="numpy")),
    ("seed", lambda: link(**WAVEFORM)),
    ("seed", lambda: link(**WAVEFORM, burst={"air": "time_channel"})),
    ("seed", lambda: link(**WAVEFORM, backend="numpy")),
    ("seed", lambda: link(**WAVEFORM, backend="numpy", burst={"air": "time_channel"})),
    ("seed", lambda: link(**WAVEFORM, burst={"air": "testbench.examples.torch_channel:SaturatingFrontEnd"})),
    ("seed", lambda: link(Tape, **WAVEFORM)),
    ("seed", lambda: link(**WAVEFORM, burst={"air": f"{__name__}:Tape"})),
    ("seed", lambda: link(air=f"{__name__}:KeyedSuperposition")),
    ("fresh", lambda: link(air=f"{__name__}:Superposition")),
    ("fresh", lambda: link(Hiss, **WAVEFORM)),
    ("fresh", lambda: link(**WAVEFORM, burst={"air": f"{__name__}:Hiss"})),
]


@pytest.mark.parametrize(("noise", "make"), CASES, ids=[str(i) for i in range(len(CASES))])
def test_who_says_seed_repeats_itself(noise: str, make: Callable[[], Link]) -> None:
    made = make()
    assert made.description["noise"] == noise
    assert made.keyed == (noise == "seed")
    if noise == "seed":
        first, second = made.aggregate(ROUNDS, PAYLOADS), make().aggregate(ROUNDS[::-1], PAYLOADS[::-1])
        assert first.estimates.tobytes() == second.estimates[::-1].tobytes()
        assert "transmissions" not in first.diagnostics  # diagnostics of an emulation are what they were


@pytest.mark.parametrize("settings", [{}, {"receiver": "aligned", "burst": {"pulse": "rect", "synchronisation": "slot"}}])
def test_an_air_of_fresh_noise_counts_what_it_is_given(settings: dict[str, Any]) -> None:
    given: list[int] = []

    class Counting(Hiss):
        def transmit(self, bursts: Any, round_index: int, sounded: Any, reference_sample: int) -> Any:
            given.append(round_index)
            return None if round_index == 7 else super().transmit(bursts, round_index, sounded, reference_sample)

    made = link(Counting, **WAVEFORM, **settings)
    assert made.transmissions == 0
    present = np.ones((4, 3), np.bool_)
    present[1] = False
    result = made.aggregate(ROUNDS, PAYLOADS, present)
    assert given == [5, 7, 8]
    assert result.diagnostics["transmissions"].tolist() == [1.0, 0.0, 1.0, 1.0]
    assert result.lost.tolist() == [False, True, True, False]
    assert result.diagnostics["loudest_gain"][2] > 0  # lost by the receiver, and perhaps heard by others
    assert result.diagnostics["loudest_gain"][1] == 0
    assert made.transmissions == 3


def test_the_stream_air_does_not_say_that_it_repeats_itself_and_the_overlay_does(tmp_path: Any) -> None:
    assert not getattr(StreamAir, "keyed", False)
    writer = RecordingWriter(tmp_path / "noise", LinkConfig().burst.sample_rate_hz, 1e9, {})
    writer.append(np.random.default_rng(0).normal(size=4000).astype(np.complex64), {}, "noise")
    writer.close()
    jammed = overlaid(OverlayConfig(file=tmp_path / "noise", level_db=0.0))
    made = link(jammed, **WAVEFORM)
    assert made.description["noise"] == "seed"
    assert made.aggregate(ROUNDS, PAYLOADS).estimates.tobytes() == made.aggregate(ROUNDS, PAYLOADS).estimates.tobytes()


def test_a_subclass_has_to_say_it_again_guarded_or_not() -> None:
    tape, hiss = Tape.__new__(Tape), Hiss.__new__(Hiss)
    assert states(tape, "keyed")
    assert states(Guarded("air", tape), "keyed")
    assert not states(hiss, "keyed")
    assert not states(Guarded("air", hiss), "keyed")
