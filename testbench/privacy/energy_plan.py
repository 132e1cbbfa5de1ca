"""``pairzero privacy plan`` for schemes of energy detection: what a number of rounds reveals, as variance shifts.

They have no amplitude to schedule: a device is heard with the energy of its value, and only the number of rounds, looks and
antennas, and the noise, decide what is spent.
"""

from rich.console import Console
from rich.table import Table

from learning.privacy.energy import EnergyRound
from learning.privacy.release import adversary_n0
from learning.privacy.sensitivity import Sensitivity
from testbench.errors import TestbenchError
from testbench.scenario import Scenario


def energy_round(
    scenario: Scenario, advantage_db: float = 0.0, antennas: int = 0, sensitivity: Sensitivity | None = None
) -> EnergyRound:
    """What one round of the scenario's link reveals of one device at worst: of any value, or of what ``sensitivity`` says.

    ``antennas``: of the observer's own, beside the server's, with fades like those.

    :raises TestbenchError: fading that the accounting does not cover, or that the observer is told
    """
    link = scenario.link
    if link.fidelity == "waveform":
        raise TestbenchError(
            "at waveform fidelity every device's preamble tells how it fades, and energy detection is accounted for fades that "
            'nobody knows; set link.fidelity to "symbol"'
        )
    if link.channel.model != "rayleigh" or link.channel.placement.law != "none" or link.channel.antenna_correlation > 0:
        raise TestbenchError(
            "energy detection is accounted for Rayleigh fading of mean gain 1, independent over antennas; set link.channel so"
        )
    if link.channel.doppler_hz > 0:
        raise TestbenchError(
            "energy detection is accounted for fades that are new in every round; set link.channel.doppler_hz to 0"
        )
    return EnergyRound(
        link.scheme,
        adversary_n0(link.n0, advantage_db),
        looks=link.noncoherent.looks,
        antennas=link.receive_antennas + antennas,
        scalars=scenario.zeroth_order.directions,
        sensitivity_ratio=2.0 if sensitivity is None else sensitivity.ratio,
    )


def show_energy_plan(
    console: Console, scenario: Scenario, rounds: int, epsilon: float, delta: float, advantage_db: float, antennas: int
) -> None:
    """Print epsilon after growing numbers of rounds, and how many keep the promise."""
    one = energy_round(scenario, advantage_db, antennas)
    table = Table(title=f"{one.scheme}: epsilon at delta = {delta:g}", box=None, title_justify="left", pad_edge=False)
    for column in ("rounds", "ε (smaller of exact pair and Rényi)", "ε Rényi"):
        table.add_column(column, justify="right")
    for count in sorted({*(n for n in (1, 10, 100, 1000) if n < rounds), rounds}):
        table.add_row(f"{count}", f"{one.epsilon(count, delta):.4g}", f"{one.epsilon_renyi(count, delta):.4g}")
    console.print(table)
    kept = _most_rounds(one, epsilon, delta, rounds)
    console.print(f"rounds that keep epsilon = {epsilon:g}: {kept} of {rounds}", highlight=False)
    lines = (
        "neighbouring runs differ in the values that one device sends, each replaced by any other",
        f"SNR_max = {scenario.link.snr_max_db:g} dB, N0 the variance of one complex sample; adversary: {advantage_db:g} dB "
        f"above the server, {one.antennas} antennas with the server's, all samples of {one.looks} looks that share a fade",
        "fades unknown to it and new in every round; the other devices silent, the worst case",
    )
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def _most_rounds(one: EnergyRound, epsilon: float, delta: float, rounds: int) -> int:
    """Largest number of rounds, up to ``rounds``, that spends no more than epsilon."""
    low, high = 0, rounds
    while low < high:
        middle = (low + high + 1) // 2
        if one.epsilon(middle, delta) <= epsilon:
            low = middle
        else:
            high = middle - 1
    return low
