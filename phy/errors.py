"""What the physical layer refuses, each in one sentence."""


class PhyError(ValueError):
    """Base class: the link was configured or called in a way that has no meaning."""


class UnknownPart(PhyError):
    """A scheme, estimator, power control, combiner or air was asked for by a name that does not exist."""


class BadPayload(PhyError):
    """A payload has the wrong shape, is not finite, or exceeds the clip."""


class BackendMissing(PhyError):
    """The library that a backend computes with is not installed, or is of another generation."""


class ForeignFailure(PhyError):
    """A user's part or block raised, or returned what it must not."""
