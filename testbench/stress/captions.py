"""What every figure and table states of its numbers."""

from testbench.spread import unbounded
from testbench.stress.plan import StressConfig


def sessions_of(plan: StressConfig, axis: str | None = None) -> str:
    """How many sessions the rounds are split into: more where offsets are drawn once per device."""
    many = min(plan.static_sessions, plan.rounds)
    if axis is None:
        return f"{plan.sessions} sessions ({many} where an offset is drawn once per device)"
    return f"{many if getattr(plan.chosen_axes()[axis], 'per', '') == 'device' else plan.sessions} sessions"


def caption(plan: StressConfig, axis: str | None = None, *, comparison: bool = False) -> str:
    """The settings behind the numbers, in two lines; a comparison has symbol durations, ages and rounds of its own."""
    link = plan.link
    control = link.power.control + (f" at {link.power.threshold:g}" if link.power.control == "truncated" else "")
    channel = "Rayleigh block fading" if link.channel.model == "rayleigh" else f"channel {link.channel.model}"
    age = "" if comparison else f", pilot {link.csi.age_s * 1e3:g} ms old"
    duration = "" if comparison else f"T = {link.offsets.symbol_duration_s * 1e6:g} µs, "
    rounds = "" if comparison else f"{plan.rounds} rounds a point in {sessions_of(plan, axis)}, "
    tail = unbounded(link, plan.devices, "an NMSE")
    return (
        f"SNR_max = Es/N0 = {link.snr_max_db:g} dB, Es = 1 per scalar and device at full scale, N0 = {link.n0:.3g} per complex "
        f"sample; {channel}, CSI {link.csi.estimator}{age}, {control}, {duration}{link.fidelity} fidelity\n"
        f"K = {plan.devices}, M = {link.receive_antennas}, {rounds}seed {plan.seed} (common random numbers), "
        f"{plan.payload.in_words()}; bands 95 %, from batch means (NMSE) and Wilson (shares)"
        f"{f'; {tail}' if tail else ''}"
    )
