"""Tapped delay lines as Sionna draws them: the backend's own ``TDL`` with its own generator, seeded for each round."""

from typing import Any

from phy.backends import own_models
from phy.config import LinkConfig
from phy.draws import CachedDraws


def Part(config: LinkConfig, draws: CachedDraws) -> Any:
    """``TDL`` of the backend's Sionna, with profile ``channel.tdl`` and ``channel.delay_spread_s``.

    See :mod:`phy.channels._foreign_model` for what its draws cannot give.
    """
    models, channel = own_models(config), config.channel
    return models.SionnaModel(lambda: models.tdl(channel.tdl, channel.delay_spread_s, config.receive_antennas), config, draws)
