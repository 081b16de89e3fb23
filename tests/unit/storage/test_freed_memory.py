"""Pieces of contents use memory that the process has had before, instead of new pages for each."""

from __future__ import annotations

import json
import platform
import subprocess
import sys

import pytest

from formicary.engine.storage.artifacts import PIECE_BYTES

_PIECES = """
import json, resource, sys
from formicary.engine.storage.freed_memory import keep_freed_memory

def faults(many):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(many):
        bytearray(SIZE), bytearray(SIZE)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

SIZE = int(sys.argv[1])
as_it_is = faults(200)
kept = keep_freed_memory()
faults(20)
print(json.dumps([as_it_is, kept, faults(200)]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is told anything")
def test_pieces_cost_no_page_faults():
    finished = subprocess.run(
        [sys.executable, "-c", _PIECES, str(PIECE_BYTES)], capture_output=True, text=True, check=True, timeout=60
    )
    as_it_is, kept, then = json.loads(finished.stdout)
    assert kept
    assert then < 2_000, f"{then} page faults for 400 pieces; {as_it_is} before the allocator was told"
