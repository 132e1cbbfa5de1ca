"""Where devices stand, and the path loss that follows.

A device stands uniformly in area on the ring inner_radius_m .. radius_m around the server: its distance has the distribution
function (d^2 - r_0^2) / (R^2 - r_0^2). Its power gain is (d / reference_m)^(-exponent) 10^(X / 10) with shadowing
X ~ N(0, shadowing_db^2), of median 1. Both are drawn once per device (purposes ``place`` and ``shadow``).
"""

import numpy as np
from numpy.typing import NDArray

from phy.channels._uniform import uniform
from phy.config_air import PlacementConfig
from phy.draws import CachedDraws
from phy.errors import PhyError


def distances_m(config: PlacementConfig, draws: CachedDraws, devices: int) -> NDArray[np.float64]:
    """Distance of each device from the server. Shape [K]; ``reference_m`` for all where the law is ``none``."""
    if config.law == "none":
        return np.full(devices, config.reference_m)
    inner, outer = config.inner_radius_m**2, config.radius_m**2
    return np.asarray(np.sqrt(inner + (outer - inner) * uniform(draws, "place", devices, 0, 1)[0]))


def amplitudes(config: PlacementConfig, draws: CachedDraws, devices: int) -> NDArray[np.float32]:
    """Amplitude factor of each device, the square root of its power gain. Shape [K], float32.

    Raises :class:`phy.errors.PhyError` where there is shadowing without a placement.
    """
    if config.law == "none":
        if config.shadowing_db > 0:
            raise PhyError('channel.placement.shadowing_db needs channel.placement.law "disc"; with "none" all gains are equal')
        return np.ones(devices, np.float32)
    gain_db = -10.0 * config.exponent * np.log10(distances_m(config, draws, devices) / config.reference_m)
    if config.shadowing_db > 0:
        drawn = draws.complex_normal("shadow", devices, 0, 1, 1)[0, 0].real.astype(np.float64)
        gain_db += config.shadowing_db * np.sqrt(2.0) * drawn
    return np.asarray(10.0 ** (gain_db / 20.0), np.float32)
