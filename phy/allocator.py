"""Keeping freed memory: a link's arrays are of one size, freed and wanted again thousands of times a second.

glibc returns large freed blocks to the kernel, which then has to clear and map them again, page fault by page fault: 20,000
faults for 12,800 rounds of K = 100, half of the time of the link and more on virtual machines.
"""

import ctypes
from functools import cache

# mallopt(3): option numbers of <malloc.h>.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


@cache
def keep_freed_memory(block_mib: int = 32) -> bool:
    """Let this process keep up to twice ``block_mib`` of freed memory for reuse. False where the C library is not glibc."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # musl and macOS have none, Windows refuses None
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    block = block_mib << 20
    return bool(mallopt(_M_MMAP_THRESHOLD, block) and mallopt(_M_TRIM_THRESHOLD, 2 * block))
