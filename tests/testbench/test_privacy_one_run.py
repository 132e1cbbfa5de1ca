"""One-run audits of the real link's samples, canaries without a model: honest runs hold, and plants are found."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binom

from learning.privacy import gdp
from phy.config import LinkConfig
from phy.link import Link
from testbench.errors import TestbenchError as Refusal
from testbench.privacy.design import Design, design
from testbench.privacy.listening import listen
from testbench.privacy.membership_run import CanaryRun, OneRun, exposed_scenario, one_run
from testbench.privacy.tuning import InProcessAir
from testbench.privacy.worst_case import Aligned, Placed, exposure, weigh
from testbench.scenario import Scenario, build

DEVICES, ROUNDS = 2, 80


def scenario(
    canaries: int, seed: int = 1, rounds: int = ROUNDS, link: dict[str, object] | None = None, **privacy: object
) -> Scenario:
    data = exposed_scenario(canaries).plain()
    data["seed"] = seed
    data["federation"] |= {"devices": DEVICES, "rounds": rounds, "batch_size": canaries // DEVICES}
    data["link"] |= link or {}
    data["privacy"] |= privacy
    return build(data, "test")


def canaries_of(stated: Scenario, count: int) -> Placed:
    """Every canary in every batch, and nobody else."""
    chosen = exposure(count, count, stated.federation.rounds, stated.seed)
    known = np.zeros((stated.federation.rounds, DEVICES))
    share = stated.zeroth_order.clip / stated.federation.batch_size
    return Placed(np.arange(count) % DEVICES, chosen.signs, chosen.included, known, share)


def emulate(
    stated: Scenario,
    count: int,
    real: Callable[[LinkConfig], LinkConfig] = lambda link: link,
    planned: Design | None = None,
    gains: np.ndarray | None = None,
) -> tuple[OneRun, Aligned]:
    """One run as ``stated``, over a link that ``real`` makes of the plan's; canaries are ``gains`` [m] as loud as claimed."""
    planned = planned or design(stated, count // DEVICES)
    placed = canaries_of(stated, count)
    coins = np.where(placed.included, placed.share, -placed.share) * (1.0 if gains is None else gains)
    members = np.arange(count)[:, None] % DEVICES == np.arange(DEVICES)
    payloads = placed.signs.T.astype(float) @ (coins[:, None] * members)
    scores, aligned = weigh(planned, placed, InProcessAir(real(planned.link), stated.seed), payloads)
    return one_run(CanaryRun(planned, None, scores, aligned)), aligned  # type: ignore[arg-type]


def as_stated(found: OneRun) -> bool:
    """Whether what is left is white Gaussian noise, of the stated strength within four standard deviations."""
    known = found.known
    assert known is not None
    return known.residual.sound and abs(known.residual.level - 1.0) < 4.0 / math.sqrt(2.0 * known.rounds)


def test_honest_runs_are_refuted_in_one_of_twenty_at_most() -> None:
    """Claims that are true to the last digit; 40 runs, channels, noise and coins of their own."""
    found = [emulate(scenario(160, seed), 160)[0] for seed in range(40)]
    assert sum(bool(each.violated) for each in found) <= binom.ppf(0.999, 40, 0.05)
    assert np.median([each.epsilon for each in found]) > 0.65 * 8.0
    # The limits from guesses alone hold as well.
    assert max(each.bound.epsilon for each in found) < 8.0


def test_unequal_canaries_do_not_refute_a_claim_that_holds_for_the_loudest() -> None:
    """Half of the canaries are silent, though the auditor reckons with all of them."""
    gains = np.where(np.random.default_rng(0).random(400) < 0.5, 0.0, 1.0)
    assert not any(emulate(scenario(400, seed), 400, gains=gains)[0].violated for seed in range(6))


def test_noise_half_as_strong_as_stated_is_found() -> None:
    found, _ = emulate(
        scenario(800, epsilon=4.0, rounds=200), 800, lambda link: link.model_copy(update={"snr_max_db": 83.0103})
    )
    assert set(found.violated) == set(found.claims)
    assert found.epsilon > 4.8


def test_n0_taken_for_the_variance_of_the_real_axis_is_found() -> None:
    """The claim reckons with twice the noise that there is on the axis of the payload."""
    stated = scenario(800, epsilon=4.0, rounds=200)
    doubled = stated.link.model_copy(update={"snr_max_db": stated.link.snr_max_db - 10.0 * math.log10(2.0)})
    wrong = design(stated.model_copy(update={"link": doubled}), 400)
    found, _ = emulate(stated, 800, lambda link: link.model_copy(update={"snr_max_db": stated.link.snr_max_db}), wrong)
    assert found.claims["gdp"] == pytest.approx(4.0, rel=1e-3)
    assert "gdp" in found.violated


def test_antennas_that_are_not_counted_are_found_and_every_one_is_listened_to() -> None:
    """Planned for one antenna, received by four: mu^2 of a canary is the sum over the antennas' own responses."""
    stated = scenario(400, epsilon=2.0)
    single, one = emulate(stated, 400)
    four = {"receive_antennas": 4}
    found, all_four = emulate(stated, 400, lambda link: link.model_copy(update=four))
    assert not single.violated
    assert "gdp" in found.violated
    assert (one.numbers, all_four.numbers) == (2, 8)
    link = design(stated, 200).link.model_copy(update=four)
    rounds, energy = np.arange(ROUNDS), []
    for device in range(DEVICES):
        payloads = np.zeros((ROUNDS, DEVICES, 1))
        payloads[:, device] = link.clip
        heard = Link(link, stated.seed)
        swing = heard.observe(rounds, payloads).astype(complex) - heard.observe(rounds, -payloads)
        energy.append(np.square(np.abs(swing)).sum() / 200**2 / (link.n0 / 2.0))
    # A record is 1 / 200 of a device's payload; the swing from -clip to clip is a record's times that.
    assert all_four.unit_mu == pytest.approx(math.sqrt(np.mean(energy)), rel=1e-3)
    assert all_four.unit_mu > 1.5 * one.unit_mu


def test_a_claim_that_counts_the_antennas_holds() -> None:
    stated = scenario(400, epsilon=4.0, link={"receive_antennas": 4}, csi_gain="realised")
    found, aligned = emulate(stated, 400)
    assert aligned.numbers == 8
    assert not found.violated
    assert found.epsilon > 0.5


def test_a_louder_canary_than_claimed_is_found() -> None:
    found, _ = emulate(scenario(400, epsilon=4.0, rounds=200), 400, gains=np.full(400, 1.5))
    assert found.known is not None
    assert found.known.gain == pytest.approx(1.5, abs=0.25)
    assert "gdp" in found.violated


@pytest.mark.parametrize("source", ["artificial", "both"])
def test_artificial_noise_is_stated_noise(source: str) -> None:
    """The auditor divides by it where it stands: mu and the level of the residual are as claimed."""
    stated = scenario(
        400, epsilon=4.0, rounds=200, noise_source=source, link={"snr_max_db": 60.0 if source == "artificial" else 20.0}
    )
    found, aligned = emulate(stated, 400)
    planned = design(stated, 200)
    assert as_stated(found)
    assert not found.violated
    assert aligned.unit_mu <= planned.release.total_mu * (1 + 1e-6)
    if source == "artificial":
        # The same run without it is far louder than claimed, and that shows.
        def quiet(link: LinkConfig) -> LinkConfig:
            return link.model_copy(update={"power": link.power.model_copy(update={"artificial_noise": 0.0})})

        assert "gdp" in emulate(stated, 400, quiet)[0].violated


def test_every_sample_of_a_waveform_is_listened_to() -> None:
    """Known symbols of the burst are no residual, and mu is that of the claim, as an energy of samples."""
    stated = scenario(600, epsilon=12.0, rounds=24, link={"fidelity": "waveform"})
    found, aligned = emulate(stated, 600)
    assert aligned.numbers > 100
    assert aligned.unit_mu == pytest.approx(gdp.mu(12.0, 1e-5), rel=1e-3)
    assert as_stated(found)
    assert not found.violated


def test_a_receiver_that_keeps_no_samples_is_refused_with_a_way_out() -> None:
    stated = scenario(40, link={"receiver": "aligned"})
    with pytest.raises(Refusal, match=r"take another link\.receiver"):
        emulate(stated, 40)


def test_noise_is_weighed_by_its_covariance() -> None:
    """Against C^-1 written out: artificial noise of two devices at three antennas."""
    stated = scenario(40, rounds=5, link={"receive_antennas": 3}, csi_gain="realised")
    own = np.linspace(0.1, 0.3, 5) * 1e-3
    power = stated.link.power.model_copy(update={"artificial_noise": tuple(own.tolist())})
    link = stated.link.model_copy(update={"power": power})
    air = InProcessAir(link, 1)
    payloads = np.random.default_rng(1).uniform(-4, 4, (5, DEVICES))
    known = payloads / 3
    heard = listen(air, payloads, known, payloads - known, own)
    for t in range(5):
        at = np.array([t])
        h = np.stack(
            [(air.observe(at, e) - air.observe(at, -e))[0] / (2 * air.clip) for e in air.clip * np.eye(2)[:, None]], -1
        )
        stack = np.concatenate((h.real, h.imag))
        covariance = np.eye(6) * link.n0 / 2 + np.square(air.clip * own[t]) * stack @ stack.T
        inverse = np.linalg.inv(covariance)
        seen = air.observe(at, payloads[t : t + 1])[0]
        left = np.concatenate((seen.real, seen.imag)) - stack @ known[t]
        target = stack @ (payloads - known)[t]
        size = math.sqrt(target @ inverse @ target)
        assert heard.expected[t] == pytest.approx(size, rel=1e-4)
        assert heard.along[t] == pytest.approx(target @ inverse @ left / size, rel=1e-4)
        assert heard.energy[t] == pytest.approx(np.diag(stack.T @ inverse @ stack), rel=1e-4)


def test_rounds_in_which_nobody_is_heard_are_left_out() -> None:
    stated = scenario(40, rounds=40)
    planned = design(stated, 20)
    caps = planned.amplitudes * (np.arange(40) % 4 > 0)
    silent = planned.link.model_copy(update={"power": planned.link.power.model_copy(update={"caps": tuple(caps.tolist())})})
    found, aligned = emulate(stated, 40, lambda link: silent)
    assert aligned.observed.shape == aligned.expected.shape == (30,)
    assert as_stated(found)
