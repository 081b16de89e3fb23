"""Random digits for ids of calls: from the system's generator, many at once, as asking it costs more than the id.

They are ids, no secrets. Each is given once, whatever the number of threads, and a forked process makes its own.
"""

from __future__ import annotations

import os

_DIGITS = 32
_AT_ONCE = 128
_ready: list[str] = []
os.register_at_fork(after_in_child=_ready.clear)


def fresh_digits() -> str:
    """32 random hexadecimal digits."""
    while True:
        try:
            return _ready.pop()
        except IndexError:
            text = os.urandom(_AT_ONCE * _DIGITS // 2).hex()
            _ready.extend([text[at : at + _DIGITS] for at in range(0, len(text), _DIGITS)])
