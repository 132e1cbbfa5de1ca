"""The transmitter of all devices: coefficients in, one slot of samples per device out."""

import numpy as np
from numpy.typing import NDArray

from phy.burst.layout import BurstLayout
from phy.errors import PhyError


def modulate(
    layout: BurstLayout, coefficients: NDArray[np.complex64], reference: NDArray[np.complex64]
) -> NDArray[np.complex64]:
    """One round's bursts, on the slot clock. Shape [K, slot_samples].

    ``coefficients`` [K, n, U]: what each device puts on each resource of each scalar; modulus 1 is full scale and energy 1.
    ``reference`` [K]: the coefficient of preamble and pilots, whose power at modulus 1 is that of a scalar at full scale.
    A device that is silent has zeros in both. Raises :class:`phy.errors.PhyError` where shapes do not fit the layout.
    """
    expected = (layout.devices, layout.scalars, layout.resources)
    if coefficients.shape != expected or reference.shape != expected[:1]:
        raise PhyError(
            f"coefficients and reference must have shapes {expected} and {expected[:1]}, got {coefficients.shape} "
            f"and {reference.shape}"
        )
    reference = np.asarray(reference, np.complex64)
    blocks = np.asarray(coefficients, np.complex64).reshape(layout.devices, -1, layout.tones)
    slot = np.zeros((layout.devices, layout.slot_samples), np.complex64)
    if layout.preamble is not None:
        known = layout.preamble_waveform.samples.astype(np.complex64)
        slot[:, layout.preamble.first : layout.preamble.stop] = reference[:, None] * known
    if layout.pilots:
        known = layout.pilot_waveform.samples.astype(np.complex64)
        for device, section in enumerate(layout.pilots):
            slot[device, section.first : section.stop] = reference[device] * known
    slot[:, layout.payload.first : layout.payload.stop] = layout.bank.synthesise(blocks)
    return slot
