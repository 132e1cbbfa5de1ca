"""What hardware and clocks do to a waveform: pure functions, parts of the emulated air, and Sionna blocks."""
