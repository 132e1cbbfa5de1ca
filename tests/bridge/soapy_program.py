"""Run by GNU Radio's Python: the program for Soapy radios, over radios that exist in its process only."""

from __future__ import annotations

import sys
from pathlib import Path

here = Path(__file__).resolve()
sys.path.insert(0, str(here.parent / "fake_soapy"))
sys.path.append(str(here.parents[2]))

from testbench.flowgraphs.soapy import main  # noqa: E402

main()
