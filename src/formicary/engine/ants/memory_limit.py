"""The memory that each process of a SHELL or PYTHON task may have, where its job file says so (`resources.limits`).

What is bounded is memory of a process's own: heap, private writable mappings. Not address space, of which programs
reserve far more than they use, and not shared pages. The bound is inherited by what a process starts; each has its own.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from formicary.engine.jobs.amounts import show_amount

_BOUNDED = 'ulimit -S -d "$0" && exec "$@"'


def bounded(arguments: Sequence[str], limit_bytes: int) -> list[str]:
    """A command whose processes have at most so much memory; 0 = it is as it was."""
    if not limit_bytes:
        return list(arguments)
    return ["/bin/sh", "-c", _BOUNDED, str(_possible(limit_bytes) // 1024), *arguments]


@contextmanager
def bounding(limit_bytes: int) -> Iterator[None]:
    """Within, this process has at most so much memory: what asks for more gets a MemoryError."""
    before, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (_possible(limit_bytes), most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (before, most))


def told(limit_bytes: int) -> str:
    """What an error says of the bound."""
    return f"each of its processes may have {show_amount(limit_bytes)} of memory (resources.limits)"


def _possible(limit_bytes: int) -> int:
    """The bound where the ant's own is not lower."""
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    return limit_bytes if most == resource.RLIM_INFINITY else min(limit_bytes, most)
