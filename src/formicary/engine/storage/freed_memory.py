"""Keeps the memory that a process has freed, for processes through which contents of artifacts go.

Contents travel in pieces of half a MiB. glibc maps a block of that size from the kernel and gives it back when it is
freed, or cuts it off the top of the heap: every piece then costs a fault for each of its pages, some 490,000 for a GB,
and a download is three times slower. Programs that serve files are told to set these bounds in their environment
(mallopt(3)); a server that has to be fast by default sets them itself.
"""

from __future__ import annotations

import ctypes
import logging

log = logging.getLogger(__name__)

MAPPED_FROM_BYTES = 1024 * 1024
"""Blocks from this size on are mapped by themselves and given back at once."""
KEPT_BYTES = 2 * 1024 * 1024
"""So much free memory stays at the top of a heap."""
HEAPS = 2
"""Heaps that all threads share: each keeps what was in use at once. With as many as threads want, the queen grew by
70 MiB while files of 2 GiB went through; with two by 20, and no slower."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # of <malloc.h>; mallopt(3)


def keep_freed_memory() -> bool:
    """Tells the allocator of this process; returns whether it has one that can be told, which is glibc's."""
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 - other C libraries number their parameters otherwise, or have none
        mallopt = library.mallopt
    except (AttributeError, OSError, TypeError):
        log.debug("the allocator is not glibc's and stays as it is")
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    wanted = ((_M_MMAP_THRESHOLD, MAPPED_FROM_BYTES), (_M_TRIM_THRESHOLD, KEPT_BYTES), (_M_ARENA_MAX, HEAPS))
    return all(bool(mallopt(*one)) for one in wanted)
