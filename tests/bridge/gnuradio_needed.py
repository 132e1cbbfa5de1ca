"""Skip what needs the real GNU Radio where there is none."""

from __future__ import annotations

import pytest

from testbench.sdr.gnuradio import NoGnuRadio, gnuradio_python


def _missing() -> str | None:
    try:
        gnuradio_python()
    except NoGnuRadio as error:
        return str(error)
    return None


needs_gnuradio = pytest.mark.skipif(_missing() is not None, reason=_missing() or "")
