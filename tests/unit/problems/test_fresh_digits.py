"""Digits for ids are given once, to threads and to forked processes too."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor

from formicary.problems.fresh_digits import fresh_digits


def test_no_thread_is_given_the_digits_of_another() -> None:
    """Threads that take digits at the same time never get the same ones."""
    with ThreadPoolExecutor(8) as threads:
        found = [
            each for some in threads.map(lambda _: [fresh_digits() for _ in range(500)], range(8)) for each in some
        ]
    assert len(set(found)) == len(found)
    assert all(re.fullmatch(r"[0-9a-f]{32}", each) for each in found)


def test_a_forked_process_makes_its_own_digits() -> None:
    """What was ready before a fork is left to the parent."""
    fresh_digits()  # now some are ready
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, fresh_digits().encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reading, 64).decode()
    os.close(reading)
    os.close(writing)
    assert len(theirs) == 32
    assert theirs not in {fresh_digits() for _ in range(200)}
