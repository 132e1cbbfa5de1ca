"""Plans of energy schemes are those of the accountant, and what it does not cover is refused."""

import pytest
from typer.testing import CliRunner

from learning.privacy.energy import EnergyRound
from testbench.errors import TestbenchError as Refusal
from testbench.privacy.command import app
from testbench.privacy.energy_plan import energy_round
from testbench.scenario import build


def test_the_plan_prints_the_accountants_numbers():
    done = CliRunner().invoke(app, ["plan", "--scheme", "reed", "--snr-max-db", "-10", "--rounds", "20", "--delta", "1e-3"])
    assert done.exit_code == 0, done.output
    exact = EnergyRound("reed", 10.0).epsilon(20, 1e-3)
    assert f"{exact:.4g}" in done.output
    kept = max(t for t in range(21) if EnergyRound("reed", 10.0).epsilon(t, 1e-3) <= 5)
    assert f"{kept} of 20" in done.output


def test_antennas_and_looks_of_the_link_are_charged():
    scenario = build({"link": {"scheme": "fsk_mv", "snr_max_db": 0.0, "receive_antennas": 2, "noncoherent": {"looks": 3}}}, "t")
    one = energy_round(scenario, advantage_db=10.0, antennas=2)
    assert (one.antennas, one.looks, one.n0) == (4, 3, pytest.approx(0.1))


@pytest.mark.parametrize("channel", [{"model": "awgn"}, {"placement": {"law": "disc"}}, {"doppler_hz": 5.0}])
def test_other_fading_is_refused(channel):
    with pytest.raises(Refusal, match=r"link\.channel"):
        energy_round(build({"link": {"scheme": "reed", "channel": channel}}, "t"))
