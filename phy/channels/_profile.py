"""Power delay profiles: what arrives when, and how strong."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phy.channels._tdl_tables import TABLES
from phy.errors import PhyError


@dataclass(frozen=True)
class Profile:
    """Delays [P] in seconds, mean powers [P] of the scattered paths, and the power of a line of sight on the first path.

    Raises :class:`phy.errors.PhyError` where a delay or a power is negative or not finite.
    """

    delays_s: NDArray[np.float64]
    powers: NDArray[np.float64]
    los_power: float = 0.0

    def __post_init__(self) -> None:
        if self.delays_s.ndim != 1 or self.delays_s.shape != self.powers.shape or not len(self.powers):
            raise PhyError(
                f"a power delay profile needs one power for each delay, got {self.powers.shape} powers and "
                f"{self.delays_s.shape} delays"
            )
        refuse_negative("delays [s] of the power delay profile", self.delays_s)
        refuse_negative("powers of the power delay profile", np.append(self.powers, self.los_power))


def refuse_negative(what: str, values: NDArray[np.float64]) -> None:
    """Raise :class:`phy.errors.PhyError` that names ``what`` and the values which are negative or not finite."""
    bad = values[~((values >= 0) & np.isfinite(values))]
    if bad.size:
        shown = ", ".join(f"{value:g}" for value in bad[:5])
        raise PhyError(f"{what} must be finite and not negative, got {shown}{', ...' if bad.size > 5 else ''}")


def tdl_profile(letter: str, delay_spread_s: float, backend: str = "sionna") -> Profile:
    """Profile TDL-``letter`` of 3GPP TR 38.901, section 7.7.2, as the backend's Sionna reads it: powers add up to 1."""
    if backend == "numpy":
        return _from_tables(letter, delay_spread_s)
    if backend == "tensorflow":
        import phy.runtimes.tensorflow  # noqa: F401  # says how TensorFlow is to be loaded
    from sionna.phy.channel.tr38901 import TDL

    # The carrier frequency turns speed into Doppler in Sionna; the profile does not depend on it.
    place = {} if backend == "tensorflow" else {"device": "cpu"}
    tdl = TDL(letter, delay_spread_s, carrier_frequency=1e9, precision="double", **place)
    powers = np.array(tdl.mean_powers.numpy(), np.float64)
    los_power = float(tdl.mean_power_los) if tdl.los else 0.0
    powers[0] -= los_power  # Sionna states the first path with its line of sight
    return Profile(np.array(tdl.delays.numpy(), np.float64), powers, los_power)


def _from_tables(letter: str, delay_spread_s: float) -> Profile:
    """The profile from the standard's own tables."""
    delays, powers_db, los_db = TABLES[letter]
    powers = 10.0 ** (np.array(powers_db) / 10.0)
    los_power = 0.0 if los_db is None else 10.0 ** (los_db / 10.0)
    total = powers.sum() + los_power
    return Profile(np.array(delays) * delay_spread_s, powers / total, los_power / total)
