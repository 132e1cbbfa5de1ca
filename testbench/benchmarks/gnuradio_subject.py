"""K device branches of GNU Radio's channel model, timed: run it with the Python that has GNU Radio. Prints samples per second.

Each branch has a carrier frequency offset, a delay and three taps; branches are added, and noise is added once.
"""

import sys
import time

import numpy as np
from gnuradio import blocks, channels, gr


def main(devices: int, samples: int, repeats: int) -> None:
    """Run ``repeats`` slots of ``samples`` samples through ``devices`` branches."""
    rng = np.random.default_rng(1)
    top = gr.top_block()
    add = blocks.add_cc()
    for k in range(devices):
        slot = (rng.standard_normal(samples) + 1j * rng.standard_normal(samples)).astype(np.complex64)
        taps = ((rng.standard_normal(3) + 1j * rng.standard_normal(3)) / np.sqrt(6)).tolist()
        model = channels.channel_model(
            noise_voltage=0.1 if k == 0 else 0.0, frequency_offset=1e-4 * (k - 4), epsilon=1.0, taps=taps, noise_seed=k
        )
        top.connect(
            blocks.vector_source_c(slot.tolist(), True),
            blocks.head(gr.sizeof_gr_complex, samples * repeats),
            blocks.delay(gr.sizeof_gr_complex, k % 4),
            model,
            (add, k),
        )
    top.connect(add, blocks.null_sink(gr.sizeof_gr_complex))
    began = time.perf_counter()
    top.run()
    print(devices * samples * repeats / (time.perf_counter() - began))


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:4]))
