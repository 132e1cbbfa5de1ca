"""Airs at symbol fidelity: engines of fading and analog superposition. One file each."""
