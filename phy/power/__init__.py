"""Power control: who transmits, and the aligned receive amplitude that all who do invert to. One file each."""
