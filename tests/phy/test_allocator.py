"""A link in batches reuses its memory instead of giving it back to the kernel and fetching it again."""

import os
import platform
import subprocess
import sys

import pytest

from phy.allocator import keep_freed_memory

FAULTS = """
import resource
import numpy as np
from phy.config import LinkConfig
from phy.link import Link

link = Link(LinkConfig.model_validate({"clip": 1.0, "air": "numpy", "csi": {"estimator": "perfect"}}), 1)
rounds, payloads = np.arange(2560), np.zeros((2560, 100, 1))
for _ in range(3):
    link.aggregate(rounds, payloads)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    link.aggregate(rounds, payloads)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_a_warm_link_takes_no_page_faults() -> None:
    """Without it these ten calls take some 20,000 faults."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True, timeout=120, env=environment
    )
    assert int(done.stdout) < 1000


def test_asking_twice_is_asking_once() -> None:
    assert keep_freed_memory() == keep_freed_memory()
    assert keep_freed_memory.cache_info().currsize == 1
