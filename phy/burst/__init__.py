"""The burst: what a radio would send and hear. Framing, pulses, detection, synchronisation and matched filters, in numpy."""
