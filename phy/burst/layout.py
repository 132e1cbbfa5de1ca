"""Where everything lies in a slot: index arithmetic of the burst, and the waveforms of its sections.

A slot, in samples::

    guard | preamble | guard | (guard | pilots of device 0 | guard) ... | payload | guard | silence up to a fast FFT length

A section's support is its symbols and the tails of its pulses. Supports never overlap, and a guard lies between any two: a
burst that is early or late by no more than the guard leaves every other section alone at a receiver that keeps to the slot
clock. Pilots have a guard on either side, so that neighbours may differ by twice as much.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len

from phy.burst.pulses import pulse
from phy.burst.sequences import pilot_sequence, preamble_sequence
from phy.burst.waveforms import Bank, block_waveforms, train
from phy.config_burst import BurstConfig
from phy.errors import PhyError


@dataclass(frozen=True)
class Section:
    """In samples: ``start`` is the nominal start of the first symbol; ``first`` .. ``stop - 1`` the support with tails."""

    start: int
    first: int
    stop: int


@dataclass(frozen=True)
class KnownWaveform:
    """A known sequence as samples, complex128 [W], and as its two parts (first and second half of the symbols) [2, W].

    Energy: one symbol has 1 / symbols_per_scalar, the mean power of a scalar at full scale. ``sequence`` [symbols]: the
    symbols, one every ``spacing_samples``, whose ``pulse`` starts with the first sample.
    """

    samples: NDArray[np.complex128]
    parts: NDArray[np.complex128]
    sequence: NDArray[np.complex128]
    pulse: NDArray[np.float64]
    spacing_samples: int

    @property
    def symbols(self) -> int:
        """Number of symbols."""
        return len(self.sequence)


@dataclass(frozen=True)
class BurstLayout:
    """The burst of ``scalars`` scalars from each of ``devices`` devices.

    A scalar is ``looks`` blocks of ``symbols_per_scalar`` symbols, one after the other; a block carries ``tones`` orthogonal
    waveforms, one or two. Its resources are u = look * tones + tone. Coherent schemes have one look and one tone.

    Raises :class:`phy.errors.PhyError` where two tones do not fit a block, or the burst does not fit its slot.
    """

    config: BurstConfig
    devices: int
    scalars: int
    tones: int = 1
    looks: int = 1

    def __post_init__(self) -> None:
        for name in ("devices", "scalars", "looks"):
            if getattr(self, name) < 1:
                raise PhyError(f"a burst needs at least one of its {name}, got {getattr(self, name)}")
        if self.tones not in (1, 2):
            raise PhyError(f"a block carries one or two tones, got {self.tones}")
        if self.tones == 2 and self.config.symbols_per_scalar < 2:
            raise PhyError("two tones are orthogonal over 2 symbols or more; set burst.symbols_per_scalar to at least 2")
        slot = self.config.slot_symbols
        sps = self.config.samples_per_symbol
        if slot is not None and self.burst_samples > slot * sps:
            raise PhyError(
                f"the burst of {-(-self.burst_samples // sps)} symbols does not fit the slot of {slot} symbols; lengthen "
                "burst.slot_symbols, or shorten preamble, pilots, guards or scalars"
            )

    @property
    def resources(self) -> int:
        """Resources U of one scalar."""
        return self.looks * self.tones

    @property
    def guard_samples(self) -> int:
        """Length of one guard."""
        return self.config.guard_symbols * self.config.samples_per_symbol

    @property
    def block_samples(self) -> int:
        """Distance of two blocks."""
        return self.config.symbols_per_scalar * self.config.samples_per_symbol

    @cached_property
    def preamble(self) -> Section | None:
        """The preamble; None without preamble."""
        return self._section(self.guard_samples, self.config.preamble_symbols) if self.config.preamble_symbols else None

    @cached_property
    def pilots(self) -> tuple[Section, ...]:
        """One section per device; empty without pilots."""
        if self.config.pilot_symbols == 0:
            return ()
        cursor = self._after(self.preamble)
        sections = []
        for _ in range(self.devices):
            sections.append(self._section(cursor + self.guard_samples, self.config.pilot_symbols))
            cursor = sections[-1].stop + self.guard_samples
        return tuple(sections)

    @cached_property
    def payload(self) -> Section:
        """All scalars. ``start`` is the start of the first one."""
        first = self._after(self.pilots[-1] if self.pilots else self.preamble)
        return Section(first + self._blocks[1], first, first + self.bank.span)

    @property
    def reference_sample(self) -> int:
        """The slot's phase reference t_ref: a carrier frequency offset turns nothing at the nominal start of the payload."""
        return self.payload.start

    @property
    def burst_samples(self) -> int:
        """Length of the burst with its guards."""
        return self.payload.stop + self.guard_samples

    @cached_property
    def slot_samples(self) -> int:
        """Length N of the slot: burst or ``slot_symbols``, rounded up to a fast FFT length."""
        slot = self.config.slot_symbols
        least = self.burst_samples if slot is None else slot * self.config.samples_per_symbol
        return int(next_fast_len(least))

    @property
    def symbols_used(self) -> dict[str, float]:
        """Channel uses (symbol durations) of one slot: preamble, pilots, payload, and guard (everything else)."""
        config = self.config
        used = {
            "preamble": float(config.preamble_symbols),
            "pilots": float(config.pilot_symbols * self.devices),
            "payload": float(self.scalars * self.looks * config.symbols_per_scalar),
        }
        return {**used, "guard": self.slot_samples / config.samples_per_symbol - sum(used.values())}

    @cached_property
    def bank(self) -> Bank:
        """Synthesis and matched filters of the payload, as scalars * looks blocks of ``tones`` waveforms."""
        return Bank(self._blocks[0], self.block_samples, self.scalars * self.looks)

    @cached_property
    def preamble_waveform(self) -> KnownWaveform:
        """The preamble's samples, the first one ``preamble.first``."""
        return self._known(preamble_sequence(self.config.preamble_symbols))

    @cached_property
    def pilot_waveform(self) -> KnownWaveform:
        """The pilots' samples, the first one ``pilots[k].first`` at device k."""
        return self._known(pilot_sequence(self.config.pilot_symbols))

    def scalar_start(self, scalar: int) -> int:
        """Nominal instant of a scalar: the start of its first symbol."""
        return self.payload.start + scalar * self.looks * self.block_samples

    def waveforms(self) -> tuple[NDArray[np.complex64], int]:
        """Waveforms of all resources of one scalar, each of energy 1, and the scalar's start within them.

        Shape [U, W] with tails; sample ``lead`` (the second value) is the scalar's nominal instant.
        """
        blocks, lead = self._blocks
        out = np.zeros((self.looks, self.tones, (self.looks - 1) * self.block_samples + blocks.shape[1]), np.complex64)
        for look in range(self.looks):
            begin = look * self.block_samples
            out[look, :, begin : begin + blocks.shape[1]] = blocks
        return out.reshape(self.resources, -1), lead

    @cached_property
    def _blocks(self) -> tuple[NDArray[np.complex64], int]:
        return block_waveforms(self.config, self.tones)

    def _section(self, first: int, symbols: int) -> Section:
        shape = pulse(self.config)
        length = (symbols - 1) * self.config.samples_per_symbol + shape.length_samples
        return Section(first + shape.lead_samples, first, first + length)

    def _after(self, section: Section | None) -> int:
        """First sample after a section and its guard."""
        return self.guard_samples if section is None else section.stop + self.guard_samples

    def _known(self, sequence: NDArray[np.complex128]) -> KnownWaveform:
        shape, spacing = pulse(self.config), self.config.samples_per_symbol
        first_part = np.arange(len(sequence)) < max(1, len(sequence) // 2)
        samples = train(sequence, shape, spacing)
        # Truncated pulses are not quite orthogonal; the energy of the whole is made exact.
        scale = np.sqrt(len(sequence) / self.config.symbols_per_scalar / (np.abs(samples) ** 2).sum())
        parts = [scale * train(np.where(part, sequence, 0.0), shape, spacing) for part in (first_part, ~first_part)]
        return KnownWaveform(scale * samples, np.asarray(parts), sequence, shape.samples, spacing)
