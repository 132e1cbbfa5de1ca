"""Rayleigh block fading as Sionna draws it: the backend's own block with its own generator, seeded for each round."""

from typing import Any

from phy.backends import own_models
from phy.config import LinkConfig
from phy.draws import CachedDraws


def Part(config: LinkConfig, draws: CachedDraws) -> Any:
    """``RayleighBlockFading`` of the backend's Sionna; :mod:`phy.channels._foreign_model` says what its draws lack."""
    models = own_models(config)
    return models.SionnaModel(lambda: models.rayleigh(config.receive_antennas), config, draws)
