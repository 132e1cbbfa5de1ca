"""Captures of runs: record the air, replay it, add it to a run, and measure channels from it."""
