"""Benchmarks: ratios taken in one run, started by ``pairzero bench``."""
