"""The desynchronisation stress test: how far each scheme stands timing, frequency, phase and protocol asynchrony."""
