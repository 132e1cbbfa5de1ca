"""Waveforms of the burst's pieces, and the bank that turns coefficients into samples and samples into statistics."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray
from scipy.signal import upfirdn

from phy.burst.pulses import Pulse, pulse
from phy.burst.sequences import spreading_sequence
from phy.config_burst import BurstConfig

# Least number of samples by which frames of the bank advance: below it, overlapping frames cost more than the product.
_LEAST_ADVANCE_SAMPLES = 32

# Largest product (rows x inner x columns), and largest right factor, given to BLAS at once. Pieces of this size stay on one
# thread, so that neither bits nor time depend on how many threads there are and who else is at work.
_PRODUCT_ELEMENTS = 2**16
_FACTOR_ELEMENTS = 2**13


def train(symbols: NDArray[np.complex128], shape: Pulse, spacing_samples: int) -> NDArray[np.complex128]:
    """Pulses of these amplitudes, one every ``spacing_samples``, tails included. Starts ``shape.lead_samples`` early."""
    return np.asarray(upfirdn(shape.samples, symbols, up=spacing_samples), np.complex128)


def tone_numbers(config: BurstConfig, tones: int) -> tuple[float, ...]:
    """Turns that each tone makes over one block.

    One tone does not turn; two make +1 and -1 turns. Where +1 and -1 are the same sequence (two steps per turn), half turns
    are taken, which are orthogonal as well.
    """
    if tones == 1:
        return (0.0,)
    steps = config.symbols_per_scalar * (config.samples_per_symbol if config.payload == "long" else 1)
    return (1.0, -1.0) if steps > 2 else (0.5, -0.5)


def block_waveforms(config: BurstConfig, tones: int) -> tuple[NDArray[np.complex64], int]:
    """Waveforms of the tones of one block of ``symbols_per_scalar`` symbols, each of energy 1, and their lead in samples.

    Shape [tones, W]; sample ``lead`` is the block's start.
    """
    length, spacing = config.symbols_per_scalar, config.samples_per_symbol
    shape = pulse(config, length) if config.payload == "long" else pulse(config)
    rows = []
    for turns in tone_numbers(config, tones):
        if config.payload == "long":
            instants = (np.arange(shape.length_samples) - shape.lead_samples) / shape.period_samples
            row = shape.samples * np.exp(2j * np.pi * turns * instants)
        else:
            chips = np.exp(2j * np.pi * turns * np.arange(length) / length)
            if config.payload == "spread":
                chips *= spreading_sequence(length)
            row = train(chips, shape, spacing)
        rows.append(row / np.sqrt((np.abs(row) ** 2).sum()))
    return np.asarray(rows, np.complex64), shape.lead_samples


@dataclass(frozen=True, eq=False)
class Bank:
    """``blocks`` blocks every ``pitch`` samples, each carrying one coefficient per waveform [tones, W].

    Several short blocks are handled as one frame, so that both directions are one matrix product and few overlapping
    additions whatever the length of a scalar.
    """

    waveforms: NDArray[np.complex64]
    pitch: int
    blocks: int

    @property
    def span(self) -> int:
        """Samples from the first waveform's first to the last one's last."""
        return int((self.blocks - 1) * self.pitch + self.waveforms.shape[1])

    @cached_property
    def _grouping(self) -> tuple[int, int]:
        """Blocks per frame, and number of frames."""
        overlap = self.waveforms.shape[1] - self.pitch
        size = -(-max(overlap, _LEAST_ADVANCE_SAMPLES) // self.pitch)
        # A product over a single row is not worth its call: at least two where there are two.
        size = max(2, size) if self.blocks > 1 else 1
        size = min(size, self.blocks)
        return size, -(-self.blocks // size)

    @cached_property
    def _matrix(self) -> NDArray[np.complex64]:
        """Waveforms of one frame. Shape [size * tones, W + (size - 1) pitch]."""
        size, _ = self._grouping
        tones, width = self.waveforms.shape
        matrix = np.zeros((size, tones, width + (size - 1) * self.pitch), np.complex64)
        for i in range(size):
            matrix[i, :, i * self.pitch : i * self.pitch + width] = self.waveforms
        return matrix.reshape(size * tones, -1)

    @cached_property
    def _adjoint(self) -> NDArray[np.complex64]:
        return np.ascontiguousarray(self._matrix.conj().T)

    def synthesise(self, coefficients: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Coefficients [K, blocks, tones] to samples [K, span]."""
        devices, blocks, tones = coefficients.shape
        size, frames = self._grouping
        if frames * size > blocks:
            padded = np.zeros((devices, frames * size, tones), np.complex64)
            padded[:, :blocks] = coefficients
            coefficients = padded
        rows = _product(coefficients.reshape(devices * frames, size * tones), self._matrix)
        width, advance = rows.shape[1], size * self.pitch
        if frames == 1:
            return rows[:, : self.span]
        rows = rows.reshape(devices, frames, width)
        layers = -(-width // advance)
        out = np.zeros((devices, frames + layers - 1, advance), np.complex64)
        for i in range(layers):
            piece = rows[:, :, i * advance : (i + 1) * advance]
            out[:, i : i + frames, : piece.shape[2]] += piece
        return out.reshape(devices, -1)[:, : self.span]

    def analyse(self, samples: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Inner products of samples [M, span] with every waveform of every block. Shape [M, blocks, tones]."""
        antennas = samples.shape[0]
        size, frames = self._grouping
        width, advance = self._matrix.shape[1], size * self.pitch
        needed = (frames - 1) * advance + width
        if needed > samples.shape[1]:
            padded = np.zeros((antennas, needed), np.complex64)
            padded[:, : samples.shape[1]] = samples
            samples = padded
        row_bytes, bytes_ = samples.strides
        view = as_strided(samples, (antennas, frames, width), (row_bytes, advance * bytes_, bytes_), writeable=False)
        products = _product(np.ascontiguousarray(view).reshape(antennas * frames, width), self._adjoint)
        return products.reshape(antennas, frames * size, self.waveforms.shape[0])[:, : self.blocks]


def _product(left: NDArray[np.complex64], right: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """``left @ right``, a piece at a time."""
    rows, (inner, columns) = len(left), right.shape
    if rows * right.size <= _PRODUCT_ELEMENTS and right.size <= _FACTOR_ELEMENTS:
        return left @ right
    out = np.zeros((rows, columns), np.complex64)
    if right.size <= _FACTOR_ELEMENTS:
        step = _PRODUCT_ELEMENTS // right.size
        for row in range(0, rows, step):
            np.matmul(left[row : row + step], right, out=out[row : row + step])
        return out
    step = max(1, min(_FACTOR_ELEMENTS, _PRODUCT_ELEMENTS // rows) // min(inner, columns))
    for begin in range(0, max(inner, columns), step):
        if columns > inner:
            out[:, begin : begin + step] = left @ right[:, begin : begin + step]
        else:
            out += left[:, begin : begin + step] @ right[begin : begin + step]
    return out
