"""Methods side by side on the same data, seeds and channel: ``pairzero compare``."""
