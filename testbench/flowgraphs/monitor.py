"""A tap on a running flowgraph: spectrum and constellation, in a window or as text, without disturbing what it watches.

python3 uplink.py ... --monitor tcp://127.0.0.1:5700       # publishes; drops what nobody takes in time
python3 monitor.py --tap tcp://127.0.0.1:5700              # text, once a second
python3 monitor.py --tap tcp://127.0.0.1:5700 --window     # Qt, needs a display
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

if not __package__:  # run as a program: last on the path, so that GNU Radio's Python keeps its own packages
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from testbench.flowgraphs import ports

SAMPLES = 4096
_COLUMNS, _ROWS, _GRID = 64, 12, 21
_SHADES = " .:+*#"


def spectrum_text(samples: np.ndarray[Any, Any], rate_hz: float) -> list[str]:
    """A bar chart of the power spectrum [dB of full scale per bin], negative frequencies on the left; mean of 8 segments."""
    segments = samples[: len(samples) // 8 * 8].reshape(8, -1)
    window = np.hanning(segments.shape[1])
    power = np.mean(np.abs(np.fft.fft(segments * window)) ** 2, axis=0) / np.sum(window) ** 2
    folded = np.fft.fftshift(power).reshape(_COLUMNS, -1).max(axis=1)
    levels = 10.0 * np.log10(np.maximum(folded, 1e-20))
    top = 10.0 * np.ceil(levels.max() / 10.0)
    lines = []
    for row in range(_ROWS):
        floor = top - 6.0 * (row + 1)
        lines.append(f"{floor:7.0f} dB |" + "".join("#" if level > floor else " " for level in levels))
    lines.append(f"{'':11}{-rate_hz / 2e3:<+10.4g}{'kHz':^{_COLUMNS - 20}}{rate_hz / 2e3:>+10.4g}")
    return lines


def constellation_text(samples: np.ndarray[Any, Any]) -> list[str]:
    """How often samples fall into the cells of the complex plane, scaled to the largest one."""
    largest = float(np.abs(samples).max()) or 1.0
    cells = np.zeros((_GRID, _GRID))
    half = _GRID // 2
    columns = np.rint(samples.real / largest * half).astype(int) + half
    rows = half - np.rint(samples.imag / largest * half).astype(int)
    np.add.at(cells, (rows, columns), 1)
    shade = np.ceil(np.log1p(cells) / np.log1p(cells.max()) * (len(_SHADES) - 1)).astype(int)
    return ["".join(f" {_SHADES[cell]}" for cell in row) for row in shade]


def report(samples: np.ndarray[Any, Any], rate_hz: float) -> str:
    """Levels, spectrum and constellation of some samples."""
    power = float(np.mean(np.abs(samples) ** 2))
    peak = float(np.abs(samples).max()) ** 2
    head = f"power {10 * np.log10(max(power, 1e-20)):.1f} dB, peak {10 * np.log10(max(peak, 1e-20)):.1f} dB of full scale"
    return "\n".join([head, *spectrum_text(samples, rate_hz), "", *constellation_text(samples)])


def main(words: list[str] | None = None) -> None:
    """Build the graph from arguments and run it."""
    arguments = ports.parser("Spectrum and constellation of what a flowgraph publishes.")
    arguments.add_argument("--tap", required=True, metavar="ADDRESS", help="where the flowgraph publishes (its --monitor)")
    arguments.add_argument("--window", action="store_true", help="Qt windows instead of text")
    arguments.add_argument("--every", type=float, default=1.0, metavar="S", help="text: seconds between two reports")
    options = arguments.parse_args(words)

    from gnuradio import blocks, gr, zeromq

    top = gr.top_block("pairzero monitor")
    source = zeromq.sub_source(gr.sizeof_gr_complex, 1, ports.local(options, options.tap), 10, False, 16)
    if options.window:
        _window(top, source, options)
        return
    vectors = blocks.stream_to_vector(gr.sizeof_gr_complex, SAMPLES)
    probe = blocks.probe_signal_vc(SAMPLES)
    top.connect(source, vectors, probe)
    ports.quicken(source)
    over = threading.Event()

    def tell() -> None:
        while not over.wait(options.every):
            samples = np.asarray(probe.level(), np.complex64)
            if len(samples) == SAMPLES and samples.any():
                print(report(samples, options.rate), flush=True)

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    ports.run(top, options)
    over.set()


def _window(top: Any, source: Any, options: Any) -> None:
    """Qt's frequency and constellation sinks; ends when the window is closed."""
    try:
        import sip  # type: ignore[import-not-found]
        from gnuradio import fft, qtgui
        from PyQt5 import Qt  # type: ignore[import-not-found]
    except ImportError as error:
        ports.refuse(f"--window needs GNU Radio's Qt blocks and PyQt5 ({error}); leave it out for text")
        return
    application = Qt.QApplication(sys.argv[:1])
    spectrum = qtgui.freq_sink_c(SAMPLES, fft.window.WIN_BLACKMAN_hARRIS, 0.0, options.rate, "received", 1, None)
    plane = qtgui.const_sink_c(SAMPLES, "received", 1, None)
    top.connect(source, spectrum)
    top.connect(source, plane)
    box = Qt.QWidget()
    layout = Qt.QVBoxLayout(box)
    for part in (spectrum, plane):
        layout.addWidget(sip.wrapinstance(part.qwidget(), Qt.QWidget))
    box.show()
    top.start()
    application.exec_()
    top.stop()
    top.wait()


if __name__ == "__main__":
    main()
