"""Memory by arithmetic, as pAirZero's Table II has it (arXiv 2604.12401): copies of the weights, no activations."""

#: Bytes of a half-precision number, in which the paper counts.
HALF = 2
#: What Table II prints for OPT-125M, in its "MB", which are MiB.
PRINTED = {"engine": "~250", "sgd": "~600", "adam": "955.58", "inference_all": "238.88", "inference_answer": "238.88"}


def copies_mib(weights: int, copies: int, bytes_per_weight: int = HALF, trained: int | None = None) -> float:
    """``copies`` tensors of the size of the weights [MiB]; all but the first only of those that are trained.

    OPT-125M has 125,239,296 weights: 238.88 MiB in half precision, and 4 copies (weights, gradients, two moments of Adam)
    make 955.5, of which the paper prints 955.58. So its headline, a quarter, is 1/4 by construction.
    """
    further = weights if trained is None else trained
    return bytes_per_weight * (weights + (copies - 1) * further) / 2**20
