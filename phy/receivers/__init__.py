"""Receivers against timing misalignment, one a file; ``receiver`` of the link names one.

A part has ``uses_intervals``: False means the plain matched filter at the nominal instants, which the link computes itself.
True means that it works on :class:`phy.misaligned.Intervals` and has::

    estimate(observation, gains [B, K], timing_s [B, K], amplitude [B], heard [B]) -> complex128 [B, n]

the estimate of sum_k s_k[l], whose real part is the decision variable; NaN where the round is lost. ``gains`` are the received
gains as the receiver knows them, zero for a device that is silent; ``timing_s`` the timings it knows, the ones with which the
observation was cut; ``amplitude`` a common to all devices under perfect inversion; ``heard`` how many transmit.
"""
