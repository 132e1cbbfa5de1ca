"""PyTorch blocks that misbehave, and one that draws."""

import torch


class _Receiver(torch.nn.Module):
    def forward(self, z, amplitude, heard, n0):
        return self.spoilt(z.real / amplitude[:, None])


class Matched(_Receiver):
    batched = True

    def spoilt(self, good):
        return good


class WrongShape(_Receiver):
    def spoilt(self, good):
        return good[:, :0]


class WrongType(_Receiver):
    def spoilt(self, good):
        return good.to(torch.complex64)


class NotANumber(_Receiver):
    def spoilt(self, good):
        return good * float("nan")


class Raises(_Receiver):
    def spoilt(self, good):
        raise RuntimeError("the weights are gone\nand a second line")


class RaisesInAGraph(Raises):
    pass


class Exits(_Receiver):
    def spoilt(self, good):
        raise SystemExit(3)


class Nothing(_Receiver):
    def spoilt(self, good):
        return None


class CannotBeMade(_Receiver):
    def __init__(self):
        raise FileNotFoundError("weights.pt is not here")


class _Channel(torch.nn.Module):
    def forward(self, x, h):
        y = h @ x if h.dim() == 2 else (h @ x[..., None])[..., 0]
        return self.spoilt(y)


class ChannelOfRealNumbers(_Channel):
    def spoilt(self, good):
        return good.real


class ChannelOfInfinities(_Channel):
    def spoilt(self, good):
        return good / 0.0


class ChannelOfAnotherShape(_Channel):
    def spoilt(self, good):
        return torch.cat((good, good), -1)


class Interferer(_Channel):
    def spoilt(self, good):
        return good + 0.1 * torch.randn(good.shape)
