"""Airs at waveform fidelity: device bursts in, received samples out. One file each."""
