"""The plain matched filter at the nominal instants: integrate over [l T, (l + 1) T], whatever the devices' timings are."""

from phy.config import LinkConfig


class Part:
    """Needs neither timings nor phases; pays with edge loss and, for scalars back to back, inter-symbol interference."""

    uses_intervals = False

    def __init__(self, config: LinkConfig) -> None:
        del config  # it has no settings
