"""Propagation channels between each device and the server. One file each; :class:`phy.channel.Channel` puts them to use.

A part is a class ``Part(config: LinkConfig, draws: CachedDraws)`` with

- ``flat: bool``: one path of zero delay that stands still over a burst,
- ``paths(devices, first_round, rounds, antennas, num_time_steps, sampling_frequency_hz, start_s)`` -> coefficients
  [B, M, K, P, T] and delays [B, K, P], with E sum_p |a_p|^2 = 1,
- ``max_delay_s(devices)``: the largest delay,
- where flat, ``gains(devices, first_round, rounds, antennas, earlier_s)`` -> [B, M, K].
"""
