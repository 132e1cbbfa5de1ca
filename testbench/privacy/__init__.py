"""Privacy claims against the running system: what the learning room accounts for, measured on the physical layer."""
