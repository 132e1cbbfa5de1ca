"""The perturbation z of a round, added to a model's weights in place.

z is a pure function of (seed, round, direction) and of the order and sizes of the trainable tensors. It is never stored:
chunks of it are made from Philox bits, added, and forgotten. docs/perturbation.md is the specification.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from learning.keys import PERTURBATION, philox
from learning.laws import BLOCK_BYTES, Bytes, Float32, Law, law
from learning.parameters import WeightVector
from learning.passes import Pass

__all__ = ["Directions", "Perturbation", "Piece", "RawStream", "Window", "raw_bytes", "windows"]


class Directions(Protocol):
    """Whatever can add the directions of a round to the weights that it was made for."""

    def apply(self, round_index: int, passes: Sequence[Pass], decay: np.float32 | None = None) -> None:
        """Every pass in turn, w <- fl32(w + fl32(scale * z)); then, with ``decay``, w <- fl32(decay * w) for matrices."""


class RawStream:
    """The bytes behind z, at any place of any round's stream.

    One cipher object is moved from place to place: making a new one costs ten times as much.
    """

    def __init__(self, purpose: int = PERTURBATION) -> None:
        self._bits = philox(0, purpose)
        # With an empty output buffer (position 4 of 4) the state is key and counter alone.
        self._state: Any = self._bits.state
        self._counter: npt.NDArray[np.uint64] = self._state["state"]["counter"]
        self._key: npt.NDArray[np.uint64] = self._state["state"]["key"]

    def read(self, seed: int, round_index: int, first_block: int, blocks: int, *, direction: int = 0) -> Bytes:
        """Blocks ``first_block`` .. of the stream of (seed, round, direction): uint8[32 * blocks]."""
        self._key[0] = seed
        self._counter[:] = (first_block, 0, direction, round_index)
        self._bits.state = self._state
        words: npt.NDArray[np.uint64] = self._bits.random_raw(4 * blocks)
        return words.astype("<u8", copy=False).view(np.uint8)


def raw_bytes(
    seed: int, round_index: int, first_block: int, blocks: int, *, direction: int = 0, purpose: int = PERTURBATION
) -> Bytes:
    """``RawStream(purpose).read(...)`` for a single place."""
    return RawStream(purpose).read(seed, round_index, first_block, blocks, direction=direction)


@dataclass(frozen=True)
class Piece:
    """A stretch of one tensor inside a window: ``flat`` takes the window's entries from ``start`` on."""

    flat: torch.Tensor
    start: int
    decays: bool = True


@dataclass(frozen=True)
class Window:
    """A run of consecutive blocks of the stream and the stretches of weights that they cover."""

    first_block: int
    blocks: int
    pieces: tuple[Piece, ...]


def windows(weights: Sequence[WeightVector], weights_per_block: int, chunk_weights: int) -> tuple[Window, ...]:
    """Cut the stream into windows of at most ``chunk_weights`` weights (at least one block).

    Tensors follow each other in the stream, each starting at a whole block; a window may hold several small tensors or a
    part of a large one. Where the cuts fall changes nothing in z.
    """
    limit = max(1, chunk_weights // weights_per_block)
    result: list[Window] = []
    pieces: list[Piece] = []
    first_block = used = 0
    for vector in weights:
        done = 0
        while done < len(vector):
            if used == limit:
                result.append(Window(first_block, used, tuple(pieces)))
                first_block, used, pieces = first_block + used, 0, []
            take = min(len(vector) - done, (limit - used) * weights_per_block)
            pieces.append(Piece(vector.flat[done : done + take], used * weights_per_block, vector.decays))
            used += -(-take // weights_per_block)
            done += take
    if pieces:
        result.append(Window(first_block, used, tuple(pieces)))
    return tuple(result)


class Perturbation:
    """z under one seed for the given weights, added to them in place.

    :param weights: the trainable tensors, in the order that numbers them
    :param seed: the seed that all devices share, 0 .. 2^63 - 1
    :param law_name: ``rademacher`` or ``gaussian``
    :param keep_bytes: random bytes are kept for the passes of a round where those of a direction fit in this many [bytes]
    :param chunk_weights: weights handled at a time; speed only, never the result
    """

    def __init__(
        self,
        weights: Sequence[WeightVector],
        seed: int,
        law_name: str = "rademacher",
        *,
        keep_bytes: int = 64 * 2**20,
        chunk_weights: int = 2**18,
        purpose: int = PERTURBATION,
    ) -> None:
        self.seed = seed
        self.weight_count = sum(len(vector) for vector in weights)
        self.law: Law = law(law_name, self.weight_count)
        self._stream = RawStream(purpose)
        self._windows = windows(weights, self.law.weights_per_block, chunk_weights)
        self._blocks = sum(window.blocks for window in self._windows)
        self._keeps = keep_bytes // max(1, self._blocks * BLOCK_BYTES)  # directions
        self._kept: OrderedDict[tuple[int, int], Bytes] = OrderedDict()
        largest = max((window.blocks for window in self._windows), default=0)
        self._buffer: Float32 = np.empty(largest * self.law.weights_per_block, dtype=np.float32)

    def add(self, round_index: int, scale: np.float32, *, direction: int = 0) -> None:
        """w <- fl(w + fl(scale * z)): a single pass."""
        self.apply(round_index, (Pass(direction, scale),))

    def apply(self, round_index: int, passes: Sequence[Pass], decay: np.float32 | None = None) -> None:
        """Every pass in turn, each product and sum rounded once to float32 (no fused multiply-add); then the decay.

        The passes go over a chunk of the weights while it is in the cache, which changes no bit.
        """
        tables = [self.law.table(item.scale) for item in passes]
        on_device: dict[tuple[int, torch.device], torch.Tensor] = {}
        for window in self._windows:
            for number, item in enumerate(passes):
                raw = self._raw(window, round_index, item.direction)
                expanded = False
                for piece in window.pieces:
                    if piece.flat.is_cpu:
                        if not expanded:
                            self.law.expand(tables[number], raw, self._buffer[: window.blocks * self.law.weights_per_block])
                            expanded = True
                        target = piece.flat.numpy()
                        np.add(target, self._buffer[piece.start : piece.start + len(target)], out=target)
                    else:
                        key = (number, piece.flat.device)
                        if key not in on_device:
                            on_device[key] = torch.from_numpy(tables[number]).to(piece.flat.device)
                        self._add_on_device(piece, on_device[key], raw)
            if decay is not None:
                shrink(window.pieces, decay)

    def _raw(self, window: Window, round_index: int, direction: int) -> Bytes:
        read = self._stream.read
        if not self._keeps:
            return read(self.seed, round_index, window.first_block, window.blocks, direction=direction)
        key = (round_index, direction)
        if key not in self._kept:
            while len(self._kept) >= self._keeps:
                self._kept.popitem(last=False)
            self._kept[key] = read(self.seed, round_index, 0, self._blocks, direction=direction)
        start = window.first_block * BLOCK_BYTES
        return self._kept[key][start : start + window.blocks * BLOCK_BYTES]

    def _add_on_device(self, piece: Piece, table: torch.Tensor, raw: Bytes) -> None:
        # The same lookup on an accelerator: only the random bytes travel there. The lookup index is a byte for
        # signs and a 16-bit pair for the Gaussian law; a row of the table holds 8 or 2 weights.
        index = raw if len(table) == 256 else raw.view("<u2")
        per_index = table.shape[1]
        first = piece.start // per_index
        last = -(-(piece.start + piece.flat.numel()) // per_index)
        lookup = torch.from_numpy(index[first:last].astype(np.int32)).to(table.device)
        piece.flat.add_(torch.index_select(table, 0, lookup).view(-1)[: piece.flat.numel()])


def shrink(pieces: Sequence[Piece], decay: np.float32) -> None:
    """w <- fl(decay * w) for those pieces that decay."""
    for piece in pieces:
        if piece.decays:
            piece.flat.mul_(float(decay))  # float32 weights take the factor as float32
