"""Parts in plain numpy that misbehave."""

import numpy as np


class Air:
    def __init__(self, draws):
        del draws

    def superpose(self, channel, signals):
        return self.spoilt((channel * signals[:, None, :]).sum(axis=2))


class ChannelOfRealNumbers(Air):
    def spoilt(self, good):
        return good.real


class ChannelOfInfinities(Air):
    def spoilt(self, good):
        return good * np.inf


class ChannelOfAnotherShape(Air):
    def spoilt(self, good):
        return good[:, :0]


class Raises(Air):
    def spoilt(self, good):
        return 1 / 0


class NotAReceiver:
    pass
