"""Sweeps: a scenario with axes, on all cores or on a cluster, into one tidy table."""
