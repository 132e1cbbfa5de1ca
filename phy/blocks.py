"""Bring your own block: a PyTorch module or a TensorFlow/Keras layer as channel or receiver of a link.

A block is named ``module:Class``, is made without arguments, knows nothing of this project and works on tensors of its own
framework, in single precision:

==================  =============================================================================  =========================
setting             call                                                                           returns
==================  =============================================================================  =========================
``link.air``        ``block(x, h)``: sent x [B, K] and gains h [B, M, K], complex                  y [B, M], complex, no noise
``link.burst.air``  ``block(x, h)``: bursts x [K, N] and gains h [M, K], complex                   y [M, N], complex, no noise
``link.receiver``   ``block(z, amplitude, heard, n0)``: combined statistics z [B, n], complex;     sums of symbols [B, n],
                    aligned amplitude [B], devices heard [B] and noise variance n0 [], real        real
==================  =============================================================================  =========================

The matched filter is the receiver ``z.real / amplitude``. A block is asked round by round (B = 1), because a link is a pure
function of its seed: before each call of a channel the framework's generators are seeded from (seed, round). A class attribute
``batched = True`` states that a block draws nothing and treats each round by itself; it is then asked for many at once. A
TensorFlow block with ``graph = True`` is compiled to a graph, which is fast and freezes whatever it does outside TensorFlow; it
must draw from ``tf.random.get_global_generator()`` or Sionna's ``config.tf_rng``, which alone are seeded then.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phy.backends import BACKENDS, require
from phy.backends import waveform_air as own_waveform_air
from phy.config import LinkConfig
from phy.discovery import find
from phy.draws import CachedDraws, KeyedDraws
from phy.errors import PhyError
from phy.foreign import Guarded, checked, guarded, states
from phy.modes import Complexes, Floats, Prepared
from phy.propagation import Propagation

# Round from which the seeds of blocks are drawn: their own purpose keeps them apart from everything else.
_PURPOSE = "block"


def framework_of(found: Any) -> str | None:
    """``torch`` or ``tensorflow`` for a class of that framework, None for any other. Imports nothing."""
    roots = {base.__module__.partition(".")[0] for base in getattr(found, "__mro__", ())}
    if "torch" in roots:
        return "torch"
    return "tensorflow" if roots & {"tensorflow", "keras", "tf_keras", "sionna"} else None


@dataclass(frozen=True)
class Block:
    """A user's block that was loaded: ``call(seed, *arrays)`` returns what the block does, as an array where it is a tensor."""

    call: Callable[..., Any]
    batched: bool


def load(kind: str, name: str) -> Block | None:
    """The block of that name; None where the name is not a block's.

    Raises :class:`phy.errors.PhyError` where it cannot be loaded or made.
    """
    found = find(kind, name)
    framework = framework_of(found)
    if ":" not in name or framework is None:
        return None
    label = f"{kind}: {name!r}"
    made = guarded(label, _runtime(framework))(found)
    return Block(guarded(label, made), bool(getattr(found, "batched", False)))


def _runtime(framework: str) -> Any:
    if framework == "torch":
        from phy.runtimes.torch import Module

        return Module
    from phy.runtimes.tensorflow import Layer

    return Layer


class BlockAir:
    """A user's channel block as the air of the symbol carrier."""

    def __init__(self, name: str, block: Block, cached: CachedDraws) -> None:
        self._label = f"link.air {name!r}"
        self._block, self._cached = block, cached
        self._first, self._calls = 0, 0

    def begin(self, first: int) -> None:
        """The calls that follow are of rounds ``first`` onwards; each has draws of its own."""
        self._first, self._calls = first, 0

    def superpose(self, channel: Complexes, signals: Complexes) -> Complexes:
        """Received samples [B, M] for gains [B, M, K] and signals [B, K]."""
        rounds, antennas, _ = channel.shape
        step = rounds if self._block.batched else 1
        out = np.empty((rounds, antennas), np.complex64)
        for low in range(0, rounds, step):
            part = slice(low, low + step)
            seed = None if self._block.batched else seed_of(self._cached, self._first + low) + self._calls
            y = self._block.call(seed, signals[part], channel[part])
            out[part] = checked(self._label, y, (step, antennas), "complex")
        self._calls += 1
        return out


class BlockReceiver:
    """A user's receiver block: the sum of symbols in place of the matched filter's ``z.real / amplitude``."""

    uses_intervals = False

    def __init__(self, name: str, block: Block, config: LinkConfig) -> None:
        self._label = f"link.receiver {name!r}"
        self._block = block
        self._n0 = np.float32(config.n0)

    def sums(self, prepared: Prepared, combined: Complexes) -> Floats:
        """Estimated sums of symbols [B, n] from combined statistics [B, n]; zero in lost rounds, which are left out."""
        rounds, scalars = combined.shape
        out = np.zeros((rounds, scalars))
        wanted = np.flatnonzero(~prepared.lost & np.isfinite(combined).all(axis=1))
        amplitude, heard = prepared.amplitude.astype(np.float32), prepared.heard.astype(np.float32)
        for some in [wanted] if self._block.batched else wanted[:, None]:
            if some.size:
                sums = self._block.call(None, combined[some], amplitude[some], heard[some], self._n0)
                out[some] = checked(self._label, sums, (some.size, scalars), "real")
        return out


def seed_of(cached: CachedDraws, round_index: int) -> int:
    """The seed of a round's draws by a user's block."""
    drawn: NDArray[np.complex64] = cached.complex_normal(_PURPOSE, 1, round_index, 1, 1)
    return int(np.ascontiguousarray(drawn).view(np.uint64)[0, 0, 0]) >> 1  # room for a count of calls


def receiver(config: LinkConfig) -> Any:
    """The receiver that a link names: a part of :mod:`phy.receivers`, or a block.

    Raises :class:`phy.errors.PhyError` where a user's receiver cannot be made or is neither.
    """
    name = config.receiver
    block = load("receivers", name)
    if block is not None:
        return BlockReceiver(name, block, config)
    found = find("receivers", name)
    if ":" not in name:
        return found(config)
    if not hasattr(found, "uses_intervals"):
        raise PhyError(f"receivers: {name!r} is neither a PyTorch or Keras block nor a part with uses_intervals")
    label = f"receivers: {name!r}"
    return Guarded(label, guarded(label, found)(config))


def symbol_air(config: LinkConfig, cached: CachedDraws) -> Any:
    """The air of the symbol carrier: ``link.air``, a part or a block, or the backend's."""
    name = config.air or config.backend
    block = load("airs", name)
    if block is not None:
        return BlockAir(name, block, cached)
    if name in BACKENDS:
        require(name)
    found = find("airs", name)
    if ":" not in name:
        return found(cached)
    label = f"link.air {name!r}"
    return CheckedAir(label, Guarded(label, guarded(label, found)(cached)))


class CheckedAir:
    """A user's part as the air of the symbol carrier, with what it returns checked.

    :ivar keyed: whether its class says ``keyed = True``; see :class:`phy.waveform_airs.Air`
    """

    def __init__(self, label: str, part: Any) -> None:
        self._label, self._part = label, part
        self.keyed = states(part, "keyed")

    def superpose(self, channel: Complexes, signals: Complexes) -> Complexes:
        """Received samples [B, M] for gains [B, M, K] and signals [B, K]."""
        return checked(self._label, self._part.superpose(channel, signals), channel.shape[:2], "complex")


def waveform_air(config: LinkConfig, draws: KeyedDraws, cached: CachedDraws, propagation: Propagation) -> Any:
    """The air that carries bursts: ``burst.air``, the backend's version of ours, a user's part or a block."""
    name = config.burst.air
    if ":" not in name:
        return own_waveform_air(name, config.backend)(config, draws, cached, propagation)
    block = load("waveform_airs", name)
    if block is not None:
        from phy.waveform_airs._block import BlockWaveformAir

        return BlockWaveformAir(f"link.burst.air {name!r}", block, config, draws, cached, propagation)
    label = f"link.burst.air {name!r}"
    return Guarded(label, guarded(label, find("waveform_airs", name))(config, draws, cached, propagation))
