"""Channel state information at the transmitter: how a device estimates its own channel. One file each."""
