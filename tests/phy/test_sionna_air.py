"""The keyed channel model inside unmodified Sionna."""

import numpy as np
import torch
from sionna.phy.channel import TimeChannel

from phy.airs.numpy import Part as NumpyAir
from phy.airs.sionna import KeyedRayleighBlockFading
from phy.airs.sionna import Part as SionnaAir
from phy.draws import CachedDraws, KeyedDraws


def test_it_runs_in_sionnas_time_channel_and_superposes_like_the_link():
    draws = CachedDraws(KeyedDraws(3))
    model = KeyedRayleighBlockFading(draws, num_rx_ant=2, num_tx=5)
    model.first_round = 17
    channel = TimeChannel(model, bandwidth=1e6, num_time_samples=4, l_min=0, l_max=0, device="cpu")
    x = np.random.default_rng(0).normal(size=(6, 5)).astype(np.complex64)
    y = channel(torch.from_numpy(np.repeat(x[:, :, None, None], 4, axis=3)))
    air = NumpyAir(draws)
    expected = air.superpose(air.fading(5, 17, 6, 2), x)
    assert y.shape == (6, 1, 2, 4)
    assert np.allclose(y[:, 0].numpy(), expected[:, :, None], atol=1e-5)


def test_the_link_fades_as_the_model_does():
    draws = CachedDraws(KeyedDraws(8))
    model = KeyedRayleighBlockFading(draws, num_rx_ant=2, num_tx=5)
    model.first_round = 300
    a, _ = model(40, 1)
    assert np.array_equal(a[:, 0, :, :, 0, 0, 0].numpy(), SionnaAir(draws).fading(5, 300, 40, 2))


def test_its_shapes_are_sionnas():
    model = KeyedRayleighBlockFading(CachedDraws(KeyedDraws(3)), num_rx_ant=2, num_tx=5)
    a, tau = model(4, 3)
    assert a.shape == (4, 1, 2, 5, 1, 1, 3)
    assert a.dtype == torch.complex64
    assert tau.shape == (4, 1, 5, 1)
    assert float(tau.abs().max()) == 0
